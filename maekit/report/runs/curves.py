"""Curves over a run's steps, and heat maps of layer by step, from its CSV tables."""

import math
import re
import statistics
from collections.abc import Sequence

from maekit.report.document import Block, HeatMap, LineChart, Section, Series, Text, picked
from maekit.report.runs.side_by_side import shown_metrics, watched
from maekit.runs.read import Run

Rows = Sequence[dict[str, float]]
_KNOWN = ("step", "epoch", "lr", "loss", "images_per_second")
_COCO = re.compile(r"(\w+)_(AP|AR)(\d*|[sml])")
_TITLES = {"grad_norm": "Gradient norm", "data_share": "Share of the time spent waiting for data"}
_MOST_COLUMNS = 48
_MOST_SERIES = 4
_MOST_CHARTS = 8
_LAYERS = (
    ("lr", "Learning rate of each layer", "what the schedule and the layer decay made of it"),
    ("grad_norm", "Gradient norm of each layer", "L2 over the layer's trainable parameters, before any clipping"),
    ("update_ratio", "Relative update of each layer", "|w_after - w_before| / |w_before| of one step"),
)


def curves(run: Run) -> Section:
    """Loss, metrics, learning rate and speed over the steps."""
    train, val = run.rows("train"), run.rows("val")
    charts = [
        _chart("loss", "Loss", "loss", [_series("training", train, "loss"), _series("validation", val, "loss")]),
        *_metric_charts(run, val),
        *_training_charts(train),
    ]
    drawn: list[Block] = [chart for chart in charts if chart.series]
    if not drawn:
        validated = run.status == "validated"
        reason = "A validation alone has no curves." if validated else "No row of train.csv or val.csv could be read."
        drawn = [Text((reason,))]
    return Section("Curves", tuple(drawn))


def _training_charts(train: Rows) -> list[LineChart]:
    """Learning rate, speed and what else a step has; one row alone is no curve."""
    named = [
        ("lr", "Learning rate of the head", "lr", "lr"),
        ("images_per_second", "Speed", "images/s", "images_per_second"),
        *((f"train_{name}", _TITLES.get(name, name), name, name) for name in _names(train)[:_MOST_CHARTS]),
    ]
    charts = [_chart(chart, title, unit, [_series(unit, train, column)]) for chart, title, unit, column in named]
    return [chart for chart in charts if any(len(series.points) > 1 for series in chart.series)]


def layers(run: Run) -> Section | None:
    """Heat maps of layer by step; None for a run that has none, such as a validation."""
    rows = [row for row in run.rows("layers") if {"step", "layer"} <= set(row)]
    if not rows:
        return None
    maps = [_heat_map(rows, column, title, words) for column, title, words in _LAYERS]
    return Section("Layers", tuple(one for one in maps if one is not None))


def _metric_charts(run: Run, val: Rows) -> list[LineChart]:
    """One chart for metrics of one kind and of similar magnitude, with at most four curves each."""
    monitor = watched(run)
    groups: list[list[Series]] = []
    for name in shown_metrics(_names(val), monitor[0] if monitor else None):
        series, kind = _series(name, val, name), _kind(name)
        near = [
            group
            for group in groups
            if len(group) < _MOST_SERIES
            and _kind(group[0].label) == kind
            and (kind is not None or _alike(group[0], series))
        ]
        near[0].append(series) if near else groups.append([series])
    return [
        _chart(f"val_{group[0].label}", f"Validation: {', '.join(one.label for one in group)}", _unit(group), group)
        for group in groups[:_MOST_CHARTS]
    ]


def _unit(group: list[Series]) -> str:
    return group[0].label if len(group) == 1 else "value"


def _kind(name: str) -> str | None:
    """Which of COCO's numbers belong together: AP of boxes, their AP by size, AR, AR by size; None of other metrics."""
    found = _COCO.fullmatch(name)
    if found is None:
        return None
    prefix, kind, rest = found.groups()
    return f"{prefix} {kind}{' by size' if rest in ('s', 'm', 'l') else ''}"


def _alike(first: Series, second: Series) -> bool:
    """Whether two curves can be read off one axis."""
    low, high = sorted(statistics.median([abs(y) for _, y in one.points] or [0.0]) for one in (first, second))
    return high <= 3 * low


def _names(rows: Rows) -> list[str]:
    """The columns beyond those that every table has, in their order."""
    return [name for name in dict.fromkeys(key for row in rows for key in row) if name not in _KNOWN]


def _series(label: str, rows: Rows, column: str) -> Series:
    """One column over the steps; a step that was run twice counts with its last row."""
    points = {int(row["step"]): row[column] for row in rows if column in row and "step" in row}
    return Series(label, tuple(sorted(points.items())))


def _chart(name: str, title: str, y_label: str, series: list[Series]) -> LineChart:
    return LineChart(name, title, "step", y_label, tuple(one for one in series if one.points))


def _heat_map(rows: Rows, column: str, title: str, words: str) -> HeatMap | None:
    values = {(row["layer"], row["step"]): row[column] for row in rows if column in row}
    if not values:
        return None
    every, depths = (sorted({key[at] for key in values}) for at in (1, 0))
    steps = [every[at] for at in picked(len(every), _MOST_COLUMNS)]
    cells = tuple(tuple(_positive(values.get((depth, step))) for step in steps) for depth in reversed(depths))
    names = tuple(_layer_name(int(depth), int(depths[-1])) for depth in reversed(depths))
    fewer = f"; {len(steps)} of {len(every)} recorded steps" if len(steps) < len(every) else ""
    return HeatMap(
        f"layers_{column}",
        title,
        "step",
        "layer",
        tuple(int(step) for step in steps),
        names,
        cells,
        log=True,
        caption=f"{words[0].upper()}{words[1:]}{fewer}. Empty where it is 0 or not a number.",
        annotate=len(steps) <= 12,
    )


def _layer_name(layer: int, last: int) -> str:
    """The head is trained in every run, so the last layer there is is the head's."""
    return f"{layer} (head)" if layer == last else f"{layer} (embeddings)" if layer == 0 else str(layer)


def _positive(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) and value > 0 else None
