"""What a study found: its cells ranked, what they cost, and whether halving found what the whole grid finds.

Standard library only.
"""

import json
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypedDict

from maekit.errors import UserError
from maekit.study.define.space import Cell
from maekit.study.saved import SavedTrial, Study
from maekit.system.folds import fold_means
from maekit.system.plain import finite_number


@dataclass(frozen=True)
class CellResult:
    """One cell over its seeds, or over its folds.

    Attributes:
        values: the cell's keys and values.
        by_seed: seed -> final metric, of the runs that trained to the end; with folds the mean over a seed's folds.
        mean: over those seeds, or with folds over these; None without any.
        std: their standard deviation, with n - 1; None for fewer than two.
        standard_error: std / sqrt(n).
        num_finished: runs that trained to the end.
        num_failed: runs that failed.
        num_pruned: runs that were stopped before the end.
        last_step: the furthest optimizer step of the cell's runs.
        last_mean: mean over the runs of the metric where pruned ones were stopped; None if any run finished.
        reasons: why runs failed or were stopped, without repeats.
        by_fold: fold, as `2/5`, -> mean over its seeds, of the runs that trained to the end; empty without folds.
    """

    values: Cell
    by_seed: dict[int, float]
    mean: float | None
    std: float | None
    standard_error: float | None
    num_finished: int
    num_failed: int
    num_pruned: int
    last_step: int
    last_mean: float | None
    reasons: tuple[str, ...]
    by_fold: dict[str, float] = field(default_factory=dict)

    @property
    def points(self) -> tuple[float, ...]:
        """What the mean is of: the values of the folds, or of the seeds without folds."""
        return tuple((self.by_fold or self.by_seed).values())

    def number(self, key: str) -> float:
        """The cell's value of a numeric key."""
        value = finite_number(self.values[key])
        if value is None:
            raise TypeError(f"{key}: got {self.values[key]!r}, expected a number")
        return float(value)


class Agreement(TypedDict):
    """Whether halving found the whole grid's best cell.

    Attributes:
        halving_best: the cell that halving found.
        full_best: the best cell of the whole grid.
        same_cell: whether they are the same.
        difference: of the two cells' means in the whole grid, 0 or more.
        standard_error: of the best cell's mean there; None with one seed.
        within_one_standard_error: whether the difference is at most that.
        agrees: the same cell, or within one standard error.
        halving_steps: optimizer steps that halving took.
        full_steps: optimizer steps of the whole grid.
        share: their ratio.
    """

    halving_best: Cell
    full_best: Cell
    same_cell: bool
    difference: float
    standard_error: float | None
    within_one_standard_error: bool
    agrees: bool
    halving_steps: int
    full_steps: int
    share: float


def cell_results(study: Study) -> list[CellResult]:
    """The study's cells, the best first; only runs that trained to the end count.

    Order: cells whose runs all finished, by their mean; then cells with some of them, since a cell that fails now and
    then is not the best, and folds differ; then pruned cells, the furthest first; then the rest.
    """
    cells = {_key(cell): cell for cell in study.definition.cells()}
    trials: dict[str, list[SavedTrial]] = {key: [] for key in cells}
    for trial in study.trials:
        key = _key(trial["values"])
        cells.setdefault(key, trial["values"])
        trials.setdefault(key, []).append(trial)
    sign = -1.0 if study.definition.mode == "max" else 1.0
    num_repeats = len(study.definition.repeats)

    def order(result: CellResult) -> tuple[float, ...]:
        if result.mean is not None:
            return (0 if result.num_finished >= num_repeats else 1, 0, sign * result.mean)
        if result.last_mean is not None:
            return (2, -result.last_step, sign * result.last_mean)
        return (3, 0, 0)

    return sorted((_result(study, cells[key], trials[key]) for key in cells), key=order)


def is_full_length(study: Study, trial: SavedTrial) -> bool:
    """Whether a trial's run trained to the end; with halving only the last rung does."""
    if trial["state"] != "complete" or finite_number(trial["value"]) is None:
        return False
    return study.halving is None or trial["rung"] is None or (trial["end_step"] or 0) >= max(study.halving["rungs"])


def spent_steps(study: Study) -> int:
    """Optimizer steps of all trials together, failed and pruned ones too."""
    return sum(trial["steps"] or 0 for trial in study.trials)


def full_grid_steps(study: Study) -> int:
    """Optimizer steps of every cell, seed and fold, each run to its end."""
    return study.definition.full_steps()


def halving_agreement(halving: Study, full: Study) -> Agreement:
    """Compares a study with successive halving with the same study without.

    Raises:
        UserError: the two vary or fix different things, or one has no finished cell.
    """
    _check_comparable(halving, full)
    chosen, best = _best(halving), _best(full)
    means = {_key(result.values): result.mean for result in cell_results(full)}
    mean = means.get(_key(chosen.values))
    if mean is None or best.mean is None:
        raise UserError(f"{full.folder} has no finished run of halving's best cell {chosen.values}; let it end first")
    difference = abs(best.mean - mean)
    same = _key(chosen.values) == _key(best.values)
    within = best.standard_error is not None and difference <= best.standard_error
    return {
        "halving_best": chosen.values,
        "full_best": best.values,
        "same_cell": same,
        "difference": difference,
        "standard_error": best.standard_error,
        "within_one_standard_error": within,
        "agrees": same or within,
        "halving_steps": spent_steps(halving),
        "full_steps": full_grid_steps(full),
        "share": spent_steps(halving) / full_grid_steps(full),
    }


def _result(study: Study, cell: Cell, trials: Sequence[SavedTrial]) -> CellResult:
    by_run = {_repeat(trial): trial["value"] for trial in trials if is_full_length(study, trial)}
    finished = {repeat: float(value) for repeat, value in sorted(by_run.items()) if value is not None}
    by_seed = {
        seed: statistics.fmean(value for (own, _), value in finished.items() if own == seed) for seed, _ in finished
    }
    by_fold = fold_means((fold, value) for (_, fold), value in finished.items() if fold)
    values = list((by_fold or by_seed).values())
    std = statistics.stdev(values) if len(values) > 1 else None
    stopped = [trial for trial in trials if trial["state"] == "pruned" and trial["reason"] != "duplicate"]
    last = _last_values(trials) if stopped and not values else []
    reasons = [trial["reason"] for trial in trials if trial["state"] == "failed" or trial in stopped]
    return CellResult(
        values=cell,
        by_seed=by_seed,
        mean=statistics.fmean(values) if values else None,
        std=std,
        standard_error=std / math.sqrt(len(values)) if std is not None else None,
        num_finished=len(finished),
        num_failed=len({_repeat(trial) for trial in trials if trial["state"] == "failed"} - {*finished}),
        num_pruned=len({_repeat(trial) for trial in stopped}),
        last_step=max((trial["end_step"] or 0 for trial in trials), default=0),
        last_mean=statistics.fmean(last) if last else None,
        reasons=tuple(dict.fromkeys(reason for reason in reasons if reason)),
        by_fold=by_fold,
    )


def _repeat(trial: SavedTrial) -> tuple[int, str]:
    """The seed and the fold of a trial; the fold is empty without folds."""
    return trial["seed"], trial.get("fold") or ""


def _last_values(trials: Sequence[SavedTrial]) -> list[float]:
    """For each seed and fold, the metric of its trial that trained furthest."""
    last: dict[tuple[int, str], float] = {}
    for trial in sorted(trials, key=lambda trial: trial["end_step"] or 0):
        if (value := finite_number(trial["value"])) is not None:
            last[_repeat(trial)] = float(value)
    return list(last.values())


def _best(study: Study) -> CellResult:
    best = next(iter(cell_results(study)), None)
    if best is None or best.mean is None:
        raise UserError(f"{study.folder} has no finished cell yet; let the study end first")
    return best


def _check_comparable(halving: Study, full: Study) -> None:
    if halving.halving is None or full.halving is not None:
        raise UserError("expected a study with --pruner halving against one without; see `pruning` in their study.json")
    lines = full.definition.differences(halving.definition)
    other = [line for line in lines if line.partition(":")[0] not in ("pruner", "reduction", "trials")]
    if other:
        raise UserError(f"{halving.folder} and {full.folder} differ in more than pruning: {other[0]}")


def _key(cell: Cell) -> str:
    return json.dumps(cell, sort_keys=True)
