"""What a study says of the weights that it starts from: each with its best cell, ranked."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from maekit.report.document import Section, Table, Value
from maekit.report.studies.charts import cell_label, metric_name
from maekit.runs.read import Run
from maekit.study.define.labels import WEIGHTS, value_label
from maekit.study.define.space import Choice
from maekit.study.results import CellResult
from maekit.study.saved import Study
from maekit.system.numbers import plural
from maekit.system.plain import JSON


@dataclass(frozen=True)
class Standing:
    """How one file of weights did in a study, by its best cell.

    Attributes:
        value: what the study gives `--model.weights`.
        label: its short name within the study.
        pretraining: as its runs recorded it, such as `dinov2`; empty where they did not.
        best: its best cell; None where none of its runs came to its end.
        rank: among the study's weights; None without a best cell.
        equal: whether it cannot be told from the one ranked before it: their means are no further apart than the
            standard error of the difference.
        missing: what is not there, in words; empty if all of its runs came to their end.
    """

    value: JSON
    label: str
    pretraining: str
    best: CellResult | None
    rank: int | None
    equal: bool
    missing: str

    @property
    def place(self) -> str:
        """The rank, with `=` where it is not told from the one before."""
        return "" if self.rank is None else f"{self.rank}{' =' if self.equal else ''}"


def varies_weights(study: Study) -> bool:
    """Whether a study compares several weights."""
    axis = next((axis for axis in study.definition.space if axis.key == WEIGHTS), None)
    return isinstance(axis, Choice) and len(axis.values) > 1


def standings(study: Study, results: Sequence[CellResult]) -> list[Standing]:
    """Each of a study's weights with its best cell, the best first; a study without that key has its only weights.

    Args:
        study: the study.
        results: its cells, the best first, as `cell_results` gives them.
    """
    axis = next((axis for axis in study.definition.space if axis.key == WEIGHTS), None)
    values = axis.values if isinstance(axis, Choice) else (study.definition.fixed.get(WEIGHTS),)
    of = {repr(value): [one for one in results if one.values.get(WEIGHTS, value) == value] for value in values}
    best = {repr(value): next((one for one in of[repr(value)] if one.mean is not None), None) for value in values}
    order = [repr(one.values.get(WEIGHTS, values[0])) for one in results]
    ranked = sorted(values, key=lambda v: (best[repr(v)] is None, order.index(repr(v)) if repr(v) in order else 0))
    found: list[Standing] = []
    for rank, value in enumerate(ranked, 1):
        own, before = best[repr(value)], found[-1].best if found else None
        found.append(
            Standing(
                value,
                value_label(study.definition.space, WEIGHTS, value),
                _pretraining(study, value),
                own,
                None if own is None else rank,
                own is not None and before is not None and _is_equal(own, before),
                _missing(study, of[repr(value)]),
            )
        )
    return found


def pretrainings_section(study: Study, results: Sequence[CellResult]) -> Section | None:
    """The weights of a study ranked by their best cells; None where it does not compare weights."""
    if not varies_weights(study):
        return None
    rows = tuple(_row(study, one) for one in standings(study, results))
    columns: tuple[str, ...] = (
        "rank",
        "weights",
        "pre-training",
        metric_name(study),
        "std",
        "n",
        "at its best",
        "missing",
    )
    if not any(row[2] for row in rows):  # runs of earlier versions did not record it
        rows, columns = tuple((*row[:2], *row[3:]) for row in rows), (*columns[:2], *columns[3:])
    note = (
        "Each by its best cell on these validation images, so weights that were tried with more settings had more "
        "chances. = : not told from the one before, no further apart than the standard error of the difference."
    )
    table = Table("pretrainings", columns, rows, "Weights to start from, the best first", note)
    return Section("Pre-trainings", (table,))


def best_numbers(one: Standing) -> tuple[Value, Value, Value]:
    """Mean, deviation and number of seeds or folds of the best cell; three times None without one."""
    best = one.best
    return (None, None, None) if best is None else (best.mean, best.std, len(best.points))


def _row(study: Study, one: Standing) -> tuple[Value, ...]:
    settings = "" if one.best is None else cell_label(study, one.best.values, without=WEIGHTS)
    return (one.place, one.label, one.pretraining, *best_numbers(one), settings, one.missing)


def _is_equal(one: CellResult, other: CellResult) -> bool:
    assert one.mean is not None
    assert other.mean is not None
    if one.standard_error is None or other.standard_error is None:
        return one.mean == other.mean
    return abs(one.mean - other.mean) <= math.hypot(one.standard_error, other.standard_error)


def _missing(study: Study, cells: Sequence[CellResult]) -> str:
    """How many runs of these weights did not come to their end, and why; runs that halving gave up are not missing."""
    wanted = len(cells) * len(study.definition.repeats)
    lacking = wanted - sum(one.num_finished + one.num_pruned for one in cells)
    if lacking <= 0:
        return ""
    reasons = dict.fromkeys(reason for one in cells if one.num_failed for reason in one.reasons)
    return f"{lacking} of {plural(wanted, 'run')}" + (f": {'; '.join(reasons)}" if reasons else "")


def _pretraining(study: Study, value: JSON) -> str:
    """What the runs of these weights recorded; a study that fixes its weights is asked as a whole."""
    for trial in study.trials:
        folder = trial.get("folder")
        if folder and trial["values"].get(WEIGHTS, value) == value:
            recorded = Run(study.folder / folder).pretraining
            if recorded:
                return recorded
    return ""
