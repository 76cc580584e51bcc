"""A study's trials in its database: one for each cell, seed and rung; claimed by one worker, finished once."""

import json
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property, partial

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import FrozenTrial, TrialState, create_trial

from maekit.study.define.space import Cell, Choice, Space, cell_name
from maekit.study.queue.database import Database
from maekit.study.queue.optuna_storage import (
    fail_silent_trials,
    is_below_median,
    record_heartbeat,
    set_attribute,
    set_metric,
    set_state,
)
from maekit.system.plain import JSON
from maekit.system.processes import host_of, is_gone, owner

DUPLICATE = "duplicate"
_SPEC = "leg"  # the attribute's name in databases since the first version


@dataclass(frozen=True)
class TrialSpec:
    """What one trial does: trains one cell with one seed, and with folds on one, up to a rung, or to the end.

    Attributes:
        cell: dotted key -> value.
        seed: the run's seed.
        rung: how many times halving has compared the cells before; None without halving.
        fold: the fold that is validated on, as `2/5`; None without folds.
    """

    cell: Cell
    seed: int
    rung: int | None = None
    fold: str | None = None

    @cached_property
    def key(self) -> str:
        """Equal for equal specs, whatever the order of the cell's keys."""
        return json.dumps([self.cell, self.seed, self.rung, self.fold], sort_keys=True)

    @property
    def run_name(self) -> str:
        """The run's folder; all rungs of a run share it."""
        return cell_name(self.cell, self.seed, self.fold)


def has_spec(trial: FrozenTrial) -> bool:
    """Whether a trial says what it is to do; one that Optuna made otherwise does not, and is left alone."""
    return _SPEC in trial.user_attrs


def spec_of(trial: FrozenTrial) -> TrialSpec:
    """Reads what a trial is to do."""
    return TrialSpec(**trial.user_attrs[_SPEC])


def lost_its_worker(trial: FrozenTrial) -> bool:
    """Whether a trial failed because its worker died: it has no reason, and is queued again."""
    return trial.state == TrialState.FAIL and "reason" not in trial.user_attrs


def distributions(space: Space) -> dict[str, BaseDistribution]:
    """The space for Optuna; a choice's values are JSON texts, because Optuna's categories cannot be lists."""
    found: dict[str, BaseDistribution] = {}
    for axis in space:
        if isinstance(axis, Choice):
            found[axis.key] = CategoricalDistribution([json.dumps(value) for value in axis.values])
        elif axis.whole:
            found[axis.key] = IntDistribution(int(axis.low), int(axis.high), log=axis.log)
        else:
            found[axis.key] = FloatDistribution(float(axis.low), float(axis.high), log=axis.log)
    return found


def to_parameters(cell: Cell, space: Space) -> dict[str, JSON]:
    """A cell as Optuna's parameters."""
    choices = {axis.key for axis in space if isinstance(axis, Choice)}
    return {key: json.dumps(value) if key in choices else value for key, value in cell.items()}


def to_cell(parameters: Mapping[str, JSON], space: Space) -> Cell:
    """A cell from Optuna's parameters."""
    choices = {axis.key for axis in space if isinstance(axis, Choice)}
    return {
        axis.key: json.loads(str(parameters[axis.key])) if axis.key in choices else parameters[axis.key]
        for axis in space
    }


class TrialList:
    """A study's trials.

    Any number of workers may use it at the same time. Two workers may by chance queue the same spec; the trial with the
    lower number counts, and the other is never run.

    Args:
        database: where they are.
        study: Optuna's study in it.
        space: the study's space.
        worker: this worker's name in the database, as `owner()` makes it; default: this process.
    """

    def __init__(self, database: Database, study: optuna.Study, space: Space, worker: str | None = None) -> None:
        self.database = database
        self.study = study
        self.space = space
        self.worker = owner() if worker is None else worker
        self.first_seen: dict[int, float] = {}

    def all(self) -> list[FrozenTrial]:
        """Reads all trials, by number."""
        return self.database.call(partial(self.study.get_trials, deepcopy=False))

    def add(self, specs: Iterable[TrialSpec], trials: Sequence[FrozenTrial]) -> int:
        """Queues a trial for each spec that has none in `trials`; returns how many."""
        existing = current(trials)
        missing = [spec for spec in specs if spec.key not in existing]
        for spec in missing:
            earlier = [trial for trial in trials if has_spec(trial) and spec_of(trial).key == spec.key]
            start = earlier[-1].user_attrs.get("start") if earlier else None
            template = create_trial(
                state=TrialState.WAITING,
                params=to_parameters(spec.cell, self.space),
                distributions=distributions(self.space),
                user_attrs={_SPEC: asdict(spec)} | ({} if start is None else {"start": start}),
            )
            self.database.call(partial(self.study.add_trial, template))
        return len(missing)

    def claim(self, trial: FrozenTrial) -> bool:
        """Takes a waiting trial; False if another worker was faster."""
        try:
            if not self.database.call(partial(set_state, self.database.storage, trial, TrialState.RUNNING)):
                return False
            self.save(trial, "owner", self.worker)
            self.save(trial, "host", host_of(self.worker))
        except UpdateFinishedTrialError:
            return False
        self.heartbeat([trial])
        return True

    def release(self, trial: FrozenTrial) -> None:
        """Puts a trial of this worker back into the queue."""
        self._set_state(trial, TrialState.WAITING, None)

    def save(self, trial: FrozenTrial, key: str, value: object) -> None:
        """Saves a plain value with a trial that has not ended."""
        self.database.call(partial(set_attribute, self.database.storage, trial, key, value))

    def report(self, trial: FrozenTrial, step: int, value: float) -> None:
        """Saves the metric at a step, for the median pruner."""
        self.database.call(partial(set_metric, self.database.storage, trial, step, value))

    def is_below_median(self, trial: FrozenTrial) -> bool:
        """Whether a run is worse than the median of the finished runs at the last reported step."""
        return self.database.call(partial(is_below_median, self.study, self.all()[trial.number]))

    def finish(
        self, trial: FrozenTrial, state: TrialState, value: float | None, attributes: Mapping[str, object]
    ) -> bool:
        """Ends a trial; False if it is no longer this worker's.

        Args:
            trial: a running trial.
            state: complete, pruned or failed.
            value: the metric; None for a failed trial.
            attributes: saved with it, such as `reason`.
        """
        try:
            for key, attribute in attributes.items():
                self.save(trial, key, attribute)
        except UpdateFinishedTrialError:
            return False
        return self._set_state(trial, state, value)

    def heartbeat(self, trials: Iterable[FrozenTrial]) -> None:
        """Records that these trials' worker is alive."""
        for trial in trials:
            self.database.call(partial(record_heartbeat, self.database.storage, trial))

    def still_owned(self, trials: Iterable[FrozenTrial]) -> list[bool]:
        """For each trial, whether it is still this worker's: others take it after `grace` seconds of silence."""
        now = self.all()
        return [
            now[trial.number].state == TrialState.RUNNING and now[trial.number].user_attrs.get("owner") == self.worker
            for trial in trials
        ]

    def take_from_dead(self, own: Iterable[FrozenTrial], *, alone: bool) -> None:
        """Fails the trials of dead workers: those of this machine at once, others when their heartbeats stop.

        Args:
            own: the trials that this worker runs.
            alone: no other worker can be on the study.
        """
        self.database.call(partial(fail_silent_trials, self.study))
        numbers = {trial.number for trial in own}
        for trial in self.all():
            if trial.state == TrialState.RUNNING and trial.number not in numbers and (alone or self._is_dead(trial)):
                self._set_state(trial, TrialState.FAIL, None)

    def _is_dead(self, trial: FrozenTrial) -> bool:
        worker = trial.user_attrs.get("owner")
        if worker is not None:
            return bool(worker == self.worker or is_gone(worker))
        # Claimed but not started: the worker died between two writes, or has not made the second yet.
        first_seen = self.first_seen.setdefault(trial.number, time.monotonic())
        return time.monotonic() - first_seen > self.database.timing.grace

    def _set_state(self, trial: FrozenTrial, state: TrialState, value: float | None) -> bool:
        try:
            return self.database.call(partial(set_state, self.database.storage, trial, state, value))
        except UpdateFinishedTrialError:
            # Either this call ended it and the reply was lost, or another worker took the trial and ended it.
            now = self.all()[trial.number]
            return now.state == state and now.user_attrs.get("owner") in (self.worker, None)


def current(trials: Iterable[FrozenTrial]) -> dict[str, FrozenTrial]:
    """Spec key -> the trial that counts: the first that neither failed nor lost its worker, else the last failed."""
    found: dict[str, FrozenTrial | None] = {}
    for trial in trials:
        if not has_spec(trial) or trial.user_attrs.get("reason") == DUPLICATE:
            continue
        key = spec_of(trial).key
        before = found.setdefault(key, None)  # a trial that lost its worker keeps its spec's place in the order
        if not lost_its_worker(trial) and (before is None or before.state == TrialState.FAIL):
            found[key] = trial
    return {key: trial for key, trial in found.items() if trial is not None}


def surplus(trials: Iterable[FrozenTrial]) -> list[FrozenTrial]:
    """Waiting trials whose spec an earlier trial has."""
    trials = list(trials)
    counting = {trial.number for trial in current(trials).values()}
    return [trial for trial in trials if trial.state == TrialState.WAITING and trial.number not in counting]
