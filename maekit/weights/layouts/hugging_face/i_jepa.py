"""IJepa of transformers: the names of its ViT, without a class token.

Source: huggingface/transformers models/ijepa/modeling_ijepa.py (5.24).
"""

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from maekit.backbone.sizes import Size
from maekit.weights.layouts.layout import MASK, Contents, Layout, Said, Tensors
from maekit.weights.layouts.transformers import from_transformers, to_transformers

_PATCHES = "embeddings.patch_embeddings.projection.weight"
_LAYERS = ("encoder.layer.0.layernorm_before.weight", "layers.0.layernorm_before.weight")


def _recognise(contents: Contents, prefix: str) -> bool:
    plain = any(f"{prefix}{name}" in contents.tensors for name in _LAYERS)
    return plain and f"{prefix}embeddings.cls_token" not in contents.tensors


def _to_ours(path: Path, tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """A classifier there is of the mean of normalised patches, which no head here takes: it keeps its name."""
    named = from_transformers(path, tensors, prefix)
    return {
        name.replace("head.", "classifier.", 1) if name.startswith("head.") else name: t for name, t in named.items()
    }


def _from_ours(path: Path, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return to_transformers(path, {name: tensor for name, tensor in tensors.items() if name != MASK})


def _config(_size: Size, _tensors: Tensors) -> dict[str, object]:
    return {"architectures": ["IJepaModel"], "model_type": "ijepa", "qkv_bias": True}


def _holds(size: Size) -> bool:
    no_more = size.layer_scale is None and not size.norm_pre and size.relative_position is None
    return no_more and not size.class_token and size.positions in ("fixed", "learned") and size.mlp == "gelu"


LAYOUT = Layout(
    name="transformers-i-jepa",
    words="Hugging Face transformers' I-JEPA",
    recognise=_recognise,
    to_ours=_to_ours,
    patches=_PATCHES,
    beside=("embeddings.mask_token", "pooler.*", "classifier.*"),
    says=lambda _contents, _ours: Said(pretraining="i_jepa", variant="ijepa"),
    writes="hf",
    from_ours=_from_ours,
    holds=_holds,
    config=_config,
)
