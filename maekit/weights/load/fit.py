"""How a file's tensors fit a model's, and what to say when they do not."""

import difflib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

import torch
from torch import Tensor

from maekit.errors import UserError
from maekit.weights.load.class_order import ANEW
from maekit.weights.read.names import is_probe
from maekit.weights.read.shape import measure
from maekit.weights.read.shorten import some
from maekit.weights.state.foreign import seems

_DETECTOR = "head.detector.roi_heads."
# Of each kind of head: the tensor with a row a class, rows beside them (the background's), what else has numbers for
# each class, and what the head is called.
_CLASSES = (
    ("head.fc.weight", 0, ("head.fc.",), "head"),
    ("head.decode.conv_seg.weight", 0, ("head.decode.conv_seg.", "head.auxiliary.conv_seg."), "segmentation head"),
    (
        f"{_DETECTOR}box_predictor.cls_score.weight",
        1,
        (f"{_DETECTOR}box_predictor.", f"{_DETECTOR}mask_head.predictor."),
        "detector",
    ),
)
CHANNELS = 3
OVERLAYS = ("base", "large", "huge", "smoke")  # the sizes that recipes come in
_FLOATS = (torch.float32, torch.float64, torch.float16, torch.bfloat16)


@dataclass(frozen=True)
class Fit:
    """A file's tensors beside a model's, both by the model's names without `backbone.`.

    Attributes:
        own: the model's tensors.
        found: the file's.
        in_file: the released name of each of them, or the file's own.
    """

    own: Mapping[str, Tensor]
    found: Mapping[str, Tensor]
    in_file: Mapping[str, str]

    @property
    def shared(self) -> list[str]:
        """Names in both."""
        return [name for name in self.own if name in self.found]

    @property
    def new(self) -> list[str]:
        """Names in the model only."""
        return [name for name in self.own if name not in self.found]

    @property
    def unused(self) -> list[str]:
        """Names in the file only."""
        return [name for name in self.found if name not in self.own]


def matches(name: str, patterns: Sequence[str]) -> bool:
    """Whether one of the fnmatch patterns fits."""
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def check_size(path: Path, fit: Fit) -> None:
    """Refuses a file that holds no such ViT at all, or one of another width, depth or patch size."""
    key, names = "patch_embed.proj.weight", list(fit.in_file.values())
    if key not in fit.found and not any(name.startswith("blocks.") for name in fit.found):
        prefix = next((name.removesuffix(key) for name in names if name.endswith(f".{key}")), "")
        hint = f"; its names start with '{prefix}': name it {path}#{prefix[:-1]}" if prefix else ""
        raise UserError(
            f"{path} has none of the backbone's tensors: got {some(names, 4)}, expected {key}, blocks.0.norm1.weight "
            f"and so on{hint}{seems(names)}"
        )
    filters = fit.found.get(key)
    if filters is not None and filters.ndim == 4 and (other := channels_problem(filters.shape[1])):
        raise UserError(f"{path}: {other}{seems(names)}")
    theirs, ours = measure(fit.found), measure(fit.own)
    if any(got not in (None, expected) for got, expected in zip(theirs, ours, strict=True)):
        raise UserError(
            f"{path} holds {theirs}, expected {ours}; {size_flags(theirs.name)}name weights of the model's size"
            f"{seems(names)}"
        )


def channels_problem(count: int | None) -> str:
    """Says that patch filters take images of `count` channels where it is not RGB's three, and what can be done."""
    if count in (None, CHANNELS):
        return ""
    mend = "repeat its one channel: weight.repeat(1, 3, 1, 1) / 3"
    if count != 1:
        mend = "keep the channels of red, green and blue: weight[:, [R, G, B]], the numbers of their places"
    return (
        f"its patch filters take images of {count} channel{'' if count == 1 else 's'}, expected {CHANNELS}: maekit "
        f"reads images as RGB; {mend}, put it in the place of patch_embed.proj.weight and save the file again"
    )


def size_flags(name: str | None) -> str:
    """The flags that choose a size by name, as the start of a sentence; empty without a name."""
    if name is None:
        return ""
    overlay = name.split("_")[1]
    recipe = f"--recipe {overlay} or " if overlay in OVERLAYS else ""
    return f"add {recipe}--model.backbone {name}, or "


def problems(
    fit: Fit, allow_new: Sequence[str], allow_unused: Sequence[str], fresh: Sequence[str] = ()
) -> Iterator[str]:
    """Says, one by one, what keeps the file from being loaded; what is `fresh` was not to be taken from it."""
    if missing := [name for name in fit.new if not matches(name, allow_new)]:
        yield f"{len(missing)} of the model's tensors are not in it: {some(missing)}{_nearest(missing, fit)}"
    names = [(name, fit.in_file[name]) for name in fit.unused]
    unplaced = [(n, old) for n, old in names if not matches(n, allow_unused) and not matches(old, allow_unused)]
    renewable = matches("head.fc.weight", allow_new) and not fresh
    if left := [old for _, old in unplaced]:
        of_head = renewable and "head.fc.weight" not in fit.own and all(new.startswith("head.") for new, _ in unplaced)
        mend = f" (its head is of another task: leave it out with {ANEW})" if of_head else ""
        yield f"{len(left)} of its tensors have no place in the model: {some(left)}{mend}"
    fresh_head = [n for n in fit.new if n.startswith("head.") and n not in missing and not matches(n, fresh)]
    if fresh_head and any(name.startswith("head.") for name in fit.shared):
        yield f"its head fits only in part, {some(fresh_head)} would be new"
    yield from _shapes(fit)
    if broken := [fit.in_file[name] for name in fit.shared if not _finite(fit.found[name])]:
        yield f"NaN or infinite values in {some(broken)}: take another copy or an earlier checkpoint"
    yield from _poolings(fit, missing, renewable)


def _nearest(missing: Sequence[str], fit: Fit) -> str:
    unused = [fit.in_file[name] for name in fit.unused]
    close = {name: difflib.get_close_matches(name, unused, n=1) for name in missing[:3]}
    pairs = [f"{found[0]} for {name}" for name, found in close.items() if found]
    return f" (nearest there: {', '.join(pairs)})" if pairs else ""


def _shapes(fit: Fit) -> Iterator[str]:
    wrong = [name for name in fit.shared if not _fits(fit.own[name], fit.found[name])]
    for key, beside, of_classes, what in _CLASSES:
        theirs, ours = fit.found.get(key), fit.own.get(key)
        if key not in wrong or theirs is None or ours is None or theirs.shape[1:] != ours.shape[1:]:
            continue
        if min(len(theirs), len(ours)) > beside:
            wrong = [name for name in wrong if not name.startswith(of_classes)]
            yield (
                f"got {len(theirs) - beside} classes in its {what}, expected {len(ours) - beside}: evaluate on the "
                f"data it was trained on, or fine-tune with {ANEW}"
            )
    for name in wrong[:3]:
        yield f"{fit.in_file[name]}: got {_describe(fit.found[name])}, expected {_describe(fit.own[name])}"
    if len(wrong) > 3:
        yield f"{len(wrong) - 3} more of another shape"


def _fits(own: Tensor, found: Tensor) -> bool:
    same_kind = found.dtype in _FLOATS if own.is_floating_point() else found.dtype == own.dtype
    return same_kind and found.shape == own.shape and found.layout == torch.strided


def _describe(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} {list(tensor.shape)}"


def _finite(tensor: Tensor) -> bool:
    if tensor.dtype not in _FLOATS or not tensor.numel():
        return True
    return all(bool(end.isfinite()) for end in torch.aminmax(tensor))


_KINDS = {"mean": "fine-tuned with mean pooling", "class": "fine-tuned on the class token", "probe": "a linear probe"}


def _kind_of_head(names: Mapping[str, Tensor]) -> str | None:
    if "head.fc.weight" not in names:
        return None
    if is_probe(names):
        return "probe"
    return "mean" if "head.fc_norm.weight" in names else "class"


def _poolings(fit: Fit, missing: Sequence[str], renewable: bool) -> Iterator[str]:
    """Explains a classifier of another kind than the model's, and a file without one where that is asked for."""
    theirs, ours = _kind_of_head(fit.found), _kind_of_head(fit.own)
    if theirs == "mean" and ours and "norm.weight" in fit.found:
        mend = f": start a fresh head with {ANEW}" if renewable else ""
        yield f"it normalises tokens before pooling and after, which no model here does{mend}"
    elif theirs and ours and theirs != ours:
        if "probe" in (theirs, ours):
            mend = f": start a fresh head with {ANEW}" if renewable else ""
            yield f"got the head of a model that is {_KINDS[theirs]}, expected one that is {_KINDS[ours]}{mend}"
        else:
            yield f"it was {_KINDS[theirs]}: add --model.pooling {theirs}"
    if "norm.weight" in missing and "head.fc_norm.weight" in fit.in_file and not is_probe(fit.in_file):
        yield from _without_norm(fit, theirs)
    if "head.fc.weight" in missing and not any(name.startswith("head.") for name in fit.found):
        yield "it holds no classifier: fine-tune it first, or name a fine-tuned file"


def _without_norm(fit: Fit, theirs: str | None) -> Iterator[str]:
    """What to do with a file that was fine-tuned with mean pooling; `theirs` is None where its head is left out."""
    why = "it was fine-tuned with mean pooling, which leaves no final norm"
    if "head.decoder_pred.weight" in fit.own:
        yield f"{why}: start with a fresh norm and decoder, {ANEW}"
    elif is_probe(fit.own):
        yield f"{why}: add --model.pooling mean{f' and {ANEW}' if theirs else ''}"
    elif theirs is None:
        yield f"{why}: add --model.pooling mean"
