"""The queue of a study: what is put into it, what comes next, and when nothing will come any more."""

from collections.abc import Callable

from optuna.trial import FrozenTrial, TrialState

from maekit.study.queue.pruning import Kept, Plan, is_final
from maekit.study.queue.storage import Say
from maekit.study.queue.trials import DUPLICATE, Board, Leg, current, leg_of, surplus

_KEPT = "kept"


class Queue:
    """A study's trials as its plan wants them.

    Args:
        board: the trials.
        plan: which there are to be.
        say: prints a line.
        only: the one leg to run; None: all.
    """

    def __init__(self, board: Board, plan: Plan, say: Say, only: Leg | None = None) -> None:
        self.board = board
        self.plan = plan
        self.say = say
        self.only = only

    @property
    def kept(self) -> Kept:
        """The cells that halving let go on, by rung; decided once, then kept with the study."""
        found: Kept = self.board.database.call(lambda: self.board.study.user_attrs.get(_KEPT, []))
        return found

    def filled(self, *, room: bool) -> list[FrozenTrial]:
        """Puts into the queue what ought to be in it, and takes out what is in it twice.

        Args:
            room: this worker could begin a run.

        Returns:
            All trials.
        """
        while True:
            trials = self.board.trials()
            for trial in surplus(trials):
                if self.board.claim(trial):
                    self.board.tell(trial, TrialState.PRUNED, None, reason=DUPLICATE)
            kept = self.kept
            if (more := self.plan.decide(trials, kept)) is not None:
                self.board.database.call(lambda going_on=[*kept, more]: self.board.study.set_user_attr(_KEPT, going_on))  # type: ignore[misc]
                self.say(f"halving {len(more)} of {len([self.plan.cells, *kept][len(kept)])} cells go on")
                continue
            idle = room and not any(trial.state == TrialState.WAITING for trial in trials)
            if not self.board.add(self.plan.legs(trials, kept, idle=idle), trials):
                return trials

    def take(self, trials: list[FrozenTrial], first: Callable[[FrozenTrial], bool]) -> FrozenTrial | None:
        """Claims a waiting trial.

        Args:
            trials: all trials.
            first: those to take before others: a run that this machine has begun is cheaper here than elsewhere.
        """
        waiting = [trial for trial in current(trials).values() if trial.state == TrialState.WAITING]
        if self.only is not None:
            waiting = [trial for trial in waiting if leg_of(trial).key == self.only.key]
        waiting.sort(key=lambda trial: (not first(trial), trial.number))
        return next((trial for trial in waiting if self.board.claim(trial)), None)

    def ended(self, trials: list[FrozenTrial]) -> bool:
        """Whether nothing is left to do, for any worker."""
        if self.only is not None:
            return is_final(current(trials).get(self.only.key))
        return self.plan.done(trials, self.kept)

    def retry_failed(self) -> None:
        """Puts failed legs into the queue once more; with halving those of the newest rung, as others are decided."""
        trials = self.board.trials()
        failed = [leg_of(trial) for trial in current(trials).values() if trial.state == TrialState.FAIL]
        again = [leg for leg in failed if leg.rung in (None, len(self.kept))]
        self.board.add(again, [trial for trial in trials if trial.state != TrialState.FAIL])
