"""The image tower of transformers' CLIPModel, CLIPVisionModel and CLIPVisionModelWithProjection; the rest is beside.

Source: huggingface/transformers models/clip/modeling_clip.py (5.24), where `pre_layrnorm` is spelled so.
"""

import re
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from maekit.backbone.sizes import Size
from maekit.system.plain import table
from maekit.weights.layouts.authors.clip import batched
from maekit.weights.layouts.dialect import Dialect, joined
from maekit.weights.layouts.layout import Contents, Layout, Said, Tensors
from maekit.weights.read.wrappers import unwrap

PATCHES = "embeddings.patch_embedding.weight"
IN_LAYER = (
    ("layer_norm1", "norm1"),
    ("self_attn.q_proj", "attn.q"),
    ("self_attn.k_proj", "attn.k"),
    ("self_attn.v_proj", "attn.v"),
    ("self_attn.out_proj", "attn.proj"),
    ("layer_norm2", "norm2"),
    ("mlp.fc1", "mlp.fc1"),
    ("mlp.fc2", "mlp.fc2"),
)
ONCE = (
    ("embeddings.position_embedding.weight", "pos_embed"),
    ("embeddings.patch_embedding", "patch_embed.proj"),
    ("post_layernorm", "norm"),
)
NAMES = Dialect(
    layers=("encoder.layers",),
    in_layer=IN_LAYER,
    once=(("embeddings.class_embedding", "cls_token"), ("pre_layrnorm", "norm_pre"), *ONCE),
)
_TEXT = re.compile(r"(.*\.)?(text_model|text_projection|logit_scale|logit_bias)(\..+)?")
_ACTIVATIONS = {"quick_gelu": "clip_quickgelu", "gelu": "clip"}
_ASSUMED = "QuickGELU, as OpenAI's models have: no config.json says the activation"


def part(name: str) -> str:
    """Which part of a model of images and texts a tensor belongs to; empty for the image tower."""
    if _TEXT.fullmatch(name):
        return "text tower"
    return "projection" if "visual_projection." in name else ""


def _to_ours(path: Path, tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return batched(joined(unwrap(path, tensors, prefix, lambda name, inside: NAMES.ours(name) if inside else None)))


def _says(contents: Contents, _ours: Tensors) -> Said:
    config = table(contents.metadata.get("config"))
    activation = config.get("hidden_act", "quick_gelu" if config else None)
    notes = () if activation in _ACTIVATIONS else (_ASSUMED,)
    return Said(pretraining="clip", variant=_ACTIVATIONS.get(str(activation), "clip_quickgelu"), notes=notes)


def _from_ours(_path: Path, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Leaves out what the image tower has no place for, such as a classifier."""
    written = NAMES.written(tensors)
    flat = {"embeddings.class_embedding": 1, "embeddings.position_embedding.weight": 2}
    return {
        f"vision_model.{name}": tensor.flatten(0, tensor.ndim - flat.get(name, tensor.ndim))
        for name, tensor in written.items()
    }


def _config(size: Size, _tensors: Tensors) -> dict[str, object]:
    return {
        "architectures": ["CLIPVisionModel"],
        "model_type": "clip_vision_model",
        "hidden_act": "quick_gelu" if size.mlp == "quick_gelu" else "gelu",
    }


LAYOUT = Layout(
    name="transformers-clip",
    words="Hugging Face transformers' CLIP",
    recognise=lambda contents, prefix: f"{prefix}embeddings.class_embedding" in contents.tensors,
    to_ours=_to_ours,
    patches=PATCHES,
    part=part,
    beside=("embeddings.position_ids",),
    says=_says,
    foreign=((r"(vision_model|text_model)\.", "a model of images and texts of transformers"),),
    writes="hf",
    from_ours=_from_ours,
    holds=lambda size: size.norm_pre and size.mlp in ("gelu", "quick_gelu") and not size.num_registers,
    config=_config,
)
