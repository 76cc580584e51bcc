"""Patch filters of a file's bands become those of the model's bands: by name, else as `--model.new_bands` says."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from maekit.errors import UserError
from maekit.weights.families.fit import ANEW, Fit
from maekit.weights.families.registry import families
from maekit.weights.read.bands import RGB, Filters, file_bands

NewBands = Literal["mean", "repeat", "fresh"]
FILTERS, BIAS = "patch_embed.proj.weight", "patch_embed.proj.bias"
FRESH = "fresh, not from the file"


@dataclass(frozen=True)
class Bands:
    """The channels that a model is given.

    Attributes:
        names: one a channel, in the order the model is given.
        mean: of each channel, in 0..1, by which images are normalised; empty: not known.
        std: of each channel, likewise.
        new: the filters of bands that the file lacks: the `mean` of the file's; `repeat`, the file's in turn, each
            divided by how often it is used, so that the sum over channels stays; `fresh`, as the model was built.
        evaluated: whether the weights are measured as they are, so that filters of other bands are refused.
    """

    names: tuple[str, ...] = RGB
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    new: NewBands = "mean"
    evaluated: bool = False


def at_bands(path: Path, fit: Fit, meta: Mapping[str, object], ours: Bands) -> tuple[Fit, list[str]]:
    """Puts filters of the model's bands in the place of the file's, and says what was done, one line a kind.

    Nothing changes, and no line is said, where the file has the model's bands in the model's order.

    Raises:
        UserError: the file has as many channels of other names, or more or fewer channels than three without a name.
    """
    filters, own = fit.found.get(FILTERS), fit.own.get(FILTERS)
    if filters is None or own is None or filters.ndim != 4 or filters.shape[2:] != own.shape[2:]:
        return fit, []
    try:
        theirs = file_bands(meta, filters.shape[1], ours.names)
        _require_some_name(theirs, ours)
        _require_exact(theirs, ours)
        return _adapted(fit, filters, own, theirs, ours)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None


def _adapted(fit: Fit, filters: Tensor, own: Tensor, theirs: Filters, ours: Bands) -> tuple[Fit, list[str]]:
    note = [theirs.note] if theirs.note else []
    if theirs.names == ours.names:
        return fit, note
    filters = filters.to(torch.promote_types(filters.dtype, torch.float32))  # sums of a file in half precision
    found = {**fit.found, FILTERS: filters}
    if len(ours.names) == 1 and ours.names[0] not in theirs.names and ours.new != "fresh":
        found |= _grey(found, theirs, ours)
        lines = [f"{ours.names[0]}: the sum of the filters of {', '.join(theirs.names)}, at their mean and std"]
    elif len(theirs.names) == 1 and not set(ours.names) & set(theirs.names) and ours.new != "fresh":
        count = len(ours.names)
        found[FILTERS] = filters.repeat(1, count, 1, 1) / count
        lines = [f"{', '.join(ours.names)}: the filter of {theirs.names[0]}, the file's one band, divided by {count}"]
    else:
        found[FILTERS], lines = _by_name(filters, own, theirs.names, ours)
    found |= _predictions(fit, theirs.names, ours.names)
    return replace(fit, found=found), note + lines


def not_trained(lines: Sequence[str]) -> str:
    """Returns the line that says that adapted filters stay as they are, since they are frozen.

    Args:
        lines: what `at_bands` said.

    Raises:
        UserError: some are fresh, and would stay random.
    """
    if any(line.endswith(FRESH) for line in lines):
        raise UserError(
            "got model.new_bands fresh where patch filters are not trained, expected mean or repeat: they would stay "
            "random; set --model.new_bands mean, or train the whole backbone"
        )
    return "the patch filters are not trained, and stay as they were adapted"


def _require_some_name(theirs: Filters, ours: Bands) -> None:
    """Refuses a file that names as many bands as the model has, but others: then one of the two lists is wrong."""
    others = [name for name in ours.names if name not in theirs.names]
    if theirs.recorded and len(theirs.names) == len(ours.names) and others:
        lacking = [name for name in theirs.names if name not in ours.names]
        raise UserError(
            f"got weights of {len(theirs.names)} bands {', '.join(theirs.names)}, expected those of the data, "
            f"{', '.join(ours.names)}: {', '.join(others[:3])} is not in the file, {', '.join(lacking[:3])} not in "
            "the data; name the data's bands as the file does, or take other weights"
        )


def _require_exact(theirs: Filters, ours: Bands) -> None:
    """Refuses to measure weights on bands that they were not trained on; grey for all of the file's is no loss."""
    single = (
        ours.new != "fresh" and 1 in (len(theirs.names), len(ours.names)) and not set(theirs.names) & set(ours.names)
    )
    if ours.evaluated and not single and set(theirs.names) != set(ours.names):
        raise UserError(
            f"got weights of the bands {', '.join(theirs.names)}, expected those of the data, {', '.join(ours.names)}, "
            "to measure them; evaluate on data of the file's bands, or fine-tune first"
        )


def _grey(found: Mapping[str, Tensor], theirs: Filters, ours: Bands) -> dict[str, Tensor]:
    """One filter that gives of a grey picture what the file's give of it repeated, normalised as the file was trained.

    With z = (x - m) / s of the data and (x - m_c) / s_c of the file: filter = sum W_c s / s_c, and the bias gains
    sum(W_c) (m - m_c) / s_c. Exact, since patches have no padding.
    """
    filters = found[FILTERS].double()
    mean, std = (torch.tensor(values, dtype=torch.float64) for values in (theirs.mean, theirs.std))
    if not len(mean) or not ours.mean:
        return {FILTERS: filters.sum(1, keepdim=True).to(found[FILTERS].dtype)}
    scaled = filters / std.view(1, -1, 1, 1)
    offset = (scaled.sum((2, 3)) * (ours.mean[0] - mean)).sum(1)
    result = {FILTERS: (scaled.sum(1, keepdim=True) * ours.std[0]).to(found[FILTERS].dtype)}
    if BIAS in found:
        result[BIAS] = (found[BIAS].double() + offset).to(found[FILTERS].dtype)
    return result


def _by_name(filters: Tensor, own: Tensor, theirs: Sequence[str], ours: Bands) -> tuple[Tensor, list[str]]:
    """The filters [D, C, p, p] of our bands, and one line a kind of what they are."""
    uses = _uses(theirs, ours)
    times = [sum(place in each for each in uses) for place in range(len(theirs))]
    columns, named = [], [name for name in ours.names if name in theirs]
    for channel, (name, places) in enumerate(zip(ours.names, uses, strict=True)):
        if ours.new == "repeat":
            columns.append(sum((filters[:, place] / times[place] for place in places), torch.zeros_like(filters[:, 0])))
        elif name in theirs:
            columns.append(filters[:, theirs.index(name)])
        else:
            fresh = own[:, channel].to(filters.dtype)
            columns.append(fresh if ours.new == "fresh" else filters.mean(1))
    new = [name for name in ours.names if name not in theirs]
    left = [name for name in theirs if name not in ours.names]
    what = {
        "mean": f"the mean of the file's {len(theirs)} filters",
        "repeat": "the file's filters in turn; the sum over channels is the file's",
        "fresh": FRESH,
    }
    divided = ours.new == "repeat" and any(count > 1 for count in times)
    lines = [f"{', '.join(named)}: by name" + (", each divided by how often it is used" if divided else "")]
    lines = (lines if named else []) + ([f"{', '.join(new)}: {what[ours.new]}"] if new else [])
    unused = left and not (new and ours.new != "fresh")
    return torch.stack(columns, 1), lines + ([f"{', '.join(left)}: in the file, not used"] if unused else [])


def _uses(theirs: Sequence[str], ours: Bands) -> list[list[int]]:
    """Of each of our bands the places of the file's filters that `repeat` adds up: all are used where a band is new."""
    uses = [[theirs.index(name)] if name in theirs else [] for name in ours.names]
    new = [channel for channel, places in enumerate(uses) if not places]
    left = [place for place, name in enumerate(theirs) if name not in ours.names]
    for number, place in enumerate(left if new else []):
        uses[new[number % len(new)]].append(place)
    for number, channel in enumerate(each for each in new if not uses[each]):
        uses[channel].append((len(left) + number) % len(theirs))
    return uses


def _predictions(fit: Fit, theirs: Sequence[str], ours: Sequence[str]) -> dict[str, Tensor]:
    """A decoder's rows (pixels row by row, channels fastest) of our bands, where the file predicts all of them."""
    shared = [name for name in fit.found if name in fit.own]
    names = [name for name in shared if name.startswith(tuple(start for f in families() for start in f.pixels))]
    components = [
        name for name in shared if name.startswith(tuple(start for f in families() for start in f.of_patches))
    ]
    if not names:
        return {}
    if components or not set(ours) <= set(theirs):
        raise UserError(
            f"got a decoder that predicts {', '.join(theirs)}, expected one of {', '.join(ours)}; start with a fresh "
            f"decoder: {ANEW}"
        )
    places = [theirs.index(name) for name in ours]
    found = {}
    for name in names:
        tensor = fit.found[name]
        rows = tensor.reshape(-1, len(theirs), *tensor.shape[1:])[:, places]
        found[name] = rows.reshape(-1, *tensor.shape[1:])
    return found
