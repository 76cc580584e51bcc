"""The loop of one worker: claims legs, runs them in its slots, tells what became of them."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import FrozenTrial

from maekit.errors import Interrupted, UserError
from maekit.runs.reached import seconds_so_far
from maekit.study.queue.pruning import below_median
from maekit.study.queue.queue import Queue
from maekit.study.queue.storage import DatabaseAway, Say, Stopped
from maekit.study.queue.trials import leg_of
from maekit.study.study_file import study_values, write_study
from maekit.study.work.devices import Slot
from maekit.study.work.job import Job, fit_flags, run_folder
from maekit.study.work.process import MOST_ATTEMPTS, Ended, Process
from maekit.study.work.signals import Signals
from maekit.system import processes as lease

TICK_SECONDS = 0.2  # between two looks at the children
LOOK_SECONDS = 3.0  # between two looks at the database


class Worker:
    """Works on a study until it has ended.

    Args:
        queue: its trials.
        folder: its folder.
        file: where the study is told as it stands.
        slots: where runs may be at the same time.
        say: prints a line.
        signals: the signals that came.
    """

    def __init__(
        self, queue: Queue, folder: Path, file: Path, slots: Sequence[Slot], say: Say, signals: Signals
    ) -> None:
        self.queue = queue
        self.board = queue.board
        self.plan = queue.plan
        self.folder = folder
        self.file = file
        self.free = list(slots)
        self.say = say
        self.signals = signals
        self.jobs: list[Job] = []
        self.looked = self.beaten = self.followed = 0.0
        self.written: dict[str, Any] = {}

    def run(self) -> None:
        """Runs until nothing is left to do, for this worker or any other.

        Raises:
            Interrupted: a signal came; the runs are saved and back in the queue.
            DatabaseAway: the database did not come back; the runs are saved.
        """
        try:
            while not self._step():
                if self.signals.came():
                    raise Stopped
                time.sleep(TICK_SECONDS)
        except Stopped as stop:
            self._stop_children()
            self._release()
            raise Interrupted(self._farewell(), self.signals.number) from stop
        except BaseException:
            self._stop_children()
            raise

    def _step(self) -> bool:
        """One round; returns whether the study has ended."""
        changed = self._poll()
        self._beat()
        self._follow()
        if not changed and time.monotonic() - self.looked < LOOK_SECONDS:
            return False
        self.looked = time.monotonic()
        trials = self.queue.filled(room=bool(self.free))
        while self.free and (claimed := self.queue.take(trials, self._is_here)) is not None:
            self._begin(claimed)
            trials = self.queue.filled(room=bool(self.free))
        ended = not self.jobs and self.queue.ended(trials)
        self._write(trials, must=ended)
        return ended

    def _begin(self, trial: FrozenTrial) -> None:
        """Starts a claimed trial's run; one that has ended already, by an earlier worker, is told at once."""
        leg = leg_of(trial)
        folder = run_folder(self.folder, self.plan.definition, leg)
        self.board.note(trial, "folder", str(folder.relative_to(self.folder)))
        start = trial.user_attrs.get("start")
        if start is None or not self._is_here(trial):
            start = {"step": 0, "seconds": 0.0}
            if self._is_here(trial):
                start = {"step": self.plan.start(leg), "seconds": seconds_so_far(folder) if leg.rung else 0.0}
            self.board.note(trial, "start", start)
        flags = fit_flags(self.folder, self.plan, leg)
        process = Process(folder, self.folder / "logs" / f"{leg.name}.log", flags, self.free[0])
        job = Job(trial, leg, process, self.plan, start, told=set(trial.intermediate_values))
        if job.reached() is not None:
            self._tell(job, Ended("exited"))
            return
        self.jobs.append(job)
        self.free.pop(0)
        self._start(job)

    def _start(self, job: Job) -> None:
        job.mark = job.process.mark
        if job.process.start():
            job.waiting = False
            stop = self.plan.stop(job.leg)
            to = f" to step {stop}" if stop else ""
            self.say(f"{'resume' if job.mark else 'begin '}  {job.leg.name}{to} on {job.process.slot.name}")
        elif not job.waiting:
            job.waiting = True
            self.say(f"wait    {job.leg.name}: an earlier process is still in its folder, saving")

    def _poll(self) -> bool:
        """Looks after the children; returns whether one has ended."""
        before = len(self.jobs)
        for job in list(self.jobs):
            ended = job.process.poll()
            if job.lost and (ended is not None or job.waiting):
                self._drop(job)
            elif ended is None and job.waiting:
                if job.reached() is None:
                    self._start(job)
                else:
                    self._end(job, Ended("exited"))
            elif ended is not None:
                again = ended.kind in ("killed", "stopped") and not job.prune and job.reached() is None
                if not (again and self._take_up_again(job, ended)):
                    self._end(job, ended)
        return len(self.jobs) < before

    def _take_up_again(self, job: Job, ended: Ended) -> bool:
        """Restarts a run that somebody killed; false where that was done in vain too often."""
        job.attempts = job.attempts + 1 if job.process.mark == job.mark else 1
        if job.attempts >= MOST_ATTEMPTS:
            return False
        self.say(f"again   {job.leg.name}: {ended.reason}")
        self._start(job)
        return True

    def _follow(self) -> None:
        """Reports new validations; stops the runs that the median pruner gives up."""
        if self.plan.definition.pruning != "median" or time.monotonic() - self.followed < LOOK_SECONDS:
            return
        self.followed = time.monotonic()
        for job in self.jobs:
            if job.prune or job.waiting or not self._report(job):
                continue
            call, number = self.board.database.call, job.trial._trial_id
            trial = call(lambda number=number: self.board.storage.get_trial(number))  # type: ignore[misc]
            if call(lambda trial=trial: below_median(self.board.study, trial)):  # type: ignore[misc]
                job.prune = f"median: worse than half of the finished runs at step {max(job.told)}"
                self.say(f"prune   {job.leg.name}: {job.prune}")
                job.process.stop()

    def _report(self, job: Job) -> bool:
        new = job.new_values()
        for step, value in new.items():
            self.board.report(job.trial, step, value)
            job.told.add(step)
        return bool(new)

    def _end(self, job: Job, ended: Ended) -> None:
        self._drop(job)
        if ended.kind in ("killed", "stopped") and not job.prune:
            ended = Ended("failed", f"{ended.reason} {job.attempts} times without getting further; out of memory?")
        self._tell(job, ended)

    def _tell(self, job: Job, ended: Ended) -> None:
        """Tells the database, and the terminal, how a leg ended."""
        try:
            if self.plan.definition.pruning == "median":
                self._report(job)  # what later runs are compared with
            state, value, notes, line = job.verdict(ended)
            told = self.board.tell(job.trial, state, value, **notes)
        except UpdateFinishedTrialError:
            told = False
        self.say(line if told else _taken(job))

    def _beat(self) -> None:
        """Gives a sign of life, and looks for workers that give none any more."""
        if time.monotonic() - self.beaten < lease.BEAT_SECONDS:
            return
        self.beaten = time.monotonic()
        trials = [job.trial for job in self.jobs]
        self.board.beat(trials)
        for job, mine in zip(list(self.jobs), self.board.still_mine(trials), strict=True):
            if not mine and not job.lost:
                self.say(_taken(job))
                job.lost = True
                job.process.stop()
        self.board.free_lost(trials, alone=False)

    def _drop(self, job: Job) -> None:
        self.jobs.remove(job)
        self.free.append(job.process.slot)

    def _is_here(self, trial: FrozenTrial) -> bool:
        folder = run_folder(self.folder, self.plan.definition, leg_of(trial))
        return (folder / "last.ckpt").is_file()

    def _write(self, trials: list[FrozenTrial], *, must: bool) -> None:
        values = study_values(self.plan, self.board.database.shown, trials, self.queue.kept)
        if values == self.written:
            return
        try:
            write_study(self.file, values)
            self.written = values
        except UserError as error:  # a full disk: the next look tries again
            if must:
                raise
            self.say(str(error))

    def _stop_children(self) -> None:
        """Has the children save and stop; a second Ctrl-C does not wait for that."""
        for job in self.jobs:
            job.process.stop()
        while any(job.process.poll() is None and not job.waiting for job in self.jobs):
            if self.signals.count > 1:
                for job in self.jobs:
                    job.process.kill()
            time.sleep(TICK_SECONDS)

    def _release(self) -> None:
        """Puts the trials back into the queue."""
        try:
            for job in self.jobs:
                if not job.lost:
                    self.board.release(job.trial)
            self._write(self.board.trials(), must=False)
        except (Stopped, DatabaseAway):
            self.say("the database did not hear of it; the next call finds the runs in their folders")

    def _farewell(self) -> str:
        kept = sum(job.process.mark != "" for job in self.jobs)
        on = f"{len(self.jobs)} runs were on, {kept} of them saved" if self.jobs else "no run was on"
        return f"stopped by {self.signals.said}; {on}; go on with the same command"


def _taken(job: Job) -> str:
    return f"lost    {job.leg.name}: another worker has it, since no sign of this one came through"
