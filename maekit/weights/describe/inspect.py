"""Describes a file of weights: its layout and kind, what is in it, what is missing."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from maekit.errors import UserError
from maekit.system.plain import of, table
from maekit.system.size import HeightWidth
from maekit.weights.families.facts import Facts
from maekit.weights.families.family import Part
from maekit.weights.families.registry import extra_parameters, families, kinds
from maekit.weights.load.assumed import says_heads
from maekit.weights.read.bands import file_bands
from maekit.weights.read.floats import FLOATS, is_finite
from maekit.weights.read.metadata import card_of, norm_pix_loss
from maekit.weights.read.vit_shapes import row_shapes, vit_shapes
from maekit.weights.state.foreign import seems
from maekit.weights.state.pretraining import licence_in, pretraining_of
from maekit.weights.state.state_file import StateFile, in_words, positions, read_state, relative_grid, stored_grid

_BACKBONE = re.compile(
    r"(cls_token|reg_token|pos_embed|patch_embed\..+|norm_pre\..+|blocks\..+|norm\..+|shared_bias\..+)"
)
_PIXELS = 224  # of the positions that a ViT without any is counted to lack


def inspect(path: str | Path) -> Facts:
    """Reads a file of weights, or a folder of transformers, and describes it.

    Raises:
        UserError: it cannot be read.
    """
    state = read_state(path)
    tensors, shape = state.tensors, state.shape
    told = pretraining_of(state, Path(path))
    grid = _grid(state)
    wanted = _wanted(state, grid)
    floats = {name: tensor.shape for name, tensor in tensors.items() if tensor.dtype in FLOATS}
    held = [name for name, shape in wanted.items() if floats.get(name) == shape]
    filters = tensors.get("patch_embed.proj.weight")
    total = sum(shape.numel() for shape in wanted.values())
    encoder = {name: tensor for name, tensor in tensors.items() if _BACKBONE.fullmatch(name)}
    kind = kinds()[state.kind]
    part = Part(tensors, state.kind, state.meta, state.decoder_heads)
    described = [family.describe(part) for family in families()]
    of_heads = (*extra_parameters(), *(start for family in families() for start in family.starts))
    known = {
        *wanted,
        *(name for name in tensors if name.startswith(of_heads) or re.fullmatch(kind.adapted_names, name)),
    }
    return Facts(
        path=str(path),
        layout=state.layout,
        kind=state.kind,
        in_words=in_words(state.layout, state.kind),
        seems="" if kind.adapted else seems(tensors).rpartition("to hold ")[2],
        size=shape.name,
        embed_dim=shape.embed_dim,
        num_blocks=shape.num_blocks,
        patch_size=shape.patch_size,
        num_heads=state.num_heads,
        says_heads=says_heads(state),
        num_tensors=len(tensors),
        encoder_parameters=sum(tensor.numel() for tensor in encoder.values()),
        dtypes=tuple(sorted({str(tensor.dtype).removeprefix("torch.") for tensor in (encoder or tensors).values()})),
        final_norm="norm.weight" in tensors,
        positions=positions(state),
        pos_grid=grid,
        image_size=HeightWidth(*(side * shape.patch_size for side in grid)) if grid and shape.patch_size else None,
        decoder=next((each.decoder for each in described if each.decoder), None),
        classifier=next((each.classifier for each in described if each.classifier), None),
        coverage=sum(wanted[name].numel() for name in held) / total if total else None,
        missing=(*(n for n in wanted if n not in tensors), *(n for each in described for n in each.missing)),
        misshapen=tuple(name for name in wanted if name in tensors and name not in held),
        channels=filters.shape[1] if filters is not None and filters.ndim == 4 else None,
        bands=_bands(state),
        unused=tuple(name for name in tensors if name not in wanted and name not in known),
        not_finite=tuple(name for name, tensor in tensors.items() if not is_finite(tensor)),
        set=state.chosen.key if state.chosen else "",
        sets=state.chosen.others if state.chosen else (),
        beside=dict(state.chosen.beside) if state.chosen else {},
        lora_rank=state.lora_rank,
        sizes=shape.names,
        parts=str(shape.parts) if shape.embed_dim else "",
        architecture=_architecture(state.meta),
        num_registers=shape.num_registers,
        class_token="cls_token" in tensors,
        pretraining=told.word,
        told_by=told.how,
        licence=licence_in(state, Path(path)),
        notes=state.said.notes,
        **_recorded(state.kind, state.meta),
    )


def _architecture(meta: Mapping[str, object]) -> str:
    listed = table(meta.get("config")).get("architectures")
    name = listed[0] if isinstance(listed, list) and listed else meta.get("architecture")
    return name if isinstance(name, str) else ""


def _bands(state: StateFile) -> tuple[str, ...]:
    """The names of the channels of its patch filters: recorded, or R, G, B for three; empty where nothing says them."""
    filters = state.tensors.get("patch_embed.proj.weight")
    if filters is None or filters.ndim != 4:
        return ()
    try:
        return file_bands(state.meta, filters.shape[1]).names
    except UserError:
        return ()


def _grid(state: StateFile) -> HeightWidth | None:
    table = state.tensors.get("pos_embed")
    if table is None or table.ndim != 3:
        return relative_grid(state)
    return stored_grid(state, table.shape[1] - state.shape.class_rows)


def _wanted(state: StateFile, grid: HeightWidth | None) -> dict[str, torch.Size]:
    """The backbone's tensors by name; the norm that its pooling wants is `norm`, or the head's `fc_norm`."""
    width, num_blocks, patch, registers, *_ = state.shape
    if width is None or patch is None:
        return {}
    pooled = "fc_norm.weight" in state.tensors and (
        state.kind == "classifier_mean" or "norm.weight" not in state.tensors
    )
    rows, columns = grid or (_PIXELS // patch, _PIXELS // patch)
    tokens = not kinds()[state.kind].plain_tokens
    channels, normed = state.tensors["patch_embed.proj.weight"].shape[1], tokens and not pooled
    if state.shape.name:
        size = (rows, columns)
        shapes = row_shapes(state.shape.name, size, channels=channels, class_token=tokens, final_norm=normed)
    else:
        shapes = vit_shapes(
            width,
            num_blocks,
            (patch, patch),
            rows * columns + int(tokens),
            channels=channels,
            num_registers=registers,
            class_token=tokens,
            final_norm=normed,
        )
    norm = {f"fc_norm.{leaf}": torch.Size([width]) for leaf in ("weight", "bias")} if pooled and shapes else {}
    return shapes | norm


def _recorded(kind: str, meta: Mapping[str, object]) -> dict[str, Any]:
    """Returns what the metadata records; values of an unexpected type are left out."""
    card = card_of(meta)
    names = None if kind == "pretraining" else card.get("class_names", meta.get("class_names"))
    return {
        "predicts": of(str, card.get("target")) or "classes",
        "class_names": len(names) if isinstance(names, (list, tuple)) else 0,
        "epoch": of(int, meta.get("epoch")),
        "step": of(int, card.get("step", meta.get("global_step"))),
        "task": of(str, card.get("task")),
        "recipe": of(str, card.get("recipe")),
        "head": of(str, table(table(card.get("config")).get("model")).get("head")),
        "norm_pix_loss": norm_pix_loss(meta),
    }
