"""Runs in the cells of a table: mean and deviation over seeds, and a verdict on the difference."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

from maekit.paper.match import Sample, is_of, refusal, sample, why_not_here
from maekit.paper.tables import Cell, Table, load_table, table_names
from maekit.runs.differences import Difference
from maekit.runs.read import Run

NO_NOISE = "no published seed noise"
DIFFERS = "differs"


@dataclass(frozen=True)
class Group:
    """Runs of a cell with the same recipe and the same differences from it.

    Attributes:
        recipe: its name.
        origin: the weights: of evaluations, and where a cell takes any of a pre-training; else empty.
        differs: the hyper-parameters in which they differ from the recipe.
        samples: the runs.
        by_key: the mean value by seed, or by weights where these were evaluated; runs of one seed count once.
        difference: mean minus the published number, in points.
        margin: twice the standard error of that difference; None without published seed noise.
        verdict: `within`, `above` or `below` the margin; `differs` or NO_NOISE where no verdict is possible.
    """

    recipe: str
    origin: str
    differs: tuple[Difference, ...]
    samples: tuple[Sample, ...]
    by_key: dict[str, float]
    difference: float
    margin: float | None
    verdict: str

    @property
    def mean(self) -> float:
        """The mean over seeds, or over weights, in the table's unit."""
        return fmean(self.by_key.values())

    @property
    def std(self) -> float | None:
        """Standard deviation over seeds (n - 1); None of one seed."""
        return stdev(self.by_key.values()) if len(self.by_key) > 1 else None


@dataclass(frozen=True)
class Filled:
    """A cell and the groups of runs in it; groups that do not differ from the recipe come first."""

    cell: Cell
    groups: tuple[Group, ...]

    @property
    def own(self) -> Group | None:
        """The first group that does not differ from its recipe: the one that fills the cell."""
        return next((group for group in self.groups if not group.differs), None)


@dataclass(frozen=True)
class Unused:
    """A run that fills no cell, and why."""

    run: Run
    reason: str


def fill(table: Table, runs: Sequence[Run], which: str) -> list[Filled]:
    """Puts runs into the cells of a table that they may fill.

    Args:
        table: the table.
        runs: all runs that were found.
        which: `final` for the value at a run's end, `best` for that of its best.ckpt.
    """
    return [_filled(cell, runs, which) for cell in table.cells]


def unused(tables: Sequence[Table], runs: Sequence[Run], which: str) -> list[Unused]:
    """The runs that fill no cell of any of the tables, each with the reason."""
    cells = [cell for table in tables for cell in table.cells]
    found = []
    for run in runs:
        reason = why_not_here(run, cells)
        if reason is None:
            reasons = [refusal(run, cell, which) for cell in cells if is_of(run, cell)]
            if None in reasons:
                continue
            reason = "; ".join(dict.fromkeys(str(reason) for reason in reasons))
        found.append(Unused(run, reason))
    return found


def targets(run: Run, which: str = "final") -> list[tuple[Cell, Group]]:
    """The cells of all tables that a run fills, each with the run as its only group; used by the run's report."""
    filled = [place for name in table_names() for place in fill(load_table(name), [run], which)]
    return [(place.cell, group) for place in filled for group in place.groups]


def verdict(cell: Cell, values: Sequence[float], *, differs: bool) -> tuple[float | None, str]:
    """Returns the margin in points and the verdict.

    The margin is twice the standard error of (mean of ours - the published number): the published number has the
    published seed noise, ours its own deviation / sqrt(n). A single run has no deviation, so the published one is used.
    """
    if differs:
        return None, DIFFERS
    noise = cell.ours.noise
    if noise is None:
        return None, NO_NOISE
    own = stdev(values) if len(values) > 1 else noise
    margin = 2 * math.sqrt(noise**2 + own**2 / len(values))
    difference = fmean(values) - cell.published.value
    if abs(difference) <= margin:
        return margin, "within"
    return margin, "above" if difference > 0 else "below"


def _filled(cell: Cell, runs: Sequence[Run], which: str) -> Filled:
    samples = [sample(run, cell, which) for run in runs if is_of(run, cell) and refusal(run, cell, which) is None]
    alike: dict[tuple[str, str, str], list[Sample]] = {}
    for one in samples:
        alike.setdefault((one.run.recipe, one.origin, repr(one.differs)), []).append(one)
    groups = [_group(cell, members) for members in alike.values()]
    order = {recipe: place for place, recipe in enumerate(cell.ours.recipes)}
    return Filled(
        cell, tuple(sorted(groups, key=lambda group: (len(group.differs), order[group.recipe], group.origin)))
    )


def _group(cell: Cell, members: Sequence[Sample]) -> Group:
    first = members[0]
    by_key: dict[str, list[float]] = {}
    for one in members:
        by_key.setdefault(one.key, []).append(one.value)
    means = {key: fmean(values) for key, values in by_key.items()}
    values = list(means.values())
    margin, word = verdict(cell, values, differs=bool(first.differs))
    difference = fmean(values) - cell.published.value
    return Group(first.run.recipe, first.origin, first.differs, tuple(members), means, difference, margin, word)
