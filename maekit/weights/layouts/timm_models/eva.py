"""DINOv3 as timm's Eva: biases of q and v apart or none, SwiGLU as two layers, rotary positions without parameters.

timm offers each of its DINOv3 ViTs with biases of q and v (`_qkvb`) and without, since the distilled ones learned none.
Source: huggingface/pytorch-image-models timm/models/eva.py (1.0.31).
"""

import re
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from maekit.backbone.sizes import Size
from maekit.weights.layouts.dialect import Dialect, joined
from maekit.weights.layouts.layout import Contents, Layout, Said, Tensors
from maekit.weights.layouts.rotary import has_biases, is_dinov3, with_biases
from maekit.weights.layouts.stacked import is_gated
from maekit.weights.read.wrappers import unwrap

NAMES = Dialect(
    layers=("blocks",),
    in_layer=(
        ("attn.q_bias", "attn.q.bias"),
        ("attn.v_bias", "attn.v.bias"),
        ("mlp.fc1_g", "mlp.gate"),
        ("mlp.fc1_x", "mlp.value"),
    ),
    once=(),
)
_NO_BIASES = "its q, k and v have no biases there: they are read as zeros, which is the same"


def _recognise(contents: Contents, prefix: str) -> bool:
    names = contents.tensors
    registers = f"{prefix}reg_token" in names and f"{prefix}blocks.0.gamma_1" in names
    return registers and f"{prefix}pos_embed" not in names and f"{prefix}blocks.0.attn.q_proj.weight" not in names


def _to_ours(path: Path, tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    named = unwrap(path, tensors, prefix, lambda name, inside: (NAMES.ours(name) or name) if inside else None)
    return with_biases(joined(named))


def _says(contents: Contents, ours: Tensors) -> Said:
    biased = any(name.endswith("attn.q_bias") for name in contents.tensors)
    added = not biased and "blocks.0.attn.qkv.bias" in ours
    return Said(pretraining="dinov3", variant="dinov3", notes=(_NO_BIASES,) if added else ())


def _from_ours(_path: Path, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    biased, gated = has_biases(tensors), is_gated(tensors)
    written: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        if not re.match(r"(cls_token|reg_token|patch_embed\.|blocks\.|norm\.|fc_norm\.|head\.)", name):
            continue
        stem, bias, _ = name.partition("qkv.bias")
        if bias:
            q, _, v = tensor.chunk(3)
            written |= {f"{stem}q_bias": q, f"{stem}v_bias": v} if biased else {}
        elif gated and ".mlp.fc1." in name:
            parts = zip(("fc1_g", "fc1_x"), tensor.chunk(2), strict=True)
            written |= {name.replace("fc1", part): each for part, each in parts}
        else:
            written[name] = tensor
    return written


def _remarks(tensors: Tensors) -> tuple[str, ...]:
    left = "left out: biases of q, k and v, which are all zero: timm's ViT of that name has none"
    none = has_biases(tensors) or "blocks.0.attn.qkv.bias" not in tensors
    pooled = "layer norms: that of the patches' mean has an eps of 1e-06 here and of 1e-05 in timm"
    return (*(() if none else (left,)), *((pooled,) if "fc_norm.weight" in tensors else ()))


def _config(size: Size, tensors: Tensors) -> dict[str, object]:
    biased, gated = has_biases(tensors), is_gated(tensors)
    name = {384: "small", 768: "base", 1024: "large", 1280: "huge", 4096: "7b"}.get(size.embed_dim, "base")
    # timm has no huge ViT without SwiGLU and no base and large ones with it; model_args say what is built.
    plus = "_plus" if name == "huge" or (gated and name == "small") else ""
    return {
        "architecture": f"vit_{name}{plus}_patch16_dinov3{'_qkvb' if biased else ''}",
        "model_args": {
            "qkv_bias": biased,
            "init_values": size.layer_scale,
            "num_reg_tokens": size.num_registers,
            "rope_temperature": size.rotary_base,
            "swiglu_mlp": gated,
            "swiglu_align_to": int(gated),  # any width
            "dynamic_img_size": True,
            "use_fc_norm": "fc_norm.weight" in tensors,
        },
    }


LAYOUT = Layout(
    name="timm-eva",
    words="timm's Eva with DINOv3's parts",
    recognise=_recognise,
    to_ours=_to_ours,
    beside=("head.*", "fc_norm.*"),
    says=_says,
    writes="timm",
    from_ours=_from_ours,
    holds=is_dinov3,
    config=_config,
    remarks=_remarks,
)
