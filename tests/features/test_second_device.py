"""Commands that take `--device`, on a device that is not the CPU: nothing mixes devices, and they write the same."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from maekit.cli import main
from maekit.features import extractor
from maekit.system import hardware
from tests.conftest import few_digits
from tests.features.helpers import own_scenes
from tests.stand_in import DEVICE, stand_in

WEIGHTS = ("--weights", "mae_vit_smoke")
TOLD = ("--task", "ade20k_upernet")


def place(monkeypatch: pytest.MonkeyPatch, device: torch.device) -> None:
    for module in (hardware, extractor):
        monkeypatch.setattr(module, "choose_device", lambda name: device)


def run_all(folder: Path) -> None:
    """Writes features, attention maps, reconstructions and what is similar, below a folder."""
    val, scenes = few_digits() / "val", own_scenes(folder.parent / "data") / "images"
    image = min(file for file in val.rglob("*") if file.is_file())
    embed: list[Any] = ["embed", val, *WEIGHTS, "--output", folder / "features", "--num_workers", "0"]
    commands: list[list[Any]] = [
        embed,
        [*embed[:-3], folder / "patches", "--num_workers", "0", "--pooling", "patches", "--precision", "bf16"],
        ["knn", "--features", folder / "features", "--neighbours", "1,3"],
        ["similar", image, "--features", folder / "features", "--top", "2"],
        ["embed", scenes, *WEIGHTS, "--output", folder / "whole", "--num_workers", "0", "--patches"],
        ["knn", "--features", folder / "whole", *TOLD, "--data.root", scenes.parent, "--neighbours", "1,3"],
        ["similar", scenes / "val/6.png", "--features", folder / "whole", "--patch", "20,9", "--top", "2"],
        ["attention", image, *WEIGHTS, "--output", folder / "attention"],
        ["reconstruct", image, *WEIGHTS, "--output", folder / "pictures"],
    ]
    for words in commands:
        assert main([str(word) for word in words]) == 0, words


def test_features_neighbours_attention_and_reconstructions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    place(monkeypatch, torch.device("cpu"))
    run_all(tmp_path / "cpu")
    printed = capsys.readouterr().out.replace("/cpu/", "/there/")
    place(monkeypatch, DEVICE)
    with stand_in():
        run_all(tmp_path / "there")
    assert without_rates(capsys.readouterr().out) == without_rates(printed)
    for name, tolerance in (("features", 1e-4), ("patches", 0.1), ("whole", 1e-4)):
        one, other = (np.load(tmp_path / place / name / "features.npy") for place in ("cpu", "there"))
        np.testing.assert_allclose(one, other, rtol=tolerance, atol=tolerance)
    pictures = sorted(file.relative_to(tmp_path / "cpu") for file in (tmp_path / "cpu").rglob("*.png"))
    assert len(pictures) >= 2
    for file in pictures:
        first, second = (np.asarray(Image.open(tmp_path / place / file)).astype(int) for place in ("cpu", "there"))
        assert (abs(first - second) > 2).mean() < 0.01, file


def without_rates(text: str) -> list[str]:
    """Lines without what depends on time."""
    return [line for line in text.splitlines() if "images/s" not in line and " s" not in line[-4:]]
