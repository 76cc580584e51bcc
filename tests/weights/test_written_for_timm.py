"""BEiT, CLIP and DeiT III written for timm: `timm.create_model` builds them from the folder, with the same features."""

from pathlib import Path
from typing import Any

import pytest
import timm.models.vision_transformer as timm_vit
import torch

from tests.numeric import assert_float64
from tests.peers import in_timm
from tests.weights.helpers import images
from tests.weights.plain_vits import TINY_TIMM, beit, converted, random

pytestmark = pytest.mark.numeric

QUICK, PLAIN = "vit_base_patch16_clip_quickgelu_224", "vit_base_patch16_clip_224"
MODELS: dict[str, Any] = {
    "beit on the mean": lambda: beit(num_classes=5, global_pool="avg"),
    "beit on the class token": lambda: beit(num_classes=5),
    "beit with one table": lambda: beit(shared=True),
    QUICK: lambda: random(getattr(timm_vit, QUICK)(**TINY_TIMM, num_classes=0)),
    PLAIN: lambda: random(getattr(timm_vit, PLAIN)(**TINY_TIMM, num_classes=0)),
    "deit3": lambda: random(timm_vit.VisionTransformer(**TINY_TIMM, no_embed_class=True, init_values=1e-4)),
}


@pytest.mark.parametrize("name", MODELS)
def test_timm_builds_what_was_written(tmp_path: Path, name: str) -> None:
    source = MODELS[name]()
    torch.save(source.state_dict(), tmp_path / "a.pth")
    if name in (QUICK, PLAIN):
        (tmp_path / "a.pth.json").write_text(f'{{"architecture": "{name}"}}')
    (tmp_path / "timm").mkdir()
    converted(tmp_path / "a.pth", "timm", tmp_path / "timm" / "model.safetensors")
    model = in_timm(tmp_path / "timm")
    assert_float64(model.double()(images(32, 32).double()), source.double()(images(32, 32).double()))
