"""BEiT and BEiT v2, as microsoft/unilm and as timm's Beit name them: biases of q and v apart, relative tables.

A pre-training has one table of relative biases for all blocks (`rel_pos_bias`), fine-tuning one in each block: what was
shared is read into each, as their fine-tuning does. Beside a pre-training's encoder stand its mask token, its
classifier of visual words (`lm_head`), and of BEiT v2 the blocks that look at the class token (`cls_pt_layers`).
Source: microsoft/unilm @ 2312c6f beit/{modeling_pretrain,modeling_finetune,run_class_finetuning}.py, beit2/
modeling_pretrain.py; huggingface/pytorch-image-models timm/models/beit.py (1.0.31).
"""

import re
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from maekit.backbone.sizes import Size
from maekit.weights.layouts.dialect import Dialect, joined
from maekit.weights.layouts.layout import MASK, Contents, Layout, Said, Tensors
from maekit.weights.read.wrappers import unwrap

SHARED = "rel_pos_bias.relative_position_bias_table"
COPIED = "its one table of relative biases is read into each block, as for fine-tuning"
_INDEX = "*relative_position_index"  # which maekit computes
BESIDE = (MASK, _INDEX, "lm_head.*", "cls_pt_layers.*", "cls_pt_norm.*", "cls_pt_lm_head.*")
NAMES = Dialect(
    layers=("blocks",),
    in_layer=(
        ("attn.q_bias", "attn.q.bias"),
        ("attn.v_bias", "attn.v.bias"),
        ("attn.relative_position_bias_table", "attn.position.table"),
    ),
    once=(("mask_token", MASK),),
)


def has_tables(contents: Contents, prefix: str) -> bool:
    """Whether there are relative tables with a class token, and biases of q apart, without a model's other parts."""
    names = contents.tensors
    tables = (f"{prefix}{SHARED}", f"{prefix}blocks.0.attn.relative_position_bias_table")
    return f"{prefix}blocks.0.attn.q_bias" in names and any(table in names for table in tables)


def to_ours(path: Path, tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Renames the encoder's tensors, joins biases, and gives each block the table that they share."""
    named = unwrap(path, tensors, prefix, lambda name, inside: (NAMES.ours(name) or name) if inside else None)
    return with_tables(joined(named), SHARED)


def with_tables(named: Mapping[str, Tensor], shared: str) -> dict[str, Tensor]:
    """Puts a table that all blocks share, if there is one, into each block that has none.

    Args:
        named: tensors by our names, but for that table.
        shared: its name.
    """
    if shared not in named:
        return dict(named)
    blocks = {match[1] for name in named if (match := re.match(r"blocks\.(\d+)\.", name))}
    tables = {f"blocks.{index}.attn.position.table": named[shared] for index in sorted(blocks, key=int)}
    return {name: tensor for name, tensor in {**tables, **named}.items() if name != shared}


def _says(contents: Contents, _ours: Tensors) -> Said:
    named, tensors = str(contents.metadata.get("architecture", "")), contents.tensors
    notes = (COPIED,) if any(name.endswith(SHARED) for name in tensors) else ()
    if named.startswith("beitv2") or any(".cls_pt_layers." in f".{name}" for name in tensors):
        return Said(pretraining="beit_v2", variant="beit", notes=notes)
    first = named.startswith("beit_") or any(".lm_head." in f".{name}" for name in tensors)
    return Said(pretraining="beit" if first else "", variant="beit", notes=notes)


def _from_ours(_path: Path, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Leaves the mask token out, which timm's Beit has no place for."""
    theirs = {"attn.position.table": "attn.relative_position_bias_table"}
    written: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        stem, bias, _ = name.partition("qkv.bias")
        if bias:
            q, _, v = tensor.chunk(3)
            written |= {f"{stem}q_bias": q, f"{stem}v_bias": v}
        elif name != MASK:
            end = next((end for end in theirs if name.endswith(end)), "")
            written[name.removesuffix(end) + theirs.get(end, "")] = tensor
    return written


def _config(size: Size, _tensors: Tensors) -> dict[str, object]:
    return {
        "architecture": "beit_large_patch16_224" if size.embed_dim == 1024 else "beit_base_patch16_224",
        "model_args": {
            "init_values": size.layer_scale,
            "use_abs_pos_emb": False,
            "use_rel_pos_bias": True,
        },
    }


def holds(size: Size) -> bool:
    """Whether a ViT has BEiT's parts: a relative table a block, no positions, LayerScale, no bias of keys."""
    tables = size.relative_position == "table" and size.positions == "none" and size.qkv_bias == "no_key"
    return tables and size.layer_scale is not None and size.class_token and not size.num_registers


LAYOUT = Layout(
    name="beit",
    words="microsoft/unilm's BEiT",
    recognise=lambda contents, prefix: has_tables(contents, prefix) and not prefix.endswith("encoder."),
    to_ours=to_ours,
    beside=BESIDE,
    says=_says,
    writes="timm",
    from_ours=_from_ours,
    holds=holds,
    config=_config,
)
