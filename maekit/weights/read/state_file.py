"""What a file of weights holds: its layout, its kind, its names, its size."""

import math
from argparse import Namespace
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from maekit.backbone.pos_embed import sincos_pos_embed
from maekit.backbone.sizes import load_size
from maekit.errors import UserError
from maekit.system.plain import table
from maekit.weights.chosen import split_key
from maekit.weights.layouts.detectron2 import from_detectron2, is_detectron2
from maekit.weights.layouts.openmmlab import class_names, from_mmpretrain
from maekit.weights.layouts.plain import from_plain, from_solo, is_solo
from maekit.weights.layouts.transformers import from_transformers
from maekit.weights.read.foreign import seems
from maekit.weights.read.input_config import timm_config
from maekit.weights.read.kinds import Kind, Layout
from maekit.weights.read.metadata import CARD, card_of, decoder_heads
from maekit.weights.read.names import ENCODER_MASK_TOKEN, is_probe, model_name, released_name
from maekit.weights.read.report import Grid
from maekit.weights.read.safe_load import load_file, read_metadata
from maekit.weights.read.sets import WeightSet, choose_set
from maekit.weights.read.shape import Shape, measure
from maekit.weights.read.transformers_folder import read_folder
from maekit.weights.read.wrappers import find_encoder

__all__ = [
    "Kind",
    "Layout",
    "Shape",
    "StateFile",
    "measure",
    "model_name",
    "positions",
    "read_state",
    "seems",
    "stored_grid",
]

_NOT_META = {"state_dict", "model", "optimizer", "scaler", "optimizer_states", "lr_schedulers", "callbacks", "loops"}


@dataclass(frozen=True)
class StateFile:
    """The tensors of a weights file under the names of facebookresearch/mae, whatever wrapped them.

    Attributes:
        layout: whose file it is.
        kind: what it holds; `unknown` also where names give a foreign model away.
        tensors: by name: `cls_token`, `blocks.0.attn.qkv.weight`, `fc_norm.weight`, `head.weight`,
            `head.0.running_mean` (a linear probe), `decoder_blocks.0.norm1.weight`, ...; what has no such name keeps
            its own, less a prefix before the whole encoder.
        meta: what the file says beside them (epoch, `args`, `config`, `class_names`), without optimizer state.
        num_heads: attention heads of the encoder, from a config or because the size is known; None if neither says.
        decoder_heads: attention heads of the decoder, from a config or a card.
        chosen: which set of the file's tensors these are, and what there is beside it; None for a folder.
    """

    layout: Layout
    kind: Kind
    tensors: dict[str, Tensor]
    meta: dict[str, object]
    num_heads: int | None = None
    decoder_heads: int | None = None
    chosen: WeightSet | None = None


def read_state(path: str | Path) -> StateFile:
    """Reads weights in any layout of `Layout`: a file, or a folder of transformers.

    Of several sets of tensors in a file `FILE#KEY` chooses one (see `choose_set`).
    Nothing in the file is executed. A wrapper before the whole encoder (`module.`, `model.`, `backbone.`, ...) is
    taken off.

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
        state = _named(path, folder.tensors, folder.meta, "unknown")
        heads = folder.decoder_heads if state.kind == "pretraining" else None
        return StateFile("transformers", state.kind, state.tensors, state.meta, folder.num_heads, heads)
    contents = load_file(path)
    if not isinstance(contents, Mapping):
        raise UserError(f"{path} holds a {type(contents).__name__}, expected a dict of tensors; save a state_dict()")
    chosen = choose_set(path, contents, wanted)
    tensors, inside = chosen.tensors, _NOT_META | chosen.tensors.keys() | chosen.places
    meta = {str(key): value for key, value in contents.items() if str(key) not in inside}
    if isinstance(arguments := meta.get("args"), Namespace):
        meta["args"] = vars(arguments)
    meta |= {name: value for name, value in read_metadata(path).items() if name != "format"} | timm_config(path)
    if _is_maekit(meta, tensors):
        state = _from_maekit(tensors, meta)
        if outside := len(tensors) - len(state.tensors):
            chosen = replace(chosen, beside={**chosen.beside, "beside the model": outside})
    else:
        lightning = chosen.key == "state_dict" and "pytorch-lightning_version" in contents
        layout: Layout = "lightning" if lightning else "mae" if chosen.key == "model" else "state_dict"
        state = _named(given, tensors, meta, layout)
    return replace(state, chosen=chosen)


def _named(path: Path, tensors: dict[str, Tensor], meta: dict[str, object], layout: Layout) -> StateFile:
    """Finds the encoder and gives everything its released name; `layout` is that of plain names, by the wrapping."""
    encoder = find_encoder(path, tensors)
    if encoder is None:
        return StateFile("unknown", "unknown", tensors, meta)
    if encoder.family == "transformers":
        layout, tensors = "transformers", from_transformers(path, tensors, encoder.prefix)
    elif encoder.family == "mmpretrain":
        layout = "mmsegmentation" if "decode_head.conv_seg.weight" in tensors else "mmpretrain"
        tensors = from_mmpretrain(path, tensors, encoder.prefix)
        if names := class_names(meta):
            meta["class_names"] = names
    elif is_solo(tensors, encoder.prefix):
        layout, tensors = "solo-learn", from_solo(path, tensors, encoder.prefix)
    elif is_detectron2(tensors, encoder.prefix):
        layout, tensors = "detectron2", from_detectron2(path, tensors, encoder.prefix)
    else:
        layout = "state_dict" if layout == "mae" and encoder.prefix else layout
        tensors = from_plain(path, tensors, encoder.prefix)
    return _state(layout, tensors, meta)


def _state(layout: Layout, tensors: dict[str, Tensor], meta: dict[str, object]) -> StateFile:
    kind = _kind(tensors)
    decoder = decoder_heads(meta) if kind == "pretraining" else None
    return StateFile(layout, kind, tensors, meta, _heads(tensors), decoder)


def _is_maekit(meta: Mapping[str, object], names: Collection[str]) -> bool:
    """A run's checkpoint has a card; one without, made by hand, has the names of our own head."""
    backbone = any(name.startswith("model.backbone.") for name in names)
    return backbone and (CARD in meta or "model.head.fc.weight" in names)


def _from_maekit(tensors: dict[str, Tensor], meta: dict[str, object]) -> StateFile:
    ours = {name.removeprefix("model."): t for name, t in tensors.items()}
    kept = {n: t for n, t in ours.items() if n.startswith(("backbone.", "head.")) or n == ENCODER_MASK_TOKEN}
    ours = {name.removeprefix("backbone."): tensor for name, tensor in kept.items()}
    named = {released_name(name, probe=is_probe(ours)): tensor for name, tensor in ours.items()}
    return _state("maekit", named, meta)


def _kind(names: Collection[str]) -> Kind:
    if "patch_embed.proj.weight" not in names or "blocks.0.attn.qkv.weight" not in names:
        return "unknown"
    if "head.decode.conv_seg.weight" in names:
        return "segmenter"
    if "head.detector.roi_heads.box_predictor.cls_score.weight" in names:
        return "detector"
    if seems(names):
        return "unknown"
    if "decoder_pred.weight" in names:
        return "pretraining"
    if "head.0.running_mean" in names:
        return "linear_probe"
    if "head.weight" in names:
        return "classifier_mean" if "fc_norm.weight" in names else "classifier_class"
    return "encoder"


def _heads(tensors: Mapping[str, Tensor]) -> int | None:
    name = measure(tensors).name
    return load_size(name).num_heads if name else None


def stored_grid(state: StateFile, num_positions: int) -> Grid | None:
    """The patch grid (h, w) of a file's position table: of the image size if the file says it, else the square one."""
    patch_size = measure(state.tensors).patch_size
    places = (card_of(state.meta), state.meta, table(state.meta.get("args")))
    size = next((place["image_size"] for place in places if "image_size" in place), None)
    sides = size if isinstance(size, (list, tuple)) else ()
    if patch_size and len(sides) == 2 and all(type(pixels) is int for pixels in sides):
        height, width = (pixels // patch_size for pixels in sides)
        if height * width == num_positions:
            return height, width
    side = math.isqrt(num_positions)
    return (side, side) if side * side == num_positions else None


def positions(state: StateFile) -> Literal["sincos", "learned", "none"]:
    """Whether a file's positions are MAE's fixed sine-cosine table or other ones (`learned`), to 1e-3.

    A table kept in a shorter type may differ by that type's rounding too.
    """
    table = state.tensors.get("pos_embed")
    if table is None or table.ndim != 3 or not table.is_floating_point():
        return "none"
    prefix = int("cls_token" in state.tensors)
    grid = stored_grid(state, table.shape[1] - prefix)
    if grid is None or table.shape[0] != 1 or table.shape[2] % 4:
        return "learned"
    fixed = sincos_pos_embed(table.shape[2], grid, prefix > 0)
    same = torch.allclose(table.float(), fixed, rtol=0, atol=1e-3 + torch.finfo(table.dtype).eps)
    return "sincos" if same else "learned"
