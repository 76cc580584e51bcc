"""Checkpoints of runs on ViTs of other pre-trainings: known by their card, and in timm with their head."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from maekit.backbone.sizes import load_size
from maekit.backbone.vit import ViT
from maekit.classification.linear_head import LinearHead
from maekit.errors import UserError
from maekit.export.convert import convert
from maekit.weights.state.state_file import read_state
from tests.peers import in_timm
from tests.weights.pretrainings.models import pixels, randomised

pytestmark = pytest.mark.numeric


class Run(nn.Module):
    """What a run trains: a ViT by its name, and a linear head on its class token or on the mean of its patches."""

    def __init__(self, name: str, pooling: Any) -> None:
        super().__init__()
        self.backbone = ViT(load_size(name), image_size=(32, 32), final_norm=pooling == "class")
        self.head = LinearHead(48, 5, pooling=pooling, init_std=0.02)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.head(self.backbone.pool(self.backbone(images).tokens, self.head.pooling))
        return logits


def saved(model: nn.Module, path: Path, name: str) -> Path:
    state = {f"model.{key}": tensor for key, tensor in model.state_dict().items()}
    card = {"config": {"model": {"backbone": name, "weights": "none"}}, "class_names": list("abcde")}
    torch.save({"state_dict": state, "maekit": {**card, "image_size": [32, 32]}}, path)
    return path


@pytest.mark.parametrize("pooling", ["mean", "class"])
@pytest.mark.parametrize(
    "name",
    ["vit_test_patch8_reg4_dinov2", "vit_test_plus_patch8_dinov3"],
)
def test_a_run_goes_to_timm_with_its_head(tmp_path: Path, name: str, pooling: str) -> None:
    model = randomised(Run(name, pooling))
    source = saved(model, tmp_path / "best.ckpt", name)
    state = read_state(source)
    assert (state.shape.names, state.num_heads) == ((name,), 2)
    (tmp_path / "timm").mkdir()
    lines = convert(source, "timm", tmp_path / "timm" / "model.safetensors")
    assert any("num_classes=5" in line for line in lines)
    theirs = in_timm(tmp_path / "timm")
    images = pixels(32, 32)
    with torch.no_grad():
        expected, found = model.double()(images), theirs.double()(images)
    # a position is added in fp32 beside registers; timm's DINOv3 has another eps in the norm of the patches' mean
    rounded = "reg4" in name or ("dinov3" in name and pooling == "mean")
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4 if rounded else 1e-9)
    assert any("eps of 1e-06 here" in line for line in lines) == ("dinov3" in name and pooling == "mean")
    with pytest.raises(UserError, match="which hf has no place for as it is written here"):
        convert(source, "hf", tmp_path / "hf")
