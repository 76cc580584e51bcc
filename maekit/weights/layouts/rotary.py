"""What layouts of ViTs with rotary positions share: DINOv3 in three dialects."""

from collections.abc import Mapping

from torch import Tensor

from maekit.backbone.sizes import Size
from maekit.weights.read.shape import measure


def is_dinov3(size: Size) -> bool:
    """Whether a ViT has DINOv3's parts, all of them and no others."""
    tokens = size.class_token and size.num_registers > 0
    return tokens and size.positions == "rotary" and size.layer_scale is not None and not size.norm_pre


def with_biases(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Adds biases of zero to projections of q, k and v that have none, by our names: what they give is the same.

    DINOv3's distilled ViTs learned no biases there, and timm and others leave them out. Its 7B is built without.
    """
    if measure(tensors, variant="dinov3").name:
        return dict(tensors)
    found: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        found[name] = tensor
        bias = name.removesuffix("weight") + "bias"
        if name.endswith(".attn.qkv.weight") and bias not in tensors:
            found[bias] = tensor.new_zeros(len(tensor))
    return found


def has_biases(tensors: Mapping[str, Tensor]) -> bool:
    """Whether any bias of q, k or v is another than zero."""
    return any(
        not tensor.is_meta and bool(tensor.any()) for name, tensor in tensors.items() if name.endswith(".attn.qkv.bias")
    )
