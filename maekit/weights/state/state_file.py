"""Reads a file of weights: its layout, its kind, and its tensors under our names."""

import math
import re
from argparse import Namespace
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from maekit.backbone.lora import rank_of
from maekit.backbone.pos_embed import sincos_pos_embed
from maekit.backbone.sizes import Size, load_size
from maekit.errors import UserError
from maekit.system.plain import table
from maekit.system.size import HeightWidth
from maekit.weights.chosen import split_key
from maekit.weights.families.registry import kind_of, kinds
from maekit.weights.get.find import official_of
from maekit.weights.layouts.layout import NOTHING_SAID, Contents, Said
from maekit.weights.layouts.registry import layouts
from maekit.weights.read.floats import require_numbers
from maekit.weights.read.input_config import open_clip_config, timm_config
from maekit.weights.read.metadata import card_of, decoder_heads
from maekit.weights.read.safe_load import load_file, read_metadata
from maekit.weights.read.shape import NO_VIT, Shape, measure
from maekit.weights.read.transformers_folder import read_folder
from maekit.weights.state.encoders import find_layout
from maekit.weights.state.foreign import seems
from maekit.weights.state.sets import WeightSet, choose_set, whole_set
from maekit.weights.state.start import completed

TRANSFORMERS = "transformers"  # the layout of its folders, or how its name begins
_NOT_META = {"state_dict", "model", "optimizer", "scaler", "optimizer_states", "lr_schedulers", "callbacks", "loops"}


@dataclass(frozen=True)
class StateFile:
    """The tensors of a weights file under the names of facebookresearch/mae, whatever wrapped them.

    Attributes:
        layout: a name in `layouts.registry`; or `unknown`.
        kind: what it holds; `unknown` also where names give a foreign model away.
        tensors: by name: `cls_token`, `blocks.0.attn.qkv.weight`, `fc_norm.weight`, `head.weight`,
            `head.0.running_mean` (a linear probe), `decoder_blocks.0.norm1.weight`, ...; what has no such name keeps
            its own, less a prefix before the whole encoder.
        meta: what the file says beside them (epoch, `args`, `config`, `class_names`), without optimizer state.
        num_heads: attention heads of the encoder, from a config or because the size is known; None if neither says.
        knows_heads: whether the layout or a config determines that number; else it is assumed.
        decoder_heads: attention heads of the decoder, from a config or a card.
        chosen: which set of the file's tensors these are, and what there is beside it; None for a folder of one model.
        lora_rank: of the adapters (LoRA) that were merged into `tensors`; None without any.
        said: what the layout knows of the file beyond that.
        shape: the ViT, without what a task adds to it.
    """

    layout: str
    kind: str
    tensors: dict[str, Tensor]
    meta: dict[str, object]
    num_heads: int | None = None
    knows_heads: bool = False
    decoder_heads: int | None = None
    chosen: WeightSet | None = None
    lora_rank: int | None = None
    said: Said = NOTHING_SAID
    shape: Shape = NO_VIT

    @property
    def row(self) -> Size | None:
        """The row of sizes.yaml that its ViT is of; None where it is of none."""
        return load_size(self.shape.name) if self.shape.name else None


def read_state(path: str | Path, *, values: bool = True) -> StateFile:
    """Reads weights in any layout of `layouts.registry`: a file, or a folder of transformers.

    Of several sets of tensors in a file `FILE#KEY` chooses one (see `choose_set`).
    Nothing in the file is executed. A wrapper before the whole encoder (`module.`, `model.`, `backbone.`, ...) is
    taken off.

    Args:
        path: the file, the folder, or `FILE#KEY`.
        values: whether the tensors' numbers are wanted. Without them the tensors are on torch's meta device, no byte of
            theirs is read, and of a checkpoint of only what changed nothing else is looked for.

    Raises:
        UserError: as `load_file` and `read_folder`; nothing in the file is a tensor by name; or it has two encoders.
    """
    given = Path(path).expanduser()
    file, wanted = split_key(given)
    path = Path(file)
    if path.is_dir() and wanted:
        raise UserError(
            f"{path} is a folder, which holds one set of weights; leave #{wanted} out, or name a file in it"
        )
    if path.is_dir():
        folder = read_folder(path)
        state = _identify(path, whole_set(_outlines(folder.tensors, values)), folder.meta, folder.num_heads)
        heads = folder.decoder_heads if state.kind == "pretraining" else None
        more = state.chosen if state.chosen and state.chosen.beside else None
        known = state.layout if state.layout.startswith(TRANSFORMERS) else TRANSFORMERS
        return replace(
            state, layout=known, num_heads=folder.num_heads, knows_heads=True, decoder_heads=heads, chosen=more
        )
    contents = load_file(path)
    if not isinstance(contents, Mapping):
        raise UserError(f"{path} holds a {type(contents).__name__}, expected a dict of tensors; save a state_dict()")
    contents = completed(contents, path, lambda file: read_state(file).tensors) if values else contents
    chosen = choose_set(path, contents, wanted)
    require_numbers(path, chosen.tensors)
    chosen = replace(chosen, tensors=_outlines(chosen.tensors, values))
    inside = _NOT_META | chosen.tensors.keys() | chosen.places
    meta = {str(key): value for key, value in contents.items() if str(key) not in inside}
    if isinstance(arguments := meta.get("args"), Namespace):
        meta["args"] = vars(arguments)
    meta |= {name: value for name, value in read_metadata(path).items() if name != "format"}
    meta |= timm_config(path) | open_clip_config(path)
    return _identify(given, chosen, meta)


def _outlines(tensors: dict[str, Tensor], values: bool) -> dict[str, Tensor]:
    """The tensors, or without their values their shapes and types alone."""
    return tensors if values else {name: torch.empty_like(t, device="meta") for name, t in tensors.items()}


def _identify(path: Path, chosen: WeightSet, meta: dict[str, object], num_heads: int | None = None) -> StateFile:
    """Finds the layout of a set of tensors and gives them our names; other parts of the file are counted only."""
    contents = Contents(chosen.tensors, meta, chosen.key)
    found = find_layout(path, contents)
    if found is None:
        return StateFile("unknown", "unknown", chosen.tensors, meta, chosen=chosen)
    layout, prefix = found
    parts = {name: layout.part(name) for name in chosen.tensors}
    tensors = layout.to_ours(path, {n: tensor for n, tensor in chosen.tensors.items() if not parts[n]}, prefix)
    other = Counter(part for part in parts.values() if part)
    encoders = tuple(
        dict.fromkeys(part for name, part in parts.items() if part and name.endswith(f".{layout.patches}"))
    )
    meta |= layout.metadata(meta)
    kind = kind_of(tensors, foreign=bool(seems(tensors))).name
    said = layout.says(replace(contents, metadata=meta), tensors)
    if not said.backbone and (official := official_of(path)):
        said = replace(said, backbone=official.backbone)
    heads = num_heads or said.num_heads or layout.num_heads(meta)
    shape = _shape(tensors, kind, said, heads)
    return StateFile(
        layout=layout.name,
        kind=kind,
        tensors=tensors,
        meta=meta,
        num_heads=load_size(shape.name).num_heads if heads is None and shape.name else heads,
        knows_heads=heads is not None or layout.sizes_are_ours,
        decoder_heads=decoder_heads(meta) if kind == "pretraining" else None,
        lora_rank=rank_of(chosen.tensors),
        said=said,
        shape=shape,
        chosen=replace(chosen, others=(*chosen.others, *encoders), beside={**chosen.beside, **other}),
    )


def _shape(tensors: Mapping[str, Tensor], kind: str, said: Said, num_heads: int | None) -> Shape:
    """The ViT of a file, without what its task added; where the file names it, that one."""
    known = kinds()[kind]
    own = {name: t for name, t in tensors.items() if not re.fullmatch(known.adapted_names or "(?!)", name)}
    shape = measure(own, variant=said.variant, num_heads=num_heads, tokens=not known.plain_tokens)
    try:
        named = load_size(said.backbone) if said.backbone else None
    except UserError:
        return shape
    if named is None or (named.embed_dim, named.num_blocks, named.patch_size) != shape[:3]:
        return shape
    return shape._replace(names=(named.name,))


def in_words(layout: str, kind: str) -> str:
    """Says both, as in `facebookresearch/mae, pre-training with decoder`."""
    known = layouts().get(layout)
    return f"{known.words if known else 'unknown layout'}, {kinds()[kind].words}"


def recorded_grid(state: StateFile) -> HeightWidth | None:
    """The patch grid (h, w) of the image size that a file says; None where it says none."""
    patch_size = state.shape.patch_size
    places = (card_of(state.meta), state.meta, table(state.meta.get("args")))
    size = next((place["image_size"] for place in places if "image_size" in place), None)
    sides = size if isinstance(size, (list, tuple)) else ()
    if patch_size and len(sides) == 2 and all(type(pixels) is int for pixels in sides):
        return HeightWidth(*(pixels // patch_size for pixels in sides))
    return None


def stored_grid(state: StateFile, num_positions: int) -> HeightWidth | None:
    """The patch grid (h, w) of a file's position table: of the image size if the file says it, else the square one."""
    said = recorded_grid(state)
    if said and said.height * said.width == num_positions:
        return said
    side = math.isqrt(num_positions)
    return HeightWidth(side, side) if side * side == num_positions else None


def relative_grid(state: StateFile, name: str = "blocks.0.attn.position.table") -> HeightWidth | None:
    """The patch grid (h, w) of a file's table of relative biases: as `stored_grid`, of (2h-1)(2w-1) + 3 rows."""
    table, said = state.tensors.get(name), recorded_grid(state)
    shifts = len(table) - 3 if table is not None and table.ndim == 2 else 0
    if said and (2 * said.height - 1) * (2 * said.width - 1) == shifts:
        return said
    side = math.isqrt(max(shifts, 0))
    return HeightWidth((side + 1) // 2, (side + 1) // 2) if side % 2 and side * side == shifts else None


def positions(state: StateFile) -> Literal["sincos", "learned", "none"]:
    """Whether a file's positions are MAE's fixed sine-cosine table or other ones (`learned`), to 1e-3.

    A table kept in a shorter type may differ by that type's rounding too.
    """
    table = state.tensors.get("pos_embed")
    if table is None or table.ndim != 3 or not table.is_floating_point():
        return "none"
    prefix = state.shape.class_rows
    grid = stored_grid(state, table.shape[1] - prefix)
    if grid is None or table.shape[0] != 1 or table.shape[2] % 4:
        return "learned"
    fixed = sincos_pos_embed(table.shape[2], grid, prefix > 0)
    same = torch.allclose(table.float(), fixed, rtol=0, atol=1e-3 + torch.finfo(table.dtype).eps)
    return "sincos" if same else "learned"
