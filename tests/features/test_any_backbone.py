"""The commands on frozen features with backbones of other pre-trainings, as transformers writes and computes them."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from maekit.data.images.decode import read_image
from maekit.data.images.transforms import EvalTransform
from maekit.features.patches.folder import read_patches
from tests.features.helpers import pictures, refused, run
from tests.numeric import assert_fp32_model
from tests.weights.pretrainings.models import hf_model

pytestmark = pytest.mark.numeric
PREFIX = {"dinov2 registers": 5, "dinov3 swiglu": 5, "i-jepa": 0}


@pytest.mark.parametrize(
    "kind", [pytest.param(kind, marks=[] if kind == "i-jepa" else [pytest.mark.slow]) for kind in PREFIX]
)
def test_features_and_pictures_of_any_backbone(
    kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    folder, model = pictures(tmp_path / "in", 4), hf_model(kind)
    model.save_pretrained(tmp_path / "weights")
    given = ["--weights", "weights", "--image_size", 32]
    printed = run(capsys, "embed", folder, *given, "--output", "one")
    assert ("has no class token: the features are the mean of its patch tokens" in printed) == (kind == "i-jepa")
    names = (tmp_path / "one/files.txt").read_text().splitlines()
    transform = EvalTransform(image_size=32, crop_fraction=0.875, mean=[0.485, 0.456, 0.406], std=[0.229, 0.224, 0.225])
    images = torch.stack([transform(read_image(folder / name)) for name in names])

    def pooled(model: Any, pixels: Tensor) -> Tensor:
        tokens: Tensor = model(pixels).last_hidden_state
        return tokens[:, 0] if PREFIX[kind] else tokens.mean(1)

    assert_fp32_model(torch.from_numpy(np.load("one/features.npy")), model, images, pooled)
    run(capsys, "embed", folder, *given, "--patches", "--output", "all")
    found = read_patches(tmp_path / "all")
    assert found.grids.tolist() == [[4, round(4 * (50 + 7 * number) / 44)] for number in range(4)]
    assert found.features.shape == (found.starts[-1], 48)
    assert "4 images in 2 clusters" in run(
        capsys, "cluster", "--features", "one", "--clusters", 2, "--output", "groups"
    )
    assert len(run(capsys, "similar", folder / "00.png", "--features", "one", "--top", 2).splitlines()) == 2
    patch = ["--features", "all", "--patch", "20,20", "--top", 2, "--output", "near.png"]
    assert len(run(capsys, "similar", folder / "00.png", *patch).splitlines()) == 3
    assert "4 pictures -> " in run(capsys, "pca", "all", "--output", "colours")
    printed = run(capsys, "attention", folder / "00.png", "--weights", "weights", "--output", "attention")
    assert ("the attention is that of all patches, on average" in printed) == (kind == "i-jepa")
    if kind == "i-jepa":
        line = refused(capsys, "embed", folder, *given, "--pooling", "class", "--output", "class")
        assert "has no class token, expected mean or patches" in line
