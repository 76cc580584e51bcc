"""How a file's tensors fit a model's, and what to say when they do not."""

import difflib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

import torch
from torch import Tensor

from maekit.errors import UserError
from maekit.weights.names import is_probe
from maekit.weights.report import some
from maekit.weights.state_file import measure, seems

# Of detectors: the scores of each class and of the background, and what else has numbers for each class.
_CLASSES = "head.detector.roi_heads.box_predictor.cls_score.weight"
_OF_CLASSES = ("head.detector.roi_heads.box_predictor.", "head.detector.roi_heads.mask_head.predictor.")
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
        hint = f"; its names start with '{prefix}': save it again without that" if prefix else ""
        raise UserError(
            f"{path} has none of the backbone's tensors: got {some(names, 4)}, expected {key}, blocks.0.norm1.weight "
            f"and so on{hint}{seems(names)}"
        )
    theirs, ours = measure(fit.found), measure(fit.own)
    if any(got not in (None, expected) for got, expected in zip(theirs, ours, strict=True)):
        name = theirs.name
        mend = f"add --recipe {name.split('_')[1]} or --model.backbone {name}, or " if name else ""
        raise UserError(f"{path} holds {theirs}, expected {ours}; {mend}name weights of the model's size{seems(names)}")


def problems(
    fit: Fit, allow_new: Sequence[str], allow_unused: Sequence[str], fresh: Sequence[str] = ()
) -> Iterator[str]:
    """Says, one by one, what keeps the file from being loaded; what is `fresh` was not to be taken from it."""
    if missing := [name for name in fit.new if not matches(name, allow_new)]:
        yield f"{len(missing)} of the model's tensors are not in it: {some(missing)}{_nearest(missing, fit)}"
    names = [(name, fit.in_file[name]) for name in fit.unused]
    if left := [old for new, old in names if not matches(new, allow_unused) and not matches(old, allow_unused)]:
        yield f"{len(left)} of its tensors have no place in the model: {some(left)}"
    fresh_head = [n for n in fit.new if n.startswith("head.") and n not in missing and not matches(n, fresh)]
    if fresh_head and any(name.startswith("head.") for name in fit.shared):
        yield f"its head fits only in part, {some(fresh_head)} would be new"
    yield from _shapes(fit)
    if broken := [fit.in_file[name] for name in fit.shared if not _finite(fit.found[name])]:
        yield f"NaN or infinite values in {some(broken)}: take another copy or an earlier checkpoint"
    yield from _poolings(fit, missing)


def _nearest(missing: Sequence[str], fit: Fit) -> str:
    unused = [fit.in_file[name] for name in fit.unused]
    close = {name: difflib.get_close_matches(name, unused, n=1) for name in missing[:3]}
    pairs = [f"{found[0]} for {name}" for name, found in close.items() if found]
    return f" (nearest there: {', '.join(pairs)})" if pairs else ""


def _shapes(fit: Fit) -> Iterator[str]:
    wrong = [name for name in fit.shared if not _fits(fit.own[name], fit.found[name])]
    if (
        _CLASSES in wrong
        and (theirs := fit.found[_CLASSES].shape)[1:] == (ours := fit.own[_CLASSES].shape)[1:]
        and min(theirs[0], ours[0]) > 1
    ):
        wrong = [name for name in wrong if not name.startswith(_OF_CLASSES)]
        yield (
            f"got {theirs[0] - 1} classes in its detector, expected {ours[0] - 1}: evaluate on the data it was "
            "trained on, or fine-tune with --model.new_head true"
        )
    if "head.fc.weight" in wrong and fit.own["head.fc.weight"].shape[1:] == fit.found["head.fc.weight"].shape[1:]:
        wrong = [name for name in wrong if name not in ("head.fc.weight", "head.fc.bias")]
        got, expected = fit.found["head.fc.weight"].shape[0], fit.own["head.fc.weight"].shape[0]
        yield (
            f"got {got} classes in its head, expected {expected}: evaluate on the data it was trained on, "
            "or fine-tune with --model.new_head true"
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


def _poolings(fit: Fit, missing: Sequence[str]) -> Iterator[str]:
    """Explains a classifier of another kind than the model's, and a file without one where that is asked for."""
    theirs, ours = _kind_of_head(fit.found), _kind_of_head(fit.own)
    if theirs and ours and theirs != ours:
        if "probe" in (theirs, ours):
            yield (
                f"got the head of a model that is {_KINDS[theirs]}, expected one that is {_KINDS[ours]}: "
                "start a fresh head with --model.new_head true"
            )
        else:
            yield f"it was {_KINDS[theirs]}: add --model.pooling {theirs}"
    if theirs == ours == "mean" and "norm.weight" in fit.unused:
        yield "it normalises tokens before pooling and after, which no model here does: start a fresh head"
    if "head.fc.weight" in missing and not any(name.startswith("head.") for name in fit.found):
        yield "it holds no classifier: fine-tune it first, or name a fine-tuned file"
