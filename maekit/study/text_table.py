"""A study's ranking as text for the terminal, with what it cost and what failed. Standard library only."""

from maekit.study.define.definition import Definition
from maekit.study.define.labels import value_label
from maekit.study.define.space import short_keys
from maekit.study.results import CellResult, cell_results, full_grid_steps, spent_steps
from maekit.study.saved import Study
from maekit.system.folds import missing_folds
from maekit.system.numbers import duration


def text_table(study: Study) -> list[str]:
    """The lines: a header, a row for each cell, the number of trials by state, and the cost."""
    definition, results = study.definition, cell_results(study)
    keys = [axis.key for axis in definition.space]
    names = short_keys(keys)
    header = [
        "rank",
        *(names[key] for key in keys),
        definition.metric.removeprefix("val/"),
        "std",
        "std error",
        *(["folds"] if definition.folds else []),
        "n",
        "",
    ]
    rows = [header]
    for rank, result in enumerate(results, 1):
        numbers = [_number(result.mean), _number(result.std), _number(result.standard_error)]
        numbers += [f"{len(result.by_fold)} of {definition.folds}"] if definition.folds else []
        values = [value_label(definition.space, key, result.values[key]) for key in keys]
        shown_rank = str(rank) if result.mean is not None else ""
        rows.append([shown_rank, *values, *numbers, str(result.num_finished), _remark(result, definition)])
    widths = [max(len(row[i]) for row in rows) for i in range(len(header))]
    lines = ["  ".join(f"{c:>{w}}" for c, w in zip(row[:-1], widths, strict=False)) + f"  {row[-1]}" for row in rows]
    return [*(line.rstrip() for line in lines), *_summary(study)]


def _remark(result: CellResult, definition: Definition) -> str:
    remarks = list(result.reasons)
    missing = missing_folds(result.by_fold, definition.folds) if definition.folds and result.by_fold else []
    if missing:
        remarks.append(f"without fold {', '.join(missing)}")
    if result.mean is None and result.last_mean is not None:
        remarks.append(f"{_number(result.last_mean)} there")
    waiting = len(definition.repeats) - result.num_finished - result.num_failed - result.num_pruned
    if waiting > 0:
        remarks.append(f"{waiting} to go")
    return "; ".join(remarks)


def _summary(study: Study) -> list[str]:
    spent, full = spent_steps(study), full_grid_steps(study)
    seconds = sum(trial.get("seconds") or 0 for trial in study.trials)
    states = [trial["state"] for trial in study.trials]
    counts = ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))
    share = f"{100 * spent / full:.0f} % of the {full:,} of every {study.definition.one_run}"
    return [
        f"{len(study.trials)} trials ({counts})" if states else "no trial yet",
        f"{spent:,} steps, {share}, in {duration(seconds)} of runs",
    ]


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}" if abs(value) >= 0.1 or value == 0 else f"{value:.3g}"
