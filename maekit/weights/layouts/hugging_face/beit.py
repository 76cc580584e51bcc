"""Beit of transformers, as saved and as it is in memory: BeitModel, its pre-training and its classifier.

A final norm on the tokens is `layernorm`, one on their mean the pooler's. A table that all blocks share goes into each.
Source: huggingface/transformers models/beit/modeling_beit.py (5.24).
"""

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from maekit.backbone.sizes import Size
from maekit.weights.layouts.authors.beit import COPIED, holds, with_tables
from maekit.weights.layouts.dialect import Dialect, joined
from maekit.weights.layouts.layout import MASK, Contents, Layout, Said, Tensors
from maekit.weights.read.wrappers import unwrap

_TABLE = "relative_position_bias_table"
_SHARED = "shared_table"
NAMES = Dialect(
    layers=("encoder.layer", "layers"),
    in_layer=(
        ("layernorm_before", "norm1"),
        ("attention.attention.query", "attn.q"),
        ("attention.attention.key", "attn.k"),
        ("attention.attention.value", "attn.v"),
        ("attention.output.dense", "attn.proj"),
        ("attention.q_proj", "attn.q"),
        ("attention.k_proj", "attn.k"),
        ("attention.v_proj", "attn.v"),
        ("attention.o_proj", "attn.proj"),
        (f"attention.attention.relative_position_bias.{_TABLE}", "attn.position.table"),
        (f"relative_position_bias.{_TABLE}", "attn.position.table"),
        ("lambda_1", "gamma_1"),
        ("layernorm_after", "norm2"),
        ("intermediate.dense", "mlp.fc1"),
        ("output.dense", "mlp.fc2"),
        ("mlp.fc1", "mlp.fc1"),
        ("mlp.fc2", "mlp.fc2"),
        ("lambda_2", "gamma_2"),
    ),
    once=(
        ("embeddings.cls_token", "cls_token"),
        ("embeddings.mask_token", MASK),
        ("embeddings.patch_embeddings.projection", "patch_embed.proj"),
        ("layernorm", "norm"),
        ("pooler.layernorm", "fc_norm"),
        (f"encoder.relative_position_bias.{_TABLE}", _SHARED),
        (f"shared_position_bias.{_TABLE}", _SHARED),
    ),
)
_BESIDE_MODEL = {"layernorm": "norm", "classifier": "head"}


def _to_ours(path: Path, tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    def rename(name: str, inside: bool) -> str | None:
        module, _, leaf = name.rpartition(".")
        return NAMES.ours(name) if inside else f"{_BESIDE_MODEL[module]}.{leaf}" if module in _BESIDE_MODEL else None

    return with_tables(joined(unwrap(path, tensors, prefix, rename)), _SHARED)


def _says(contents: Contents, _ours: Tensors) -> Said:
    shared = (f"encoder.relative_position_bias.{_TABLE}", f"shared_position_bias.{_TABLE}")
    notes = (COPIED,) if any(name.endswith(shared) for name in contents.tensors) else ()
    return Said(pretraining="beit", variant="beit", notes=notes)


def _from_ours(_path: Path, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The names that save_pretrained writes; beside a classifier the model's begin with `beit.`."""
    written, classifier = NAMES.written(tensors, key_bias=False), "head.weight" in tensors
    head = {f"classifier.{leaf}": tensors[f"head.{leaf}"] for leaf in ("weight", "bias") if f"head.{leaf}" in tensors}
    return {**{f"beit.{name}" if classifier else name: tensor for name, tensor in written.items()}, **head}


def _config(size: Size, tensors: Tensors) -> dict[str, object]:
    return {
        "architectures": ["BeitForImageClassification" if "head.weight" in tensors else "BeitModel"],
        "model_type": "beit",
        "use_mask_token": MASK in tensors,
        "use_absolute_position_embeddings": False,
        "use_relative_position_bias": True,
        "use_shared_relative_position_bias": False,
        "layer_scale_init_value": size.layer_scale,
        "use_mean_pooling": "fc_norm.weight" in tensors,
        "drop_path_rate": 0.0,
    }


LAYOUT = Layout(
    name="transformers-beit",
    words="Hugging Face transformers' BEiT",
    recognise=lambda contents, prefix: bool(
        {f"{prefix}{layers}.0.lambda_1" for layers in NAMES.layers} & contents.tensors.keys()
    ),
    to_ours=_to_ours,
    patches="embeddings.patch_embeddings.projection.weight",
    # BeitForSemanticSegmentation has an UperNet of other names, with a pyramid of its own.
    beside=(MASK, "*relative_position_index", "lm_head.*", "fpn*", "decode_head.*", "auxiliary_head.*"),
    says=_says,
    writes="hf",
    from_ours=_from_ours,
    kinds=("classifier_class", "classifier_mean"),
    holds=holds,
    config=_config,
)
