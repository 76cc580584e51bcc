"""What was counted on the robustness data sets, as a table for people and as plain values for reports."""

import math
from collections.abc import Mapping, Sequence
from typing import TypedDict

from maekit.robustness.data.read import describe_cells
from maekit.robustness.data.sets import CORRUPTED, SEVERITIES, WHOLE, alexnet_errors, cells, title
from maekit.robustness.metrics import Count, corruption_errors, summarise

WIDTH = 17


class ErrorRow(TypedDict):
    """One severity of one corruption in `robustness.json`: how many images, and the top-1 error in percent."""

    images: int
    error: float


def robustness_table(counts: Sequence[Count], num_candidates: Mapping[str, int], num_classes: int) -> list[str]:
    """Returns the lines: a row a data set, a row a corruption with its five severities, what was not evaluated.

    Args:
        counts: one a cell, in the order of `cells()`.
        num_candidates: of a data set that has classes of its own: how many.
        num_classes: of the model.
    """
    lines = []
    whole = [(name, count) for name, count in zip(WHOLE, counts, strict=False) if count.images]
    if whole:
        lines.append(f"{'top-1 %':<{WIDTH}} {'images':>9} {'top-1':>7}  chosen among; in brackets among all")
    for name, count in whole:
        top1, of_all = (100 * hits / count.images for hits in (count.hits, count.hits_of_all))
        chosen = f"{num_candidates[name]:,} ({of_all:.2f})" if name in num_candidates else f"{num_classes:,}"
        lines.append(f"{title(name):<{WIDTH}} {count.images:>9,} {top1:>7.2f}  {chosen}")
    lines += _corruptions(counts)
    lacking = describe_cells([cell for cell, count in zip(cells(), counts, strict=True) if not count.images])
    return [*lines, f"not evaluated: {', '.join(lacking)}"] if lacking else lines


def robustness_json(counts: Sequence[Count], num_candidates: Mapping[str, int], num_classes: int) -> dict[str, object]:
    """Returns all numbers by data set, corruption and severity, in percent; what was not evaluated is left out."""
    values = summarise(counts)
    result: dict[str, object] = {"num_classes": num_classes}
    corruptions: dict[str, dict[str, ErrorRow]] = {}
    for cell, count in zip(cells(), counts, strict=True):
        if not count.images:
            continue
        if cell.name == CORRUPTED:
            row = ErrorRow(images=count.images, error=count.error)
            corruptions.setdefault(cell.corruption, {})[str(cell.severity)] = row
        else:
            result[cell.name] = {
                "images": count.images,
                "top1": 100 * count.hits / count.images,
                "top1_all_classes": 100 * count.hits_of_all / count.images,
                "candidates": num_candidates.get(cell.name, num_classes),
            }
    if corruptions:
        means = ("mean_error", "mce_alexnet", "partial_mean_error")
        found = {name: values[f"c_{name}"] for name in means if f"c_{name}" in values}
        alexnet = {corruption: 100 * error for corruption, error in alexnet_errors().items()}
        result[CORRUPTED] = {**found, "errors": corruptions, "alexnet_errors": alexnet}
    return result


def _corruptions(counts: Sequence[Count]) -> list[str]:
    """Returns a row a corruption: its errors, their mean, AlexNet's mean, and the first by the second."""
    values, errors = summarise(counts), corruption_errors(counts)
    if all(math.isnan(error) for row in errors.values() for error in row):
        return []
    heads = "".join(f"{severity:>7}" for severity in SEVERITIES)
    lines = [f"{f'{title(CORRUPTED)} error %':<{WIDTH}} {heads} {'mean':>7} {'AlexNet':>8} {'CE':>7}"]
    for corruption, row in errors.items():
        mean = values.get(f"c_{corruption}_error", math.nan)
        alexnet = alexnet_errors()[corruption]
        cells_of_row = "".join(_number(error) for error in row)
        lines.append(
            f"{corruption:<{WIDTH}} {cells_of_row} {_number(mean)} {100 * alexnet:>8.2f} {_number(mean / alexnet)}"
        )
    return [*lines, *_explain(values, errors)]


def _explain(values: Mapping[str, float], errors: Mapping[str, Sequence[float]]) -> list[str]:
    """Returns lines that say which mean is which."""
    if "c_mce_alexnet" in values:
        return [
            f"c_mean_error {values['c_mean_error']:.2f}: the mean of the 15 errors, divided by nothing",
            f"c_mce_alexnet {values['c_mce_alexnet']:.2f}: mCE, the mean of the 15 CE (each error by AlexNet's)",
        ]
    there = sum(not math.isnan(error) for row in errors.values() for error in row)
    of = sum(len(row) for row in errors.values())
    return [
        f"c_partial_mean_error {values['c_partial_mean_error']:.2f}: the mean of {there} of {of} severities; not to be "
        "compared with published means, and no mCE without all of them"
    ]


def _number(value: float) -> str:
    return f"{'-' if math.isnan(value) else f'{value:.2f}':>7}"
