"""A state dict of timm's VisionTransformer, alone or inside other modules; also what nobody else's names give away.

With registers timm keeps no position of the class token: it is added to the token beforehand, as for DINOv2.
Source: huggingface/pytorch-image-models timm/models/vision_transformer.py (1.0.31).
"""

import re
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from maekit.backbone.sizes import Size
from maekit.weights.layouts.layout import MASK, Contents, Layout, Said, Tensors
from maekit.weights.layouts.plain_names import from_plain
from maekit.weights.layouts.stacked import is_gated

# How timm's names of architectures (and, after a point, tags) show a pre-training, and the variant of sizes.yaml.
_NAMES = (
    (r".*_dinov2\b", "dinov2", "dinov2"),
    (r".*_clip_quickgelu", "clip", "clip_quickgelu"),
    (r".*_clip_", "clip", "clip"),
    (r".*_siglip_", "siglip", "siglip"),
    (r"deit3_", "deit_iii", "deit3"),
    (r".*\.dino$", "dino", ""),
    (r".*\.mae$", "mae", ""),
    (r".*\.(augreg|orig_in21k|deit_)|deit_", "supervised", ""),
)
_FOLDED = "it adds the class token's position to the token itself: that position is read as zero"
_SCALE = re.compile(r"\.gamma_([12])$")


def _to_ours(path: Path, tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    named = from_plain(path, tensors, prefix)
    if _is_folded(named):
        table = named["pos_embed"]
        named["pos_embed"] = torch.cat([torch.zeros_like(table[:, :1]), table], dim=1)
    return named


def _is_folded(named: Tensors) -> bool:
    """Whether there are registers and a table of patches alone, which a square number of rows shows."""
    table = named.get("pos_embed")
    if table is None or table.ndim != 3 or "reg_token" not in named or "cls_token" not in named:
        return False
    return bool(round(table.shape[1] ** 0.5) ** 2 == table.shape[1])


def _says(contents: Contents, ours: Tensors) -> Said:
    table, stored = ours.get("pos_embed"), [t for n, t in contents.tensors.items() if n.endswith("pos_embed")]
    folded = table is not None and "reg_token" in ours and not any(t.shape == table.shape for t in stored)
    notes = (_FOLDED,) if folded else ()
    named = f"{contents.metadata.get('architecture', '')}.{contents.metadata.get('tag', '')}"
    for pattern, pretraining, variant in _NAMES:
        if re.match(pattern, named):
            return Said(pretraining=pretraining, variant=variant, notes=notes)
    return Said(notes=notes)


def _from_ours(_path: Path, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Leaves a decoder and mask tokens out, which timm's VisionTransformer has no place for."""
    kept = {name: t for name, t in tensors.items() if not name.startswith(("decoder_", "mask_token", MASK))}
    if "reg_token" in kept and "pos_embed" in kept and "cls_token" in kept:
        table = kept["pos_embed"]
        kept["cls_token"], kept["pos_embed"] = kept["cls_token"] + table[:, :1], table[:, 1:]
    return {_SCALE.sub(r".ls\1.gamma", name): tensor for name, tensor in kept.items()}


def _remarks(tensors: Tensors) -> tuple[str, ...]:
    table = tensors.get("pos_embed")
    folded = table is not None and "reg_token" in tensors and bool(table[:, 0].any())
    return ("folded: the class token's position into the token, as timm has no place for it beside registers",) * folded


def _config(size: Size, tensors: Tensors) -> dict[str, object]:
    arguments: dict[str, object] = {
        "init_values": size.layer_scale,
        "reg_tokens": size.num_registers,
        "no_embed_class": bool(size.num_registers) or not size.class_position,
        "class_token": size.class_token,
        "pre_norm": size.norm_pre,
        "qk_norm": size.qk_norm,
        "qkv_bias": size.qkv_bias == "all",
    }
    plain = Size("", 4, 1, 1, 1)
    usual = {"init_values": plain.layer_scale, "reg_tokens": 0, "no_embed_class": False, "class_token": True}
    usual |= {"pre_norm": False, "qk_norm": False, "qkv_bias": True}
    given = {name: value for name, value in arguments.items() if value != usual[name]}
    if not size.class_token:
        given["fc_norm"] = False  # each token is normalised, not their mean
    name = _architecture(size, tensors)
    return {"model_args": given} | ({"architecture": name} if name else {})


def _architecture(size: Size, tensors: Tensors) -> str:
    """An architecture whose parts cannot be said in `model_args`: activations and norms; empty for the usual ones."""
    if is_gated(tensors):
        return "vit_giant_patch14_reg4_dinov2" if size.num_registers else "vit_giant_patch14_dinov2"
    if size.norm_pre:
        return "vit_base_patch16_clip_quickgelu_224" if size.mlp == "quick_gelu" else "vit_base_patch16_clip_224"
    return ""


def _holds(size: Size) -> bool:
    """Any ViT with a position table, whose MLPs and norms some architecture of timm has."""
    tabled = size.positions in ("learned", "fixed") and size.relative_position is None
    clip = size.norm_pre == (not size.patch_bias) and (size.norm_eps == 1e-6 or size.norm_pre)
    return tabled and clip and size.qkv_bias in ("all", "none") and (size.mlp in ("gelu", "swiglu") or size.norm_pre)


LAYOUT = Layout(
    name="state_dict",
    words="a bare state dict",
    recognise=lambda _contents, _prefix: True,
    to_ours=_to_ours,
    rank=2,
    beside=("attn_pool.*",),  # SigLIP's pooling by attention
    says=_says,
    writes="timm",
    from_ours=_from_ours,
    holds=_holds,
    config=_config,
    remarks=_remarks,
)
