"""DINOv3ViT of transformers, as saved and as it is in memory.

Source: huggingface/transformers models/dinov3_vit/modeling_dinov3_vit.py, conversion_mapping.py (5.24).
"""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from maekit.backbone.sizes import Size
from maekit.weights.layouts.dialect import Dialect, joined
from maekit.weights.layouts.layout import MASK, Layout, Said, Tensors
from maekit.weights.layouts.rotary import is_dinov3, with_biases
from maekit.weights.layouts.stacked import is_gated
from maekit.weights.read.wrappers import unwrap

NAMES = Dialect(
    layers=("layer", "model.layer"),
    in_layer=(
        ("norm1", "norm1"),
        ("attention.q_proj", "attn.q"),
        ("attention.k_proj", "attn.k"),
        ("attention.v_proj", "attn.v"),
        ("attention.o_proj", "attn.proj"),
        ("layer_scale1.lambda1", "gamma_1"),
        ("norm2", "norm2"),
        ("mlp.gate_proj", "mlp.gate"),
        ("mlp.up_proj", "mlp.value"),
        ("mlp.up_proj", "mlp.fc1"),
        ("mlp.down_proj", "mlp.fc2"),
        ("layer_scale2.lambda1", "gamma_2"),
    ),
    once=(
        ("embeddings.cls_token", "cls_token"),
        ("embeddings.register_tokens", "reg_token"),
        ("embeddings.mask_token", MASK),
        ("embeddings.patch_embeddings", "patch_embed.proj"),
        ("norm", "norm"),
    ),
)


def _to_ours(path: Path, tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    named = unwrap(path, tensors, prefix, lambda name, inside: NAMES.ours(name) if inside else None)
    return with_biases(joined(named))


def _from_ours(_path: Path, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """It always has a mask token, which its pre-training alone used: zeros where there is none."""
    mask = tensors.get(MASK, torch.zeros_like(tensors["cls_token"]))
    return NAMES.written({**tensors, MASK: mask}, key_bias=False, gated=is_gated(tensors))


def _remarks(tensors: Tensors) -> tuple[str, ...]:
    return () if MASK in tensors else ("mask token: zeros, since the file has none; pre-training alone uses it",)


def _config(size: Size, tensors: Tensors) -> dict[str, object]:
    return {
        "architectures": ["DINOv3ViTModel"],
        "model_type": "dinov3_vit",
        "use_gated_mlp": is_gated(tensors),
        "hidden_act": "silu" if is_gated(tensors) else "gelu",
        "num_register_tokens": size.num_registers,
        "layerscale_value": size.layer_scale,
        "rope_theta": size.rotary_base,
        "pos_embed_rescale": size.rotary_rescale,
        "pos_embed_shift": size.rotary_shift or None,
        "pos_embed_jitter": size.rotary_jitter if size.rotary_jitter != 1 else None,
        "query_bias": "blocks.0.attn.qkv.bias" in tensors,
        "key_bias": False,
        "value_bias": "blocks.0.attn.qkv.bias" in tensors,
        "proj_bias": True,
        "mlp_bias": True,
        "drop_path_rate": 0.0,
    }


LAYOUT = Layout(
    name="transformers-dinov3",
    words="Hugging Face transformers' DINOv3",
    recognise=lambda contents, prefix: f"{prefix}embeddings.register_tokens" in contents.tensors,
    to_ours=_to_ours,
    patches="embeddings.patch_embeddings.weight",
    beside=(MASK, "classifier.*"),
    says=lambda _contents, _ours: Said(pretraining="dinov3", variant="dinov3"),
    writes="hf",
    from_ours=_from_ours,
    holds=is_dinov3,
    config=_config,
    remarks=_remarks,
)
