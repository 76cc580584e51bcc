"""Small ViTs of other pre-trainings as timm and transformers build them, with random numbers in every parameter."""

from typing import Any

import torch
import transformers
from torch import Tensor, nn

from tests.peers import timm_peer, transformers_peer

_NUMBERS: dict[str, Any] = {
    "hidden_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "intermediate_size": 192,
    "image_size": 32,
    "patch_size": 8,
}
# A ViT by the class of transformers, what its configuration says beside the numbers, and the row of sizes.yaml.
HF: dict[str, tuple[str, dict[str, Any], str]] = {
    "dinov2": ("Dinov2", {}, "vit_test_patch8_dinov2"),
    "dinov2 swiglu": (
        "Dinov2",
        {"use_swiglu_ffn": True, "hidden_size": 96, "num_hidden_layers": 4, "num_attention_heads": 3},
        "vit_smoke_plus_patch8_dinov2",
    ),
    "dinov2 registers": ("Dinov2WithRegisters", {}, "vit_test_patch8_reg4_dinov2"),
    "dinov3": ("DINOv3ViT", {"num_register_tokens": 4}, "vit_test_patch8_dinov3"),
    "dinov3 swiglu": (
        "DINOv3ViT",
        {"num_register_tokens": 4, "use_gated_mlp": True, "hidden_act": "silu", "intermediate_size": 136},
        "vit_test_plus_patch8_dinov3",
    ),
    "i-jepa": ("IJepa", {"layer_norm_eps": 1e-6}, "vit_test_patch8_ijepa"),
}
# A ViT by timm's name, what is other than there, and the row.
TIMM: dict[str, tuple[str, dict[str, Any], str]] = {
    "dinov2": ("vit_small_patch14_dinov2", {}, "vit_test_patch8_dinov2"),
    "dinov2 registers": ("vit_small_patch14_reg4_dinov2", {}, "vit_test_patch8_reg4_dinov2"),
    "dinov3": ("vit_small_patch16_dinov3", {}, "vit_test_patch8_dinov3"),
    "dinov3 biases": ("vit_small_patch16_dinov3_qkvb", {}, "vit_test_patch8_dinov3"),
    "dinov3 swiglu": ("vit_small_plus_patch16_dinov3_qkvb", {"mlp_ratio": 136.5 / 48}, "vit_test_plus_patch8_dinov3"),
}


def hf_model(kind: str) -> Any:
    """A model of transformers."""
    name, settings, _ = HF[kind]
    config, model = transformers_peer(name)
    return randomised(model(config(**{**_NUMBERS, **settings})))


def timm_model(kind: str) -> Any:
    """A model of timm."""
    name, settings, _ = TIMM[kind]
    numbers = {"img_size": 32, "patch_size": 8, "embed_dim": 48, "depth": 3, "num_heads": 2, "num_classes": 0}
    return randomised(timm_peer(name, **{**numbers, **settings}))


def randomised(model: nn.Module) -> Any:
    """The model with a normal number in every parameter."""
    torch.manual_seed(7)
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.1)
    return model.eval()


def pixels(*size: int) -> Tensor:
    """Two images in float64."""
    return torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(2), dtype=torch.float64)


@torch.no_grad()
def tokens(model: Any, images: Tensor) -> Tensor:
    """What a model of timm, of transformers or of maekit makes of images, in float64."""
    model = model.double()
    if isinstance(model, transformers.PreTrainedModel):
        found: Tensor = model(images).last_hidden_state
    elif hasattr(model, "forward_features"):
        found = model.forward_features(images)
    else:
        found = model(images).tokens
    return found
