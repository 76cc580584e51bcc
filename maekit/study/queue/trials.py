"""The trials of a study in its database: made once for each leg, claimed by one worker, told once."""

import json
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import BaseStorage, RDBStorage
from optuna.trial import FrozenTrial, TrialState, create_trial

from maekit.study.define.space import Cell, Choice, Space, cell_name
from maekit.study.queue.storage import Database, quietly
from maekit.system import processes as lease
from maekit.system.processes import host_of, is_gone, owner

DUPLICATE = "duplicate"


@dataclass(frozen=True)
class Leg:
    """What one trial does: one cell with one seed, from where its run stands to a rung or to its end.

    Attributes:
        cell: dotted key -> value.
        seed: the run's seed.
        rung: how many times halving sorted cells out before; None without halving.
    """

    cell: Cell
    seed: int
    rung: int | None = None

    @cached_property
    def key(self) -> str:
        """A text that is the same for the same leg."""
        return json.dumps([self.cell, self.seed, self.rung], sort_keys=True)

    @property
    def name(self) -> str:
        """The run's folder; all rungs of a run share it."""
        return cell_name(self.cell, self.seed)


def leg_of(trial: FrozenTrial) -> Leg:
    """What a trial is to do."""
    said = trial.user_attrs["leg"]
    return Leg(said["cell"], said["seed"], said["rung"])


def is_lost(trial: FrozenTrial) -> bool:
    """Whether its worker died: it failed without a reason, and its leg is put into the queue again."""
    return trial.state == TrialState.FAIL and "reason" not in trial.user_attrs


def distributions(space: Space) -> dict[str, BaseDistribution]:
    """What Optuna is told of the space; values of a list are JSON, since it knows no lists among them."""
    found: dict[str, BaseDistribution] = {}
    for axis in space:
        if isinstance(axis, Choice):
            found[axis.key] = CategoricalDistribution([json.dumps(value) for value in axis.values])
        elif axis.whole:
            found[axis.key] = IntDistribution(int(axis.low), int(axis.high), log=axis.log)
        else:
            found[axis.key] = FloatDistribution(float(axis.low), float(axis.high), log=axis.log)
    return found


def parameters(cell: Cell, space: Space) -> dict[str, Any]:
    """A cell as Optuna keeps it."""
    lists = {axis.key for axis in space if isinstance(axis, Choice)}
    return {key: json.dumps(value) if key in lists else value for key, value in cell.items()}


def cell_of(params: Mapping[str, Any], space: Space) -> Cell:
    """A cell from what Optuna drew."""
    lists = {axis.key for axis in space if isinstance(axis, Choice)}
    return {axis.key: json.loads(params[axis.key]) if axis.key in lists else params[axis.key] for axis in space}


class Board:
    """A study's trials.

    Any number of workers may do all of this at once. A leg may by chance be put in the queue twice; the trial with the
    lower number counts, and the other is never run.

    Args:
        database: where they are kept.
        study: Optuna's study in it.
        space: the study's space.
    """

    def __init__(self, database: Database, study: optuna.Study, space: Space) -> None:
        self.database = database
        self.study = study
        self.space = space
        self.me = owner()
        self.seen: dict[int, float] = {}
        self.storage: BaseStorage = database.storage
        self.study_id = database.call(lambda: self.storage.get_study_id_from_name(study.study_name))

    def trials(self) -> list[FrozenTrial]:
        """All trials as they are now, in the order they were made."""
        return self.database.call(lambda: self.storage.get_all_trials(self.study_id, deepcopy=False))

    def add(self, legs: Iterable[Leg], trials: list[FrozenTrial]) -> int:
        """Puts legs into the queue that have no trial yet; returns how many."""
        there = current(trials)
        missing = [leg for leg in legs if leg.key not in there]
        for leg in missing:
            before = next((trial for trial in reversed(trials) if _key(trial) == leg.key), None)
            start = {} if before is None else {key: said for key, said in before.user_attrs.items() if key == "start"}
            template = create_trial(
                state=TrialState.WAITING,
                params=parameters(leg.cell, self.space),
                distributions=distributions(self.space),
                user_attrs={"leg": {"cell": leg.cell, "seed": leg.seed, "rung": leg.rung}, **start},
            )
            self.database.call(lambda one=template: self.storage.create_new_trial(self.study_id, one))  # type: ignore[misc]
        return len(missing)

    def claim(self, trial: FrozenTrial) -> bool:
        """Takes a waiting trial; false when another worker was faster."""
        number = trial._trial_id
        try:
            if not self.database.call(lambda: self.storage.set_trial_state_values(number, TrialState.RUNNING)):
                return False
            self.note(trial, "owner", self.me)
            self.note(trial, "host", host_of(self.me))
        except UpdateFinishedTrialError:
            return False
        self.beat([trial])
        return True

    def release(self, trial: FrozenTrial) -> None:
        """Puts a trial that this worker has back into the queue."""
        self._settle(trial, TrialState.WAITING, None)

    def note(self, trial: FrozenTrial, key: str, value: Any) -> None:
        """Keeps something with a trial."""
        self.database.call(lambda: self.storage.set_trial_user_attr(trial._trial_id, key, value))

    def report(self, trial: FrozenTrial, step: int, value: float) -> None:
        """Keeps the metric at a step."""
        self.database.call(lambda: self.storage.set_trial_intermediate_value(trial._trial_id, step, value))

    def tell(self, trial: FrozenTrial, state: TrialState, value: float | None, **notes: Any) -> bool:
        """Ends a trial with its result; false when it is no longer this worker's.

        Args:
            trial: a running trial.
            state: complete, pruned or failed.
            value: the metric; a failed trial has none.
            notes: kept with it, such as `reason`.
        """
        try:
            for key, said in notes.items():
                self.note(trial, key, said)
        except UpdateFinishedTrialError:
            return False
        return self._settle(trial, state, value)

    def beat(self, trials: Iterable[FrozenTrial]) -> None:
        """Says, by the database's clock, that these trials' worker is alive."""
        storage = self.storage
        if isinstance(storage, RDBStorage):
            for trial in trials:
                self.database.call(lambda number=trial._trial_id: storage.record_heartbeat(number))  # type: ignore[misc]

    def still_mine(self, trials: Iterable[FrozenTrial]) -> list[bool]:
        """Which trials have not been taken away, because no heartbeat came through for long."""
        now = {trial._trial_id: trial for trial in self.trials()}
        return [
            now[t._trial_id].state == TrialState.RUNNING and now[t._trial_id].user_attrs.get("owner") == self.me
            for t in trials
        ]

    def free_lost(self, mine: Iterable[FrozenTrial], *, alone: bool) -> None:
        """Takes trials away from workers that are gone: of this machine at once, of others when their heartbeats stop.

        Args:
            mine: the trials that this worker runs.
            alone: nobody else can be working on the study.
        """
        with quietly():
            self.database.call(lambda: optuna.storages.fail_stale_trials(self.study))
        own = {trial._trial_id for trial in mine}
        for trial in self.trials():
            if trial.state == TrialState.RUNNING and trial._trial_id not in own and (alone or self._is_lost(trial)):
                self._settle(trial, TrialState.FAIL, None)

    def _is_lost(self, trial: FrozenTrial) -> bool:
        said = trial.user_attrs.get("owner")
        if said is not None:
            return said == self.me or is_gone(said)
        # Claimed, and no more: its worker died between two words to the database, or is about to say the second.
        return time.monotonic() - self.seen.setdefault(trial._trial_id, time.monotonic()) > lease.GRACE_SECONDS

    def _settle(self, trial: FrozenTrial, state: TrialState, value: float | None) -> bool:
        values = None if value is None else [value]
        try:
            return self.database.call(lambda: self.storage.set_trial_state_values(trial._trial_id, state, values))
        except UpdateFinishedTrialError:
            # By this very call, if its first answer was lost; or it was taken away and told by another.
            now = self.database.call(lambda: self.storage.get_trial(trial._trial_id))
            return now.state == state and now.user_attrs.get("owner") in (self.me, None)


def current(trials: Iterable[FrozenTrial]) -> dict[str, FrozenTrial]:
    """Leg key -> the trial that counts: the first that neither failed nor lost its worker, else the last failed one."""
    found: dict[str, FrozenTrial | None] = {}
    for trial in trials:
        key = _key(trial)
        if key is None or trial.user_attrs.get("reason") == DUPLICATE:
            continue
        before = found.setdefault(key, None)  # a lost one keeps its leg's place
        if not is_lost(trial) and (before is None or before.state == TrialState.FAIL):
            found[key] = trial
    return {key: trial for key, trial in found.items() if trial is not None}


def surplus(trials: Iterable[FrozenTrial]) -> list[FrozenTrial]:
    """Waiting trials of legs that an earlier trial does."""
    trials = list(trials)
    counting = {trial._trial_id for trial in current(trials).values()}
    return [trial for trial in trials if trial.state == TrialState.WAITING and trial._trial_id not in counting]


def _key(trial: FrozenTrial) -> str | None:
    return leg_of(trial).key if "leg" in trial.user_attrs else None
