"""Files of networks that are no plain ViT are refused in one line that says what they seem to hold."""

from pathlib import Path
from typing import Any

import pytest
import timm
import torch

from maekit.errors import UserError
from maekit.weights.load.backbone import load_backbone
from tests.weights.helpers import Small, encoder, refusal

pytestmark = pytest.mark.numeric


def save_names(path: Path, name: str) -> Path:
    """A file with the names and shapes of a model of timm, whose numbers take one place each."""
    less: dict[str, Any] = {"depth": 1} if name.startswith("eva") else {}
    try:
        with torch.device("meta"):
            model = timm.create_model(name, **less)
    except (NotImplementedError, RuntimeError):  # earlier releases look at values while they build
        model = timm.create_model(name, **less)
    tensors = {name: torch.zeros(()).expand(tensor.shape) for name, tensor in model.state_dict().items()}
    torch.save(tensors, path)
    return path


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("swin_tiny_patch4_window7_224", "a Swin transformer"),
        ("swinv2_tiny_window8_256", "a Swin transformer"),
        ("convnext_atto", "a ConvNeXt"),
        ("vit_tiny_r_s16_p8_224", "a hybrid ViT (its patches come from a convolutional network)"),
        ("eva02_base_patch14_224", "an EVA-02 (it has norms inside, sub-LN)"),
        ("eva02_tiny_patch14_224", "an EVA, or another ViT with biases of q and v apart"),
        ("pvt_v2_b0", "a PVT"),
        ("mvitv2_tiny", "an MViT"),
        ("deit_tiny_distilled_patch16_224", "a DeiT (it has a distillation token)"),
    ],
)
def test_it_is_named(tmp_path: Path, name: str, what: str) -> None:
    path = save_names(tmp_path / "a.pth", name)
    assert refusal(Small(), path).endswith(f"; the file seems to hold {what}")
    with pytest.raises(UserError) as caught:
        load_backbone(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("part", "shape"), [("blocks.0.attn.proj_l.weight", (2, 2)), ("blocks.1.mlp.gate.weight", (192, 48))]
)
def test_unknown_parts_of_a_plain_vit_are_named(tmp_path: Path, part: str, shape: tuple[int, int]) -> None:
    torch.save({**encoder(), part: torch.ones(shape)}, tmp_path / "a.pth")
    assert f"1 of its tensors have no place in the model: {part}" in refusal(Small(pooling="class"), tmp_path / "a.pth")
    with pytest.raises(UserError, match=part):
        load_backbone(tmp_path / "a.pth", image_size=32)
