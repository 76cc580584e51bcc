"""Writes weights in another layout: facebookresearch/mae's, timm's, detectron2's, or a folder of transformers."""

import pickle
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Literal

import safetensors.torch
import torch
from torch import Tensor

from maekit.errors import UserError, nearest
from maekit.export.expected import whole
from maekit.export.linear_probe import FOLDED, fold, with_plain_norm
from maekit.export.timm_config import timm_config
from maekit.export.transform import IMAGENET
from maekit.export.transformers_folder import write_hf
from maekit.system.files import atomic_write, atomic_write_text
from maekit.system.plain import table
from maekit.weights.layouts.layout import MASK, is_plain
from maekit.weights.layouts.registry import writer, writers
from maekit.weights.load.classes import file_classes
from maekit.weights.read.bands import recorded_bands
from maekit.weights.read.input_config import timm_place
from maekit.weights.read.metadata import (
    EPS,
    model_settings,
    norm_eps,
    normalisation,
    not_pixels,
    pretraining_arguments,
    recorded_input,
)
from maekit.weights.read.shorten import some
from maekit.weights.state.state_file import StateFile, in_words, read_state

_DECODER = ("decoder_", "mask_token", MASK)  # beginnings of what timm has no place for
Target = Literal["mae", "hf", "timm", "detectron2"]


def convert(source: str | Path, to: Target, out: Path, *, norm_pix_loss: bool | None = None) -> list[str]:
    """Writes a file of weights in another layout, its numbers as they are.

    Args:
        source: weights in any layout that `read_state` knows.
        to: "mae", `{"model": tensors}` as facebookresearch/mae saves, and beside it `args` with what a run's card
            says of its decoder and loss; "timm", the state dict of timm's VisionTransformer, in safetensors if `out`
            ends so; "hf", a folder for transformers' from_pretrained; "detectron2", a pickle of numpy arrays as its
            model zoo has them, for a Mask R-CNN on a ViT. Beside timm's file goes its configuration: `config.json` for
            a file called model.safetensors or pytorch_model.bin, else the file's name and `.json`.
        out: the file or folder to make; it must not be there, or be an empty folder for "hf".
        norm_pix_loss: what a pre-training's config says for "hf": whether it predicted normalised pixels; None for
            what the source says.

    Returns:
        Lines of text: what was read, what was changed or left out, what was written.

    Raises:
        UserError: `source` cannot be read or is not whole; the target cannot hold it; `out` is there already.
    """
    if to not in writers():
        raise UserError(
            f"got the layout '{to}' to write, expected {', '.join(sorted(writers()))}{nearest(to, writers())}"
        )
    source, out = Path(source).expanduser(), Path(out).expanduser()
    _check_out(out, folder=to == "hf")
    if to == "timm":
        _check_out(timm_place(out), folder=False)
    state = read_state(source)
    _check_kind(source, state, to)
    lines = [f"read {source} ({in_words(state.layout, state.kind)})"]
    if state.lora_rank is not None:
        lines.append(f"merged: adapters (LoRA) of rank {state.lora_rank} into the weights of their layers")
    if not_pixels(state.meta) and state.kind == "pretraining":
        state = replace(state, kind="encoder")
    if state.kind == "linear_probe" and model_settings(state.meta).get("pooling") == "mean":
        state = replace(state, tensors=with_plain_norm(state.tensors))
    tensors = whole(source, state)
    size = state.row
    layout = writer(to, size)
    if layout is None or (to == "hf" and size and not is_plain(size) and state.kind not in ("encoder", *layout.kinds)):
        raise UserError(_no_place(source, state, to))
    if others := [name for name in state.tensors if name not in tensors]:
        lines.append(f"left out: {some(others)}")
    if to == "hf":
        if state.kind == "linear_probe":
            tensors = fold(tensors)
            lines.append(FOLDED)
        return lines + write_hf(source, state, layout, _owned(tensors), out, norm_pix_loss)
    named = layout.from_ours(source, tensors)
    lines += layout.remarks(tensors)
    usual = size.norm_eps if size else EPS
    if (eps := norm_eps(state.meta, usual)) != usual:
        lines.append(
            f"layer norms: its config says an eps of {eps:g}, but {to} has no place for it and computes with {usual:g}"
        )
    config = ""
    if to == "timm":
        if decoder := [name for name in tensors if name.startswith(_DECODER)]:
            lines.append(f"left out: {some(decoder)} (timm has no decoder and no mask token)")
        if state.kind == "linear_probe":
            named = fold(named)
            lines.append(FOLDED)
        classes = named["head.weight"].shape[0] if "head.weight" in named else 0
        pool = "avg" if "fc_norm.weight" in named or (size and not size.class_token) else "token"
        config, more = timm_config(state, named, layout.config(size, tensors) if size else {}, pool)
        lines += [f'for timm: num_classes={classes}, global_pool="{pool}"', *more]
    beside = _beside(state, to)
    if to in ("mae", "detectron2"):
        lines += _without_a_place(state, to, beside)
    _write(out, to, _owned(named), beside)
    lines.append(f"wrote {out} ({len(named)} tensors)")
    if config:
        atomic_write_text(timm_place(out), config)
        lines.append(f"wrote {timm_place(out)} (timm's configuration: network, transform, class names)")
    return lines


def _no_place(source: Path, state: StateFile, to: Target) -> str:
    """Explains that a layout cannot hold a ViT, and which one can."""
    size = state.row
    others = [word for word in ("timm", "hf") if word != to and writer(word, size)]
    instead = f"convert it with {' or '.join(f'`--to {word}`' for word in others)}" if others else "keep it as it is"
    what = f"{in_words(state.layout, state.kind)}, {state.shape}"
    return f"{source} holds {what}, which {to} has no place for as it is written here; {instead}"


def _check_kind(source: Path, state: StateFile, to: Target) -> None:
    """Refuses a kind of weights that the layout has no place for."""
    refused = f"{source} is {in_words(state.layout, state.kind)}, which cannot be written as {to}"
    if state.kind == "segmenter":
        raise UserError(
            f"{refused}: its ViT has relative positions and LayerScale, which none of these layouts has a place for; "
            "keep it as a checkpoint of maekit"
        )
    if (to == "detectron2") != state.kind.endswith("detector"):
        raise UserError(f"{refused}; give --to detectron2 for a detector with Mask R-CNN, and for nothing else")
    if state.kind == "pretraining" and to != "timm" and (own := not_pixels(state.meta)):
        raise UserError(
            f"{source} cannot be written as {to}, which knows pixels and mask tokens in the decoder only: {own}; "
            "write its encoder alone with `--to timm`"
        )


def _beside(state: StateFile, to: Target) -> dict[str, object]:
    """Returns what goes into a file beside its tensors: bands, the arguments of a pre-training, classes, transform."""
    names = recorded_bands(state.meta)
    found: dict[str, object] = {"bands": list(names)} if names else {}
    if to == "timm":
        return found
    if state.kind == "pretraining":
        arguments = pretraining_arguments(state.meta, state.decoder_heads)
        return {**({"args": arguments} if arguments and to == "mae" else {}), **found}
    classes, image = file_classes(state.meta), dict(recorded_input(state.meta))
    found = {**found, **({"input": image} if image else {})}
    return found if classes is None else {"class_names": list(classes.names), "class_ids": list(classes.ids), **found}


def _without_a_place(state: StateFile, to: Target, beside: Mapping[str, object]) -> list[str]:
    """Returns lines on what the user must set by hand, since the layout has no place for it that its library reads."""
    colours, lines = normalisation(state.meta), []
    if to == "detectron2":
        mean, std = ([round(255 * v, 3) for v in values] for values in colours or IMAGENET)
        assumed = "" if colours else " (ImageNet's, since the file does not say them)"
        size = table(recorded_input(state.meta)).get("image_size")
        lines.append(
            f'for detectron2: set model.input_format="RGB" (its zoo\'s own are BGR or RGB), pixel_mean={mean}, '
            f"pixel_std={std}{assumed}{f', and the long side of {size} px' if size else ''}: the file cannot say them"
        )
    if "class_names" in beside:
        lines.append("class names: kept in the file for maekit; other libraries do not read them there")
    return lines


def _check_out(out: Path, *, folder: bool) -> None:
    if folder and out.is_dir() and not any(out.iterdir()):
        return
    if out.exists() or out.is_symlink():
        what = "a new folder or an empty one" if folder else "the name of a new file"
        raise UserError(f"{out} exists already, expected {what}; give another, or remove it first")


def _owned(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Returns copies that share no memory and have none to spare, which the formats would refuse or write."""
    return {name: tensor.detach().clone(memory_format=torch.contiguous_format) for name, tensor in tensors.items()}


def _write(out: Path, to: Target, tensors: dict[str, Tensor], beside: Mapping[str, object]) -> None:
    names = beside.get("bands")
    bands = {"bands": ",".join(map(str, names))} if isinstance(names, list) else {}
    with atomic_write(out) as file:
        if to == "detectron2":
            arrays = {name: tensor.float().numpy() for name, tensor in tensors.items()}
            pickle.dump({"model": arrays, "__author__": "maekit", **beside}, file, protocol=4)
        elif to == "timm" and out.suffix == ".safetensors":
            file.write(safetensors.torch.save(tensors, metadata={"format": "pt", **bands}))
        else:
            torch.save({"model": tensors, **beside} if to == "mae" else tensors, file)
