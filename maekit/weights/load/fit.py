"""Checks that a file's tensors fit a model, and explains every misfit."""

import difflib
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from maekit.errors import UserError
from maekit.weights.families.fit import ANEW, Attempt, Fit, matches
from maekit.weights.families.purpose import size_flags
from maekit.weights.families.registry import class_heads, families
from maekit.weights.read.floats import FLOATS, is_finite
from maekit.weights.read.shape import Shape, measure
from maekit.weights.read.shorten import some
from maekit.weights.state.foreign import seems
from maekit.weights.state.state_file import StateFile

CHANNELS = 3


def check_size(path: Path, fit: Fit, theirs: Shape) -> None:
    """Raises UserError for a file without a ViT, or with one of other numbers or parts than the model's.

    Args:
        path: the file.
        fit: its tensors beside the model's, its patch filters resized where that is allowed.
        theirs: its ViT.
    """
    key, names = "patch_embed.proj.weight", list(fit.in_file.values())
    if key not in fit.found and not any(name.startswith("blocks.") for name in fit.found):
        prefix = next((name.removesuffix(key) for name in names if name.endswith(f".{key}")), "")
        hint = f"; its names start with '{prefix}': name it {path}#{prefix[:-1]}" if prefix else ""
        raise UserError(
            f"{path} has none of the backbone's tensors: got {some(names, 4)}, expected {key}, blocks.0.norm1.weight "
            f"and so on{hint}{seems(names)}"
        )
    numbers, ours = measure(fit.found)[:3], measure(fit.own)
    other_size = f"add {size_flags(theirs.name)}, or " if theirs.name else ""
    if any(got not in (None, expected) for got, expected in zip(numbers, ours[:3], strict=True)):
        raise UserError(
            f"{path} holds {theirs}, expected {ours}; {other_size}name weights of the model's size{seems(names)}"
        )
    if problem := _part_problem(fit, theirs, ours.num_registers):
        raise UserError(f"{path} holds {theirs}: {problem}; {other_size}name weights of the model's kind{seems(names)}")


def _part_problem(fit: Fit, theirs: Shape, ours: int) -> str:
    """Explains parts of the ViT that file and model do not share and that no shape shows; empty where they share them.

    Args:
        fit: the file's tensors beside the model's.
        theirs: the file's ViT.
        ours: registers of the model.
    """
    if theirs.num_registers != ours and "cls_token" in fit.own:  # a detector's ViT has neither of these tokens
        got, expected = (f"{count or 'no'} register tokens" for count in (theirs.num_registers, ours))
        return f"got {got}, expected {expected}, as the model has"
    table = "pos_embed"
    if theirs.name and (table in fit.found) != (table in fit.own):
        kinds = {True: "a position table", False: "no position table (rotary or relative positions)"}
        return f"got {kinds[table in fit.found]}, expected {kinds[table in fit.own]}, as the model has"
    return ""


def channels_problem(count: int | None) -> str:
    """Explains that nothing names the `count` channels of patch filters; empty for three or one."""
    if count in (None, 1, CHANNELS):
        return ""
    return (
        f"its patch filters take images of {count} channels that the file does not name, expected {CHANNELS}, one, or "
        "names; keep the channels of red, green and blue: weight[:, [R, G, B]], the numbers of their places, put it in "
        "the place of patch_embed.proj.weight and save the file again; or fine-tune on data of as many bands"
    )


def problems(
    model: nn.Module,
    state: StateFile,
    fit: Fit,
    *,
    allow_new: Sequence[str],
    allow_unused: Sequence[str],
    fresh: Sequence[str] = (),
) -> Iterator[str]:
    """Yields one sentence for each reason not to load the file.

    `fresh`: patterns of what should not be taken from the file, although it may have it.
    """
    if missing := [name for name in fit.new if not matches(name, allow_new)]:
        yield f"{len(missing)} of the model's tensors are not in it: {some(missing)}{_nearest(missing, fit)}"
    head = [name for name in fit.shared if name.startswith("head.")]
    names = [(name, fit.in_file[name]) for name in fit.unused]
    unplaced = [(n, old) for n, old in names if not matches(n, allow_unused) and not matches(old, allow_unused)]
    renewable = matches("head.weight", allow_new) and not fresh
    if left := [old for _, old in unplaced]:
        of_head = renewable and all(new.startswith("head.") for new, _ in unplaced) and not head
        mend = f" (its head is of another task: leave it out with {ANEW})" if of_head else ""
        yield f"{len(left)} of its tensors have no place in the model: {some(left)}{mend}"
    fresh_head = [n for n in fit.new if n.startswith("head.") and n not in missing and not matches(n, fresh)]
    if fresh_head and head:
        yield f"its head fits only in part, {some(fresh_head)} would be new"
    yield from _shapes(fit)
    if broken := [fit.in_file[name] for name in fit.shared if not is_finite(fit.found[name])]:
        yield f"NaN or infinite values in {some(broken)}: take another copy or an earlier checkpoint"
    attempt = Attempt(model, fit, state.meta, state.decoder_heads, missing, renewable)
    for family in families():
        yield from family.problems(attempt)


def _nearest(missing: Sequence[str], fit: Fit) -> str:
    unused = [fit.in_file[name] for name in fit.unused]
    close = {name: difflib.get_close_matches(name, unused, n=1) for name in missing[:3]}
    pairs = [f"{found[0]} for {name}" for name, found in close.items() if found]
    return f" (nearest there: {', '.join(pairs)})" if pairs else ""


def _shapes(fit: Fit) -> Iterator[str]:
    wrong = [name for name in fit.shared if not _fits(fit.own[name], fit.found[name])]
    for head in class_heads():
        theirs, ours = fit.found.get(head.weight), fit.own.get(head.weight)
        if head.weight not in wrong or theirs is None or ours is None or theirs.shape[1:] != ours.shape[1:]:
            continue
        beside = next(rows.beside for start, rows in head.rows.items() if head.weight.startswith(start))
        if min(len(theirs), len(ours)) > beside:
            wrong = [name for name in wrong if not name.startswith(tuple(head.rows))]
            yield (
                f"got {len(theirs) - beside} classes in its {head.words}, expected {len(ours) - beside}: evaluate on "
                f"the data it was trained on, or fine-tune with {ANEW}"
            )
    for name in wrong[:3]:
        yield f"{fit.in_file[name]}: got {_describe(fit.found[name])}, expected {_describe(fit.own[name])}"
    if len(wrong) > 3:
        yield f"{len(wrong) - 3} more of another shape"


def _fits(own: Tensor, found: Tensor) -> bool:
    same_kind = found.dtype in FLOATS if own.is_floating_point() else found.dtype == own.dtype
    return same_kind and found.shape == own.shape and found.layout == torch.strided


def _describe(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} {list(tensor.shape)}"
