"""Supervised ViTs of google-research/vision_transformer ("AugReg" and the first ones): arrays of JAX in an `.npz`.

Kernels of linear layers are [inputs, outputs], those of attention have heads apart, patch filters are [h, w, channels,
outputs]. Those trained on ImageNet-21k may have one layer more before their classifier (`pre_logits`), which timm drops
as well. Source: google-research/vision_transformer @ ac6e056 vit_jax/models_vit.py, vit_jax/checkpoint.py; arXiv
2106.10270.
"""

import re
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from maekit.errors import UserError
from maekit.weights.layouts.layout import Contents, Layout, Said, Tensors
from maekit.weights.layouts.stacked import stacked

_PATCHES = "embedding/kernel"
_ATTENTION = "MultiHeadDotProductAttention_1"
_QUERY = f"Transformer/encoderblock_0/{_ATTENTION}/query/kernel"
_BLOCK = re.compile(r"Transformer/encoderblock_(\d+)/(.+)/(\w+)")
_IN_BLOCK = {
    "LayerNorm_0": "norm1",
    f"{_ATTENTION}/query": "attn.q",
    f"{_ATTENTION}/key": "attn.k",
    f"{_ATTENTION}/value": "attn.v",
    f"{_ATTENTION}/out": "attn.proj",
    "LayerNorm_2": "norm2",
    "MlpBlock_3/Dense_0": "mlp.fc1",
    "MlpBlock_3/Dense_1": "mlp.fc2",
}
_ONCE = {
    "cls": "cls_token",
    _PATCHES: "patch_embed.proj.weight",
    "embedding/bias": "patch_embed.proj.bias",
    "Transformer/posembed_input/pos_embedding": "pos_embed",
    "Transformer/encoder_norm/scale": "norm.weight",
    "Transformer/encoder_norm/bias": "norm.bias",
    "head/kernel": "head.weight",
    "head/bias": "head.bias",
}
_LEAVES = {"scale": "weight", "kernel": "weight", "bias": "bias"}


def _to_ours(path: Path, tensors: Mapping[str, Tensor], _prefix: str) -> dict[str, Tensor]:
    if wrong := [name for name, tensor in tensors.items() if not tensor.is_floating_point()]:
        raise UserError(
            f"{path}: {wrong[0]} is {tensors[wrong[0]].dtype}, expected floating numbers; take another copy"
        )
    return stacked({_rename(name) or name: _turned(name, tensor) for name, tensor in tensors.items()})


def _rename(name: str) -> str | None:
    if (match := _BLOCK.fullmatch(name)) and match[2] in _IN_BLOCK and match[3] in _LEAVES:
        return f"blocks.{match[1]}.{_IN_BLOCK[match[2]]}.{_LEAVES[match[3]]}"
    return _ONCE.get(name)


def _turned(name: str, tensor: Tensor) -> Tensor:
    """A layer's weights with outputs first; those of attention have no axis of heads."""
    if name == _PATCHES and tensor.ndim == 4:
        return tensor.permute(3, 2, 0, 1)
    if _ATTENTION in name and tensor.ndim > 1:
        tensor = tensor.flatten(0, -2) if "/out/" in name else tensor.flatten(-2)
    return tensor.T if name.endswith("/kernel") and tensor.ndim == 2 else tensor


def _says(contents: Contents, _ours: Tensors) -> Said:
    query = contents.tensors.get(_QUERY)
    heads = query.shape[1] if query is not None and query.ndim == 3 else None
    return Said(pretraining="supervised", variant="", num_heads=heads)


LAYOUT = Layout(
    name="augreg",
    words="google-research/vision_transformer",
    recognise=lambda contents, prefix: not prefix and _QUERY in contents.tensors,
    to_ours=_to_ours,
    patches=_PATCHES,
    beside=("pre_logits/*",),
    says=_says,
    foreign=(
        (r"conv_root/|block1/unit1/", "a hybrid of a ResNet and a ViT"),
        (r"(Transformer|opt|params)/", "a JAX ViT"),
    ),
)
