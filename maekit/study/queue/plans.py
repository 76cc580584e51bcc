"""Plans: which trials a study has, how far each trains, and which cells halving gives up."""

from collections.abc import Mapping, Sequence
from statistics import fmean

from optuna.trial import FrozenTrial, TrialState

from maekit.errors import UserError
from maekit.study.define.definition import Definition
from maekit.study.define.space import Cell
from maekit.study.queue.sampling import known_cells, next_cell
from maekit.study.queue.trials import TrialSpec, current, has_spec, lost_its_worker, spec_of

FINAL = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)
Kept = list[list[Cell]]


def is_final(trial: FrozenTrial | None) -> bool:
    """Whether a trial has ended and is not queued again."""
    return trial is not None and trial.state in FINAL and not lost_its_worker(trial)


def specs_of(definition: Definition, cell: Cell, rung: int | None = None) -> list[TrialSpec]:
    """The trials of one cell: every seed, with folds on every fold."""
    return [TrialSpec(cell, seed, rung, fold) for seed, fold in definition.repeats]


class Plan:
    """Every cell with every seed and fold, each to its end. Halving and TPE override this below."""

    def __init__(self, definition: Definition) -> None:
        self.definition = definition
        self.cells = known_cells(definition)

    def specs(self, trials: Sequence[FrozenTrial], kept: Kept, *, idle: bool) -> list[TrialSpec]:
        """What should have a trial by now.

        Args:
            trials: all trials of the study.
            kept: the cells that went on after each rung.
            idle: this worker could start a run, and none waits.
        """
        return [spec for cell in self.cells for spec in specs_of(self.definition, cell)]

    def is_complete(self, trials: Sequence[FrozenTrial], kept: Kept) -> bool:
        """Whether all trials that there will ever be have ended."""
        existing = current(trials)
        return all(is_final(existing.get(spec.key)) for spec in self.specs(trials, kept, idle=True))

    def start_step(self, spec: TrialSpec) -> int:
        """The optimizer step at which the rung below paused; 0 without one."""
        return 0

    def stop_step(self, spec: TrialSpec) -> int | None:
        """The optimizer step at which a trial pauses; None if it trains to the end."""
        return None

    def promoted(self, trials: Sequence[FrozenTrial], kept: Kept) -> list[Cell] | None:
        """The cells that go on after the newest rung; None until every trial of that rung has ended."""
        return None


class TPEPlan(Plan):
    """TPE: a cell is sampled when a worker has room for it."""

    def specs(self, trials: Sequence[FrozenTrial], kept: Kept, *, idle: bool) -> list[TrialSpec]:
        """The cells sampled before and, if the worker is idle, one more; each with all seeds."""
        cells: list[Cell] = []
        for trial in trials:
            if has_spec(trial) and (cell := spec_of(trial).cell) not in cells:
                cells.append(cell)
        if idle and len(cells) < self.definition.total_cells and (new := next_cell(self.definition, trials)):
            cells.append(new)
        return [spec for cell in cells for spec in specs_of(self.definition, cell)]


class HalvingPlan(Plan):
    """Successive halving by cells: all cells train to a rung, then the best 1/reduction of them go on from there.

    Cells are compared by their mean over seeds and folds; a cell of which a run failed does not go on. Optuna's own
    `SuccessiveHalvingPruner` compares single runs, so that a lucky seed decides, and decides with the runs it has seen
    so far, so that the first runs always train to the end. A run that goes on resumes from its checkpoint, so no step
    is trained twice.
    """

    def __init__(self, definition: Definition) -> None:
        super().__init__(definition)
        self.num_rungs = len(rung_steps(definition.max_steps, len(self.cells), definition.reduction))

    def specs(self, trials: Sequence[FrozenTrial], kept: Kept, *, idle: bool) -> list[TrialSpec]:
        """All cells on the first rung, and on each further rung those that were kept."""
        rungs = [self.cells, *kept][: self.num_rungs]
        return [
            spec for rung, cells in enumerate(rungs) for cell in cells for spec in specs_of(self.definition, cell, rung)
        ]

    def is_complete(self, trials: Sequence[FrozenTrial], kept: Kept) -> bool:
        """Whether the last rung has ended, or no cell is left to go on."""
        ended = super().is_complete(trials, kept)
        return ended and (len(kept) >= self.num_rungs - 1 or kept[-1:] == [[]])

    def start_step(self, spec: TrialSpec) -> int:
        """The step of the rung below; 0 on the first."""
        return self._steps(spec)[spec.rung - 1] if spec.rung else 0

    def stop_step(self, spec: TrialSpec) -> int | None:
        """The rung's step; None on the last."""
        rung = spec.rung or 0
        return None if rung == self.num_rungs - 1 else self._steps(spec)[rung]

    def promoted(self, trials: Sequence[FrozenTrial], kept: Kept) -> list[Cell] | None:
        """The best 1/reduction of the cells of the newest rung; None until all of its trials have ended."""
        rung = len(kept)
        if rung >= self.num_rungs - 1:
            return None
        cells, existing = [self.cells, *kept][rung], current(trials)
        specs = [spec for cell in cells for spec in specs_of(self.definition, cell, rung)]
        if not all(is_final(existing.get(spec.key)) for spec in specs):
            return None
        return self.ranked(existing, cells, rung)[: num_kept(len(cells), self.definition.reduction)]

    def ranked(self, existing: Mapping[str, FrozenTrial], cells: Sequence[Cell], rung: int) -> list[Cell]:
        """The cells of a rung, best first, without those of which a run failed.

        Args:
            existing: `current` trials by spec key.
            cells: the cells of the rung.
            rung: its number, from 0.
        """
        means: list[tuple[float, int]] = []
        for number, cell in enumerate(cells):
            trials = [existing[spec.key] for spec in specs_of(self.definition, cell, rung)]
            values = [trial.value for trial in trials if trial.state == TrialState.COMPLETE and trial.value is not None]
            if len(values) == len(trials):
                means.append((fmean(values), number))
        sign = -1 if self.definition.mode == "max" else 1
        return [cells[number] for _, number in sorted(means, key=lambda pair: (sign * pair[0], pair[1]))]

    def _steps(self, spec: TrialSpec) -> list[int]:
        """The rungs of a run; a cell may change how long a run is, but not how many rungs the study has."""
        steps = rung_steps(self.definition.steps_of(spec.cell), len(self.cells), self.definition.reduction)
        return [*[1] * (self.num_rungs - len(steps)), *steps][-self.num_rungs :]


def make_plan(definition: Definition) -> Plan:
    """The plan that a definition asks for.

    Raises:
        UserError: halving with TPE, whose cells are not known before the first run.
    """
    if definition.pruning == "halving":
        if definition.sampler == "tpe":
            raise UserError(
                "got --pruner halving with --sampler tpe, expected grid or random: halving compares cells that are all "
                "known before the first run; use --pruner median"
            )
        return HalvingPlan(definition)
    return TPEPlan(definition) if definition.sampler == "tpe" else Plan(definition)


def num_kept(num_cells: int, reduction: int) -> int:
    """How many cells go on from a rung: 1/reduction of them, rounded down, at least one."""
    return max(num_cells // reduction, 1)


def rung_steps(max_steps: int, num_cells: int, reduction: int) -> list[int]:
    """The steps at which cells are compared, and last those of a whole run: R/reduction^s, ..., R/reduction, R.

    As in successive halving (Jamieson and Talwalkar, arXiv 1502.07943) s is log_reduction(num_cells) rounded down, at
    least 1 with several cells; steps that round to the same number are one rung. Example: five cells and a reduction
    of 4 give a quarter of all runs and the rest of one, 40 % of the full grid.

    Args:
        max_steps: R, optimizer steps of a whole run, 1 or more.
        num_cells: cells on the first rung.
        reduction: 2 or more.
    """
    times, left = int(num_cells > 1), num_cells // reduction
    while left >= reduction:
        left, times = left // reduction, times + 1
    return sorted({max(round(max_steps / reduction**power), 1) for power in range(times, -1, -1)})
