"""The charts of a study: the metric over a key, a heat map of two keys, the cells' curves."""

import statistics
from collections.abc import Callable, Sequence

from maekit.report.document import HeatMap, LineChart, Series
from maekit.runs.read import Run
from maekit.study.define.labels import value_label
from maekit.study.define.space import Cell, Choice, Interval, short_keys
from maekit.study.results import CellResult
from maekit.study.saved import SavedTrial, Study
from maekit.system.plain import JSON, is_number

_MOST_LINES = 8
_SPREAD = 10.0  # of a key's values, from which on they are drawn over their logarithm


def key_charts(study: Study, results: Sequence[CellResult]) -> list[LineChart]:
    """The metric over the study's leading key, a curve for each combination of the others; of a drawn study, dots."""
    known = [result for result in results if result.mean is not None]
    keys = [axis.key for axis in study.definition.space if _is_numeric(axis)]
    if study.definition.sampler != "grid":
        return [_scatter(study, known, key) for key in keys]
    first = leading_key(keys)
    return [_curve(study, known, first)] if first is not None else []


def leading_key(keys: Sequence[str]) -> str | None:
    """The key that goes along x: the layer decay where it is varied, else the first."""
    return next((key for key in keys if key.endswith(".layer_decay")), keys[0] if keys else None)


def heat_map(study: Study, results: Sequence[CellResult]) -> HeatMap | None:
    """Two keys of a grid against each other; None where fewer than two have several values."""
    axes = [axis for axis in study.definition.space if isinstance(axis, Choice) and len(axis.values) > 1]
    if study.definition.sampler != "grid" or len(axes) < 2:
        return None
    across = next(axis for axis in axes if axis.key == leading_key([axis.key for axis in axes]))
    others = [axis for axis in axes if axis is not across]
    down = next((axis for axis in others if axis.key.rpartition(".")[2] in ("base_lr", "lr")), others[0])
    names = short_keys(axis.key for axis in study.definition.space)
    best: Callable[[list[float]], float] = max if study.definition.mode == "max" else min
    columns, rows = _ordered(across.values), _ordered(down.values)
    cells = []
    for y in rows:
        found = [
            [r.mean for r in results if r.mean is not None and r.values[across.key] == x and r.values[down.key] == y]
            for x in columns
        ]
        cells.append(tuple(best(values) if values else None for values in found))
    if all(value is None for row in cells for value in row):
        return None
    rest = [names[axis.key] for axis in others if axis is not down]
    of = f"; the best over {' and '.join(rest)}" if rest else ""
    metric = metric_name(study)
    return HeatMap(
        "heat_map",
        f"{metric} by {names[across.key]} and {names[down.key]}",
        names[across.key],
        names[down.key],
        tuple(value_label(study.definition.space, across.key, value) for value in columns),
        tuple(value_label(study.definition.space, down.key, value) for value in rows),
        tuple(cells),
        caption=f"{metric}, mean over the {study.definition.repeated_over}{of}. An empty cell has no finished run.",
    )


def rung_chart(study: Study) -> LineChart | None:
    """The metric over the only key of a halving study at each of its rungs; None for other studies."""
    keys = [axis.key for axis in study.definition.space if _is_numeric(axis)]
    if study.halving is None or len(keys) != 1 or len(study.definition.space) != 1:
        return None
    at_rung: dict[int, dict[float, list[float]]] = {}
    for trial in study.trials:
        x = trial["values"][keys[0]]
        if trial["value"] is not None and trial["rung"] is not None and is_number(x):
            at_rung.setdefault(trial["end_step"] or 0, {}).setdefault(float(x), []).append(trial["value"])
    series = tuple(
        Series(f"step {step:,}", tuple((x, statistics.fmean(values)) for x, values in sorted(found.items())))
        for step, found in sorted(at_rung.items())
    )
    short, metric = short_keys(keys)[keys[0]], metric_name(study)
    title, over = f"{metric} by {short}, at each rung", study.definition.repeated_over
    words = f"Mean over the {over}; a line has the cells that came so far."
    return LineChart("rungs_by_key", title, short, metric, series, caption=words) if series else None


def cell_curves(study: Study, results: Sequence[CellResult]) -> LineChart | None:
    """The metric of the best cells over the steps, mean over their seeds and folds; None where nothing is recorded."""
    series = [Series(cell_label(study, one.values), _mean_curve(study, one.values)) for one in results[:_MOST_LINES]]
    series = [one for one in series if one.points]
    if not series:
        return None
    metric = metric_name(study)
    more = len(results) - _MOST_LINES
    best = f"; the {_MOST_LINES} best cells" if more > 0 else ""
    caption = f"The mean over the {study.definition.repeated_over} that have come so far{best}."
    return LineChart("cells", f"{metric} as the runs went", "step", metric, tuple(series), caption=caption)


def cell_label(study: Study, cell: Cell, without: str | None = None) -> str:
    """A cell in words, `layer_decay=0.65, lr=1e-4`, one of its keys left out if asked; of no key the recipe."""
    names = short_keys(axis.key for axis in study.definition.space)
    labels = {key: value_label(study.definition.space, key, value) for key, value in cell.items() if key != without}
    words = ", ".join(f"{names.get(key, key)}={label}" for key, label in labels.items())
    return words if cell else study.definition.recipe


def metric_name(study: Study) -> str:
    """The metric without its split."""
    return study.definition.metric.removeprefix("val/")


def _curve(study: Study, known: Sequence[CellResult], key: str) -> LineChart:
    lines: dict[str, list[CellResult]] = {}
    for result in known:
        lines.setdefault(cell_label(study, result.values, without=key), []).append(result)
    kept = dict(list(lines.items())[:_MOST_LINES])  # results come best first, so these hold the best cells
    metric = metric_name(study)
    caption = (
        f"Mean over the {study.definition.repeated_over} of {metric} after the last step; the band is one standard "
        f"deviation, dots are {'folds' if study.definition.folds else 'seeds'}."
    )
    if len(kept) < len(lines):
        caption += f" The {len(kept)} lines with the best cells, of {len(lines)}."
    series = tuple(_line(label or metric, members, key) for label, members in kept.items())
    return _over_key(study, known, key, series, caption)


def _line(label: str, members: Sequence[CellResult], key: str) -> Series:
    ordered = sorted(members, key=lambda result: result.number(key))
    return Series(
        label,
        tuple((one.number(key), one.mean) for one in ordered if one.mean is not None),
        band=tuple(
            (one.number(key), one.mean - one.std, one.mean + one.std)
            for one in ordered
            if one.mean is not None and one.std is not None
        ),
        dots=tuple((one.number(key), value) for one in ordered for value in one.points),
    )


def _scatter(study: Study, known: Sequence[CellResult], key: str) -> LineChart:
    dots = tuple(sorted((one.number(key), value) for one in known for value in one.points))
    series = (Series("runs", (), dots=dots),) if dots else ()
    return _over_key(study, known, key, series, "Each dot is one run; the other keys differ as well.")


def _over_key(
    study: Study, known: Sequence[CellResult], key: str, series: tuple[Series, ...], caption: str
) -> LineChart:
    short = short_keys(axis.key for axis in study.definition.space)[key]
    values = [one.number(key) for one in known]
    log = bool(values) and min(values) > 0 and max(values) / min(values) >= _SPREAD
    metric = metric_name(study)
    return LineChart(f"by_{short}", f"{metric} by {short}", short, metric, series, log_x=log, caption=caption)


def _mean_curve(study: Study, cell: Cell) -> tuple[tuple[float, float], ...]:
    """Mean over seeds and folds at each step, as study.json has it, else as the runs' own tables have it."""
    by_run: dict[tuple[int, str | None], dict[float, float]] = {}
    for trial in study.trials:
        if trial["values"] == cell:
            by_run.setdefault((trial["seed"], trial.get("fold")), {}).update(_steps(study, trial))
    steps = sorted({step for points in by_run.values() for step in points})
    means = {step: [points[step] for points in by_run.values() if step in points] for step in steps}
    return tuple((step, statistics.fmean(values)) for step, values in means.items())


def _steps(study: Study, trial: SavedTrial) -> dict[float, float]:
    recorded = trial.get("intermediate") or {}
    if recorded:
        return {float(step): float(value) for step, value in recorded.items() if value is not None}
    folder = trial.get("folder")
    if not folder:
        return {}
    metric = metric_name(study)
    rows = Run(study.folder / folder).rows("val")
    return {row["step"]: row[metric] for row in rows if metric in row}


def _is_numeric(axis: Choice | Interval) -> bool:
    if isinstance(axis, Interval):
        return True
    return len(axis.values) > 1 and all(isinstance(v, int | float) and not isinstance(v, bool) for v in axis.values)


def _ordered(values: Sequence[JSON]) -> list[JSON]:
    """Numbers by their size, names as they were given."""
    numbers = [value for value in values if isinstance(value, int | float)]
    return [*sorted(numbers)] if len(numbers) == len(values) else list(values)
