"""A study in a few lines: the best cell and its standard error, the size of the study, the cost, what halving found."""

from collections.abc import Sequence

from maekit.report.studies.charts import cell_label, metric_name
from maekit.report.words import TOY, is_toy
from maekit.study.results import Agreement, CellResult, full_grid_steps, spent_steps
from maekit.study.saved import Study
from maekit.system.folds import missing_folds
from maekit.system.numbers import duration, number, plural


def summary(study: Study, results: Sequence[CellResult], agreement: Agreement | None) -> list[str]:
    """The lines at the top of a study's report.

    Args:
        study: the study.
        results: its cells, the best first.
        agreement: the result of `halving_agreement`; None without a full grid to compare with.
    """
    lines = [_best(study, results)]
    if is_toy(study.definition.recipe, study.definition.fixed):
        lines.append(f"This is a study {TOY}.")
    lines.append(_states(study))
    spent, full, every = spent_steps(study), full_grid_steps(study), study.definition.one_run
    share = f", {number(100 * spent / full)} % of the {full:,} of every {every}" if full else ""
    lines.append(f"It took {plural(spent, 'optimizer step')}{share}, in {duration(run_seconds(study))} of runs.")
    return [*lines, *([agreement_line(study, agreement)] if agreement else [])]


def _best(study: Study, results: Sequence[CellResult]) -> str:
    if not results or results[0].mean is None:
        return "No run has come to its end yet, so there is no best cell."
    best = results[0]
    assert best.mean is not None
    wanted = study.definition.total_cells * len(study.definition.repeats)
    ended = sum(one.num_finished + one.num_failed + one.num_pruned for one in results) >= wanted
    what = f"{cell_label(study, best.values)} with {metric_name(study)} {number(best.mean)}"
    line = f"Best{'' if ended else ' so far'}: {what}"
    repeats = "fold" if study.definition.folds else "seed"
    if best.std is None or best.standard_error is None:
        of = f"{plural(len(best.points), repeats)}{_missing(study, best)}"
        return f"{line}, of {of}: how much of that is chance, one {repeats} does not tell."
    count = f"{len(best.points)} {repeats}s{_missing(study, best)}"
    line += f" ± {number(best.std)} (mean and standard deviation of {count})."
    near = [
        cell_label(study, one.values)
        for one in results[1:]
        if one.mean is not None and abs(one.mean - best.mean) <= best.standard_error
    ]
    if not any(one.mean is not None for one in results[1:]):
        return f"{line} No other cell went to its end."
    error = f"within one standard error of it ({number(best.standard_error)})"
    return f"{line} {_listed(near)} {error}." if near else f"{line} No other cell is {error}."


def _missing(study: Study, best: CellResult) -> str:
    """The folds that a cell has no finished run of, in words; empty if it has all."""
    missing = missing_folds(best.by_fold, study.definition.folds) if study.definition.folds else []
    return f"; fold {', '.join(missing)} missing" if missing else ""


def _listed(names: Sequence[str]) -> str:
    shown = "; ".join(names[:4]) + (f"; and {len(names) - 4} more" if len(names) > 4 else "")
    return f"Not told apart from it: {shown},"


def _states(study: Study) -> str:
    states = [trial["state"] for trial in study.trials]
    counts = ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))
    cells = plural(study.definition.total_cells, "cell")
    wanted = f"{cells} x {plural(len(study.definition.seeds), 'seed')}"
    wanted += f" x {study.definition.folds} folds" if study.definition.folds else ""
    return f"{wanted}; {plural(len(states), 'trial')}{f' ({counts})' if counts else ''}."


def agreement_line(study: Study, found: Agreement) -> str:
    """Whether halving found the full grid's best cell, and for which share of its steps."""
    if found["same_cell"]:
        line = "Halving found the full grid's best cell"
    elif found["agrees"]:
        line = "Halving found a cell within one standard error of the full grid's best"
    else:
        line = "Halving did not find the full grid's best cell, nor one within one standard error of it"
    share = number(100 * found["share"])
    line += f" ({number(found['difference'])} apart, standard error {known_or_not(found['standard_error'])})"
    return f"{line}, for {share} % of its steps ({found['halving_steps']:,} of {found['full_steps']:,})."


def run_seconds(study: Study) -> float:
    """Seconds of all trials together."""
    return sum(trial.get("seconds") or 0.0 for trial in study.trials)


def known_or_not(value: float | None) -> str:
    """The number as text, or `not known` for None."""
    return "not known" if value is None else number(value)
