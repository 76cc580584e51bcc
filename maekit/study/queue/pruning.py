"""Which runs a study has, how far each goes, and which are given up."""

from collections.abc import Mapping, Sequence
from statistics import fmean

import optuna
from optuna.pruners import MedianPruner
from optuna.trial import FrozenTrial, TrialState

from maekit.errors import UserError
from maekit.study.define.definition import Definition
from maekit.study.define.space import Cell
from maekit.study.queue.sampling import known_cells, next_cell
from maekit.study.queue.trials import Leg, current, is_lost, leg_of

FINAL = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)
Kept = list[list[Cell]]


def is_final(trial: FrozenTrial | None) -> bool:
    """Whether nothing is left to do on a leg whose trial this is."""
    return trial is not None and trial.state in FINAL and not is_lost(trial)


class Plan:
    """Every cell with every seed, each to its end. Halving and TPE differ from it below."""

    def __init__(self, definition: Definition) -> None:
        self.definition = definition
        self.cells = known_cells(definition)

    def legs(self, trials: Sequence[FrozenTrial], kept: Kept, *, idle: bool) -> list[Leg]:
        """The legs that ought to have a trial by now.

        Args:
            trials: all trials of the study.
            kept: which cells went on after each rung.
            idle: this worker has room for a run, and none waits.
        """
        return [Leg(cell, seed) for cell in self.cells for seed in self.definition.seeds]

    def done(self, trials: Sequence[FrozenTrial], kept: Kept) -> bool:
        """Whether all legs that there will ever be have ended."""
        there = current(trials)
        return all(is_final(there.get(leg.key)) for leg in self.legs(trials, kept, idle=True))

    def stop(self, leg: Leg) -> int | None:
        """The step at which a leg's run pauses; None where it goes to its end."""
        return None

    def start(self, leg: Leg) -> int:
        """The step at which the leg before it paused."""
        return 0

    def decide(self, trials: Sequence[FrozenTrial], kept: Kept) -> list[Cell] | None:
        """The cells that go on after the newest rung, once all of it is known; until then None."""
        return None


class DrawnPlan(Plan):
    """TPE: a cell is drawn when there is room for it."""

    def legs(self, trials: Sequence[FrozenTrial], kept: Kept, *, idle: bool) -> list[Leg]:
        """The cells drawn before and, where there is room, one more; each with all seeds."""
        cells: list[Cell] = []
        for trial in trials:
            if "leg" in trial.user_attrs and (cell := leg_of(trial).cell) not in cells:
                cells.append(cell)
        if idle and len(cells) < self.definition.total_cells and (new := next_cell(self.definition, trials)):
            cells.append(new)
        return [Leg(cell, seed) for cell in cells for seed in self.definition.seeds]


class HalvingPlan(Plan):
    """Successive halving by cells: all of a rung is run, then the best 1/reduction of the cells go on, bit for bit.

    Cells are compared by their mean over the seeds. Optuna's own `SuccessiveHalvingPruner` compares single runs: a
    lucky seed decides; it never takes up again what it gave up; and it decides with what is there, so that the first
    runs always go to their ends. Here a run goes on from its own checkpoint, so that nothing is paid for twice. A cell
    of which a seed failed does not go on.
    """

    def __init__(self, definition: Definition) -> None:
        super().__init__(definition)
        self.num_rungs = len(rung_steps(definition.max_steps, len(self.cells), definition.reduction))

    def legs(self, trials: Sequence[FrozenTrial], kept: Kept, *, idle: bool) -> list[Leg]:
        """All cells on the first rung, and on each further one those that were kept."""
        rungs = [self.cells, *kept][: self.num_rungs]
        return [
            Leg(cell, seed, rung)
            for rung, cells in enumerate(rungs)
            for cell in cells
            for seed in self.definition.seeds
        ]

    def done(self, trials: Sequence[FrozenTrial], kept: Kept) -> bool:
        """Whether the last rung has ended, or no cell is left to go on."""
        ended = super().done(trials, kept)
        return ended and (len(kept) >= self.num_rungs - 1 or kept[-1:] == [[]])

    def stop(self, leg: Leg) -> int | None:
        """The rung's step; None on the last."""
        rung = leg.rung or 0
        return None if rung == self.num_rungs - 1 else self._steps(leg)[rung]

    def start(self, leg: Leg) -> int:
        """The step of the rung below."""
        return self._steps(leg)[leg.rung - 1] if leg.rung else 0

    def decide(self, trials: Sequence[FrozenTrial], kept: Kept) -> list[Cell] | None:
        """The best 1/reduction of the cells of the newest rung."""
        rung = len(kept)
        cells = [self.cells, *kept][rung]
        there = current(trials)
        keys = [Leg(cell, seed, rung).key for cell in cells for seed in self.definition.seeds]
        if rung >= self.num_rungs - 1 or not all(is_final(there.get(key)) for key in keys):
            return None
        return self.ranked(there, cells, rung)[: num_kept(len(cells), self.definition.reduction)]

    def ranked(self, there: Mapping[str, FrozenTrial], cells: Sequence[Cell], rung: int) -> list[Cell]:
        """The cells of a rung, best first; without those of which a seed failed."""
        means: list[tuple[float, int]] = []
        for number, cell in enumerate(cells):
            found = [there[Leg(cell, seed, rung).key] for seed in self.definition.seeds]
            values = [trial.value for trial in found if trial.state == TrialState.COMPLETE and trial.value is not None]
            if len(values) == len(found):
                means.append((fmean(values), number))
        sign = -1 if self.definition.mode == "max" else 1
        return [cells[number] for _, number in sorted(means, key=lambda pair: (sign * pair[0], pair[1]))]

    def _steps(self, leg: Leg) -> list[int]:
        whole = self.definition.steps_of(leg.cell)
        steps = rung_steps(whole, len(self.cells), self.definition.reduction)
        return [*[1] * (self.num_rungs - len(steps)), *steps][-self.num_rungs :]


def make_plan(definition: Definition) -> Plan:
    """The plan that a definition asks for.

    Raises:
        UserError: halving of cells that are not known beforehand.
    """
    if definition.pruning == "halving":
        if definition.sampler == "tpe":
            raise UserError(
                "got --pruner halving with --sampler tpe, expected grid or random: halving compares cells that are all "
                "known before the first run; use --pruner median"
            )
        return HalvingPlan(definition)
    return DrawnPlan(definition) if definition.sampler == "tpe" else Plan(definition)


def num_kept(num_cells: int, reduction: int) -> int:
    """How many cells go on from a rung: 1/reduction of them, rounded down, but one at least."""
    return max(num_cells // reduction, 1)


def rung_steps(max_steps: int, num_cells: int, reduction: int) -> list[int]:
    """The steps at which cells are compared, and last those of a whole run: R / reduction^s, ..., R / reduction, R.

    As in successive halving (Jamieson and Talwalkar, arXiv 1502.07943) s is the logarithm of the number of cells,
    rounded down, and 1 at least where there is something to compare; fewer rungs where a run is too short for them.
    With five cells and a reduction of 4 that is a quarter of all runs and the rest of one: 40 % of the full grid.

    Args:
        max_steps: R, optimizer steps of a whole run, from 1.
        num_cells: cells on the first rung.
        reduction: from 2.
    """
    times, left = int(num_cells > 1), num_cells // reduction
    while left >= reduction:
        left, times = left // reduction, times + 1
    steps = [max(round(max_steps / reduction**power), 1) for power in range(times, -1, -1)]
    return sorted(set(steps))


def below_median(study: optuna.Study, trial: FrozenTrial) -> bool:
    """Whether a run's best value so far is worse than the median of the finished runs' at this step: Optuna's rule."""
    return MedianPruner().prune(study, trial)
