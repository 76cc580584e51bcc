"""The queue of a study: adds the trials that its plan asks for, hands them out, and knows when all have ended."""

from collections.abc import Callable
from functools import partial

from optuna.trial import FrozenTrial, TrialState

from maekit.study.queue.plans import Kept, Plan, is_final
from maekit.study.queue.retry import Say
from maekit.study.queue.trials import DUPLICATE, TrialList, TrialSpec, current, spec_of, surplus

_KEPT = "kept"


class Queue:
    """A study's trials as its plan wants them.

    Args:
        trial_list: the trials in the database.
        plan: which trials there should be.
        say: prints a line.
        only: run only this; None: everything.
    """

    def __init__(self, trial_list: TrialList, plan: Plan, say: Say, only: TrialSpec | None = None) -> None:
        self.trial_list = trial_list
        self.plan = plan
        self.say = say
        self.only = only

    @property
    def kept(self) -> Kept:
        """The cells that went on after each rung of halving, as saved with the study."""
        kept: Kept = self.trial_list.database.call(lambda: self.trial_list.study.user_attrs.get(_KEPT, []))
        return kept

    def fill(self, *, room: bool) -> list[FrozenTrial]:
        """Queues the trials that the plan asks for, and ends those that are queued twice.

        Args:
            room: this worker could start a run.

        Returns:
            All trials.
        """
        while True:
            trials = self.trial_list.all()
            for trial in surplus(trials):
                if self.trial_list.claim(trial):
                    self.trial_list.finish(trial, TrialState.PRUNED, None, {"reason": DUPLICATE})
            kept = self.kept
            if (promoted := self.plan.promoted(trials, kept)) is not None:
                study = self.trial_list.study
                self.trial_list.database.call(partial(study.set_user_attr, _KEPT, [*kept, promoted]))
                self.say(f"halving {len(promoted)} of {len([self.plan.cells, *kept][len(kept)])} cells go on")
                continue
            idle = room and not any(trial.state == TrialState.WAITING for trial in trials)
            if not self.trial_list.add(self.plan.specs(trials, kept, idle=idle), trials):
                return trials

    def take(self, trials: list[FrozenTrial], prefer: Callable[[FrozenTrial], bool]) -> FrozenTrial | None:
        """Claims a waiting trial; None if there is none.

        Args:
            trials: all trials.
            prefer: whether to take a trial first: one whose checkpoint is in this worker's folder, since another worker
                might have to train it from the start.
        """
        waiting = [trial for trial in current(trials).values() if trial.state == TrialState.WAITING]
        if self.only is not None:
            waiting = [trial for trial in waiting if spec_of(trial).key == self.only.key]
        waiting.sort(key=lambda trial: (not prefer(trial), trial.number))
        return next((trial for trial in waiting if self.trial_list.claim(trial)), None)

    def is_complete(self, trials: list[FrozenTrial]) -> bool:
        """Whether nothing is left to do, for any worker."""
        if self.only is not None:
            return is_final(current(trials).get(self.only.key))
        return self.plan.is_complete(trials, self.kept)

    def retry_failed(self) -> None:
        """Queues failed trials again; with halving only those of the newest rung, since earlier rungs are decided."""
        trials = self.trial_list.all()
        failed = [spec_of(trial) for trial in current(trials).values() if trial.state == TrialState.FAIL]
        again = [spec for spec in failed if spec.rung in (None, len(self.kept))]
        self.trial_list.add(again, [trial for trial in trials if trial.state != TrialState.FAIL])
