"""What a study found: its cells ranked, what they cost, and whether halving found what the whole grid finds.

Reads `study.json` with the standard library only, so that a report of a study starts at once.
"""

import json
import math
import statistics
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from maekit.errors import UserError
from maekit.study.define.definition import Definition
from maekit.study.define.space import Cell, short_keys, short_value

STUDY_FILE = "study.json"
_FORMAT = 1


@dataclass(frozen=True)
class Study:
    """A study as its folder tells it.

    Attributes:
        folder: the study's folder.
        definition: what it is.
        trials: one plain mapping a trial: number, values, seed, rung, state, value, steps, folder, reason and more.
        halving: `rungs` and `kept` of a study with halving, else None.
        storage: the database, without its password.
        updated: when the file was written, ISO 8601.
    """

    folder: Path
    definition: Definition
    trials: tuple[dict[str, Any], ...] = field(repr=False)
    halving: dict[str, Any] | None = None
    storage: str = ""
    updated: str = ""


@dataclass(frozen=True)
class CellResult:
    """One cell over its seeds.

    Attributes:
        values: the cell's keys and values.
        by_seed: seed -> final metric, of the runs that went to their end.
        mean: over those seeds; None without any.
        std: their standard deviation, with n - 1; None for fewer than two.
        standard_error: std / sqrt(n).
        num_finished: runs that went to their end.
        num_failed: runs that failed.
        num_pruned: runs that were stopped before their end.
        last_step: the step that the cell's runs reached, at most.
        last_mean: mean over the seeds of the metric where pruned runs were stopped; None for any other cell.
        reasons: why runs failed or were stopped, each once.
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


def read_study(folder: Path, file: str = STUDY_FILE) -> Study:
    """Reads a study's folder.

    Args:
        folder: the study's.
        file: another file in it than that of the whole study.

    Raises:
        UserError: no such file, or one that is cut off or of another version.
    """
    path = folder / file
    if not path.is_file():
        raise UserError(f"no study in {folder}: it has no {file}; give the folder that `maekit sweep` made")
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UserError(
            f"{path} is cut off or damaged ({error}); run the study's command again, which writes it anew"
        ) from error
    if not isinstance(values, dict) or values.get("format") != _FORMAT or "trials" not in values:
        raise UserError(
            f"{path} is not of this version of maekit (expected format {_FORMAT}); use the one that made it"
        )
    return Study(
        folder,
        Definition.from_json(values.get("definition", {})),
        tuple(values["trials"]),
        values.get("halving"),
        values.get("storage", ""),
        values.get("updated", ""),
    )


def cell_results(study: Study) -> list[CellResult]:
    """The study's cells, the best first.

    Only runs that went to their end count. Cells of which every seed did come first, by their mean; then those with
    some seeds, since a cell that fails now and then is not the best; then the pruned ones, the furthest first; then the
    rest.
    """
    cells = {_key(cell): cell for cell in study.definition.cells()}
    trials: dict[str, list[dict[str, Any]]] = {key: [] for key in cells}
    for trial in study.trials:
        key = _key(trial["values"])
        cells.setdefault(key, trial["values"])
        trials.setdefault(key, []).append(trial)
    sign = -1.0 if study.definition.mode == "max" else 1.0
    num_seeds = len(study.definition.seeds)

    def order(result: CellResult) -> tuple[float, ...]:
        if result.mean is not None:
            return (0 if result.num_finished >= num_seeds else 1, 0, sign * result.mean)
        if result.last_mean is not None:
            return (2, -result.last_step, sign * result.last_mean)
        return (3, 0, 0)

    return sorted((_result(study, cells[key], trials[key]) for key in cells), key=order)


def is_full_length(study: Study, trial: dict[str, Any]) -> bool:
    """Whether a trial's run went to its end: with halving only those of the last rung do."""
    if trial["state"] != "complete" or not _finite(trial["value"]):
        return False
    return study.halving is None or trial["rung"] is None or trial["end_step"] >= max(study.halving["rungs"])


def spent_steps(study: Study) -> int:
    """Optimizer steps of all trials together, failed and pruned ones too."""
    return sum(trial["steps"] or 0 for trial in study.trials)


def full_grid_steps(study: Study) -> int:
    """Optimizer steps of every cell and seed run to its end."""
    return study.definition.full_steps()


def text_table(study: Study) -> list[str]:
    """The ranking as lines for a terminal, with what it cost and what failed."""
    definition, results = study.definition, cell_results(study)
    keys = [axis.key for axis in definition.space]
    names = short_keys(keys)
    head = ["rank", *(names[key] for key in keys), definition.metric.removeprefix("val/"), "std", "std error", "n", ""]
    rows = [head]
    for rank, result in enumerate(results, 1):
        known = result.mean is not None
        numbers = [_number(result.mean), _number(result.std), _number(result.standard_error), str(result.num_finished)]
        values = [short_value(result.values[key]) for key in keys]
        rows.append([str(rank) if known else "", *values, *numbers, _remark(result, len(definition.seeds))])
    widths = [max(len(row[i]) for row in rows) for i in range(len(head))]
    lines = ["  ".join(f"{c:>{w}}" for c, w in zip(row[:-1], widths, strict=False)) + f"  {row[-1]}" for row in rows]
    return [*(line.rstrip() for line in lines), *_summary(study)]


def halving_agreement(halving: Study, full: Study) -> dict[str, Any]:
    """Whether halving found the whole grid's best cell, or one that cannot be told from it, and for how many steps.

    Args:
        halving: a study with successive halving.
        full: the same study without.

    Returns:
        `halving_best` and `full_best` (cells), `same_cell`, `difference` (of the two cells' means in the whole grid, 0
        or more), `standard_error` (of the best cell's mean there), `within_one_standard_error`, `agrees` (either of the
        two), `halving_steps`, `full_steps` and `share`, their ratio.

    Raises:
        UserError: the two vary or fix different things, or one has no finished cell.
    """
    _same_question(halving, full)
    chosen, ranked = _best(halving), [result for result in cell_results(full) if result.mean is not None]
    best = _best(full)
    twin = next((result for result in ranked if _key(result.values) == _key(chosen.values)), None)
    if twin is None or twin.mean is None or best.mean is None:
        raise UserError(f"{full.folder} has no finished run of halving's best cell {chosen.values}; let it end first")
    difference = abs(best.mean - twin.mean)
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


def _result(study: Study, cell: Cell, trials: list[dict[str, Any]]) -> CellResult:
    by_seed = {trial["seed"]: float(trial["value"]) for trial in trials if is_full_length(study, trial)}
    values = [by_seed[seed] for seed in sorted(by_seed)]
    std = statistics.stdev(values) if len(values) > 1 else None
    stopped = [trial for trial in trials if trial["state"] == "pruned" and trial["reason"] != "duplicate"]
    last = _last_values(trials) if stopped and not values else []
    told = [trial["reason"] for trial in trials if trial["state"] == "failed" or trial in stopped]
    return CellResult(
        values=cell,
        by_seed=dict(sorted(by_seed.items())),
        mean=statistics.fmean(values) if values else None,
        std=std,
        standard_error=std / math.sqrt(len(values)) if std is not None else None,
        num_finished=len(values),
        num_failed=len({trial["seed"] for trial in trials if trial["state"] == "failed"} - {*by_seed}),
        num_pruned=len({trial["seed"] for trial in stopped}),
        last_step=max((trial["end_step"] or 0 for trial in trials), default=0),
        last_mean=statistics.fmean(last) if last else None,
        reasons=tuple(dict.fromkeys(reason for reason in told if reason)),
    )


def _last_values(trials: list[dict[str, Any]]) -> list[float]:
    """The metric of each seed where its furthest run stands."""
    furthest: dict[int, dict[str, Any]] = {}
    for trial in sorted(trials, key=lambda trial: trial["end_step"] or 0):
        if _finite(trial["value"]):
            furthest[trial["seed"]] = trial
    return [float(trial["value"]) for trial in furthest.values()]


def _remark(result: CellResult, num_seeds: int) -> str:
    words = list(result.reasons)
    if result.mean is None and result.last_mean is not None:
        words.append(f"{_number(result.last_mean)} there")
    waiting = num_seeds - result.num_finished - result.num_failed - result.num_pruned
    if waiting > 0:
        words.append(f"{waiting} to go")
    return "; ".join(words)


def _summary(study: Study) -> list[str]:
    spent, full = spent_steps(study), full_grid_steps(study)
    seconds = sum(trial.get("seconds") or 0 for trial in study.trials)
    states = [trial["state"] for trial in study.trials]
    counts = ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))
    cost = f"{spent:,} steps, {100 * spent / full:.0f} % of the {full:,} of every cell and seed"
    return [
        f"{len(study.trials)} trials ({counts})" if states else "no trial yet",
        f"{cost}, in {_duration(seconds)} of runs",
    ]


def _best(study: Study) -> CellResult:
    best = next(iter(cell_results(study)), None)
    if best is None or best.mean is None:
        raise UserError(f"{study.folder} has no finished cell yet; let the study end first")
    return best


def _same_question(halving: Study, full: Study) -> None:
    if halving.halving is None or full.halving is not None:
        raise UserError("expected a study with --pruner halving against one without; see `pruning` in their study.json")
    ways = ("pruner", "reduction", "trials")
    lines = full.definition.differences(halving.definition)
    other = [line for line in lines if line.partition(":")[0] not in ways]
    if other:
        raise UserError(f"{halving.folder} and {full.folder} differ in more than pruning: {other[0]}")


def _key(cell: Cell) -> str:
    return json.dumps(cell, sort_keys=True)


def _finite(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} seconds" if seconds < 600 else f"{seconds / 3600:.2f} hours"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}" if abs(value) >= 0.1 or value == 0 else f"{value:.3g}"
