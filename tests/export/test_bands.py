"""A checkpoint of 13 bands goes to other programs and comes back with its bands."""

from pathlib import Path
from typing import Any

import pytest
import timm.models.vision_transformer as timm_vit
import torch
import transformers
from safetensors.torch import load_file
from torch import Tensor

from maekit.export.convert import Target, convert
from maekit.weights.describe.inspect import inspect
from maekit.weights.load.backbone import load_backbone
from maekit.weights.read.bands import recorded_bands
from maekit.weights.state.state_file import read_state
from tests.weights.helpers import encoder, same

pytestmark = pytest.mark.numeric
BANDS = ("R", "G", "B", *(f"B{number}" for number in range(10)))
HALF = [0.5] * len(BANDS)


def of_13() -> dict[str, Tensor]:
    filters = torch.randn(48, len(BANDS), 8, 8, generator=torch.Generator().manual_seed(4))
    return {**encoder(), "patch_embed.proj.weight": filters}


def checkpoint(path: Path) -> Path:
    """As a run writes it, as far as weights are read."""
    card: dict[str, Any] = {"task": "x", "bands": list(BANDS), "input": {"mean": HALF, "std": HALF}}
    torch.save({"state_dict": {f"model.backbone.{k}": v for k, v in of_13().items()}, "maekit": card}, path)
    return path


@pytest.mark.parametrize(
    ("to", "name"), [("timm", "b.safetensors"), ("timm", "b.pth"), ("hf", "folder"), ("mae", "b.pth")]
)
def test_bands_are_kept_on_the_way_there_and_back(tmp_path: Path, to: Target, name: str) -> None:
    source = checkpoint(tmp_path / "best.ckpt")
    convert(source, to, tmp_path / name)
    state = read_state(tmp_path / name)
    same(state.tensors, of_13())
    assert recorded_bands(state.meta) == BANDS
    facts = inspect(tmp_path / name)
    assert (facts.channels, facts.bands) == (13, BANDS)
    assert load_backbone(tmp_path / name, image_size=32).channels == 13


def test_timm_and_transformers_take_13_channels(tmp_path: Path) -> None:
    source, pictures = checkpoint(tmp_path / "best.ckpt"), torch.randn(2, 13, 32, 32)
    convert(source, "timm", tmp_path / "b.safetensors")
    theirs = timm_vit.VisionTransformer(32, 8, in_chans=13, embed_dim=48, depth=3, num_heads=2, num_classes=0).eval()
    theirs.load_state_dict(load_file(tmp_path / "b.safetensors"), strict=True)
    ours = load_backbone(source, image_size=32)
    assert torch.allclose(ours(pictures).tokens, theirs.forward_features(pictures), atol=1e-4)
    convert(source, "hf", tmp_path / "hf")
    other: Any = transformers.ViTMAEModel.from_pretrained(tmp_path / "hf")
    assert other.config.num_channels == 13
    other.config.mask_ratio = 0.0
    found = other(pictures, noise=torch.arange(16.0).expand(2, 16)).last_hidden_state
    assert torch.allclose(found, ours(pictures).tokens, atol=1e-4)
