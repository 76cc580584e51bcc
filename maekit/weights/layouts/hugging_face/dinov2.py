"""Dinov2 and Dinov2WithRegisters of transformers, as saved and as they are in memory.

Source: huggingface/transformers models/dinov2/modeling_dinov2.py, models/dinov2_with_registers (5.24).
"""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from maekit.backbone.sizes import Size
from maekit.weights.layouts.dialect import Dialect, joined
from maekit.weights.layouts.layout import MASK, Layout, Said, Tensors
from maekit.weights.layouts.stacked import is_gated
from maekit.weights.read.wrappers import unwrap

NAMES = Dialect(
    layers=("encoder.layer",),
    in_layer=(
        ("norm1", "norm1"),
        ("attention.attention.query", "attn.q"),
        ("attention.attention.key", "attn.k"),
        ("attention.attention.value", "attn.v"),
        ("attention.output.dense", "attn.proj"),
        ("attention.q_proj", "attn.q"),
        ("attention.k_proj", "attn.k"),
        ("attention.v_proj", "attn.v"),
        ("attention.o_proj", "attn.proj"),
        ("layer_scale1.lambda1", "gamma_1"),
        ("norm2", "norm2"),
        ("mlp.fc1", "mlp.fc1"),
        ("mlp.fc2", "mlp.fc2"),
        ("mlp.weights_in", "mlp.fc1"),
        ("mlp.weights_out", "mlp.fc2"),
        ("mlp.gate_proj", "mlp.gate"),
        ("mlp.up_proj", "mlp.value"),
        ("mlp.down_proj", "mlp.fc2"),
        ("layer_scale2.lambda1", "gamma_2"),
    ),
    once=(
        ("embeddings.cls_token", "cls_token"),
        ("embeddings.register_tokens", "reg_token"),
        ("embeddings.mask_token", MASK),
        ("embeddings.position_embeddings", "pos_embed"),
        ("embeddings.patch_embeddings.projection", "patch_embed.proj"),
        ("layernorm", "norm"),
    ),
)


def _to_ours(path: Path, tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    named = joined(unwrap(path, tensors, prefix, lambda name, inside: NAMES.ours(name) if inside else None))
    return {name: tensor[None] if name == MASK and tensor.ndim == 2 else tensor for name, tensor in named.items()}


def _from_ours(_path: Path, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Dinov2WithRegisters always has a mask token, which its pre-training alone used: zeros where there is none."""
    if "reg_token" in tensors and MASK not in tensors:
        tensors = {**tensors, MASK: torch.zeros_like(tensors["cls_token"])}
    written = NAMES.written({name: tensor[0] if name == MASK else tensor for name, tensor in tensors.items()})
    if not is_gated(tensors):
        return written
    fused = (("mlp.fc1.", "mlp.weights_in."), ("mlp.fc2.", "mlp.weights_out."))
    return {name.replace(*fused[0]).replace(*fused[1]): tensor for name, tensor in written.items()}


def _remarks(tensors: Tensors) -> tuple[str, ...]:
    return (
        ()
        if MASK in tensors or "reg_token" not in tensors
        else ("mask token: zeros, since the file has none; pre-training alone uses it",)
    )


def _config(size: Size, tensors: Tensors) -> dict[str, object]:
    masks = {"use_mask_token": MASK in tensors}
    registers = {"num_register_tokens": size.num_registers} if size.num_registers else masks
    return {
        "architectures": ["Dinov2WithRegistersModel" if size.num_registers else "Dinov2Model"],
        "model_type": "dinov2_with_registers" if size.num_registers else "dinov2",
        "mlp_ratio": 4,
        "use_swiglu_ffn": is_gated(tensors),
        "layerscale_value": size.layer_scale,
        "drop_path_rate": 0.0,
        **registers,
    }


def _holds(size: Size) -> bool:
    plain = size.class_token and size.class_position and not size.norm_pre and size.relative_position is None
    hidden = (int(4 * size.embed_dim * 2 / 3) + 7) // 8 * 8 if size.mlp == "swiglu" else 4 * size.embed_dim
    plain = plain and size.hidden == hidden and size.mlp in ("gelu", "swiglu") and size.patch_bias and not size.qk_norm
    return plain and size.layer_scale is not None and size.positions == "learned" and size.qkv_bias == "all"


LAYOUT = Layout(
    name="transformers-dinov2",
    words="Hugging Face transformers' DINOv2",
    recognise=lambda contents, prefix: f"{prefix}encoder.layer.0.layer_scale1.lambda1" in contents.tensors,
    to_ours=_to_ours,
    patches="embeddings.patch_embeddings.projection.weight",
    # A classifier there is of the class token and the patches' mean together, which no head here takes.
    beside=(MASK, "classifier.*"),
    says=lambda _contents, _ours: Said(pretraining="dinov2", variant="dinov2"),
    writes="hf",
    from_ours=_from_ours,
    holds=_holds,
    config=_config,
    remarks=_remarks,
)
