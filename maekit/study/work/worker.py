"""The loop of one worker: claims trials, trains them in its slots, and reports how they ended."""

import time
from collections.abc import Sequence
from pathlib import Path

from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import FrozenTrial

from maekit.errors import Interrupted, UserError
from maekit.runs.reached import seconds_so_far
from maekit.study.queue.queue import Queue
from maekit.study.queue.retry import DatabaseUnreachable, Say, Stopped
from maekit.study.queue.study_file import study_values, write_study
from maekit.study.queue.trials import spec_of
from maekit.study.work.devices import Slot
from maekit.study.work.forks import ForkServer
from maekit.study.work.process import FIT, Ended, Process
from maekit.study.work.running import RunningTrial, fit_flags, run_folder
from maekit.study.work.signals import Signals
from maekit.system.processes import wait_for_end

MAX_KILLS = 3  # of a run that is killed again and again without saving


class Worker:
    """Works on a study until it is complete.

    Args:
        queue: the study's trials.
        folder: its folder.
        file: the study is written to this file whenever it changes.
        slots: one run at a time in each.
        say: prints a line.
        signals: the signals that came.
        fit: the command that trains a run.
        server: starts runs of `maekit fit`; default: one of its own.
    """

    def __init__(
        self,
        queue: Queue,
        folder: Path,
        file: Path,
        slots: Sequence[Slot],
        say: Say,
        signals: Signals,
        fit: Sequence[str],
        server: ForkServer | None = None,
    ) -> None:
        self.queue = queue
        self.trial_list = queue.trial_list
        self.plan = queue.plan
        self.timing = queue.trial_list.database.timing
        self.folder = folder
        self.file = file
        self.free = list(slots)
        self.say = say
        self.signals = signals
        self.fit = fit
        self.server = server or (ForkServer(queue.plan.definition.task) if tuple(fit) == FIT else None)
        self.running: list[RunningTrial] = []
        self.last_refresh = self.last_heartbeat = self.last_report = 0.0
        self.written: dict[str, object] | None = None

    def run(self) -> None:
        """Runs until nothing is left to do, for this worker or any other.

        Raises:
            Interrupted: a signal came; the runs are saved and their trials back in the queue.
            DatabaseUnreachable: the database did not answer within the retry time; the runs are saved.
        """
        try:
            while not self._step():
                if self.signals.received():
                    raise Stopped
                children = (one.process.child for one in self.running)
                wait_for_end([child.pid for child in children if child is not None], self.timing.poll)
        except Stopped as stop:
            self._stop_runs()
            try:
                for one in self.running:
                    if not one.taken:
                        self.trial_list.release(one.trial)
                self._write(self.trial_list.all(), must=False)
            except (Stopped, DatabaseUnreachable):
                self.say("the database was not updated; the next call finds the runs in their folders")
            num_saved = sum(one.process.has_checkpoint for one in self.running)
            runs = f"{len(self.running)} runs were on, {num_saved} of them saved" if self.running else "no run was on"
            raise Interrupted(
                f"stopped by {self.signals.name}; {runs}; go on with the same command", self.signals.number
            ) from stop
        except BaseException:
            self._stop_runs()
            raise
        finally:
            if self.server is not None:
                self.server.close()

    def _step(self) -> bool:
        """Does one round; returns whether the study is complete."""
        changed = self._check_processes()
        self._heartbeat()
        self._prune_by_median()
        if not changed and time.monotonic() - self.last_refresh < self.timing.refresh:
            return False
        self.last_refresh = time.monotonic()
        trials = self.queue.fill(room=bool(self.free))
        while self.free and (claimed := self.queue.take(trials, self._has_checkpoint)) is not None:
            self._begin(claimed)
            trials = self.queue.fill(room=bool(self.free))
        complete = not self.running and self.queue.is_complete(trials)
        self._write(trials, must=complete)
        return complete

    def _begin(self, trial: FrozenTrial) -> None:
        """Starts a claimed trial's run; a run that an earlier worker finished is reported immediately."""
        spec = spec_of(trial)
        folder = run_folder(self.folder, self.plan, spec)
        self.trial_list.save(trial, "folder", str(folder.relative_to(self.folder)))
        start = trial.user_attrs.get("start")
        if start is None or not self._has_checkpoint(trial):
            start = {"step": 0, "seconds": 0.0}
            if self._has_checkpoint(trial):
                start = {"step": self.plan.start_step(spec), "seconds": seconds_so_far(folder) if spec.rung else 0.0}
            self.trial_list.save(trial, "start", start)
        flags = fit_flags(self.folder, self.plan, spec)
        process = Process(
            folder, self.folder / "logs" / f"{spec.run_name}.log", flags, self.free[0], self.fit, self.server
        )
        one = RunningTrial(trial, spec, process, self.plan, start, reported=set(trial.intermediate_values))
        if one.reached() is not None:
            self._finish(one, Ended("exited"))
            return
        self.running.append(one)
        self.free.pop(0)
        self._start(one)

    def _start(self, one: RunningTrial) -> None:
        one.last_save = one.process.last_save
        if one.process.start():
            one.waiting = False
            stop = self.plan.stop_step(one.spec)
            verb, to = "resume" if one.last_save else "begin ", f" to step {stop}" if stop else ""
            self.say(f"{verb}  {one.spec.run_name}{to} on {one.process.slot.name}")
        elif not one.waiting:
            one.waiting = True
            self.say(f"wait    {one.spec.run_name}: an earlier process is still in its folder, saving")

    def _check_processes(self) -> bool:
        """Starts those that waited, restarts those that were killed, reports those that ended.

        Returns:
            Whether a slot became free.
        """
        before = len(self.running)
        for one in list(self.running):
            ended = one.process.poll()
            if one.taken and (ended is not None or one.waiting):
                self._drop(one)
            elif ended is None and one.waiting:
                if one.reached() is None:
                    self._start(one)
                else:
                    self._drop(one)
                    self._finish(one, Ended("exited"))
            elif ended is not None and not self._restart_if_killed(one, ended):
                self._drop(one)
                if ended.kind in ("killed", "stopped") and not one.prune:
                    reason = f"{ended.reason} {one.num_kills} times without getting further; out of memory?"
                    ended = Ended("failed", reason)
                self._finish(one, ended)
        return len(self.running) < before

    def _restart_if_killed(self, one: RunningTrial, ended: Ended) -> bool:
        """Restarts a run that was killed from outside; False if it was not, or too often without saving."""
        if ended.kind not in ("killed", "stopped") or one.prune or one.reached() is not None:
            return False
        one.num_kills = one.num_kills + 1 if one.process.last_save == one.last_save else 1
        if one.num_kills >= MAX_KILLS:
            return False
        self.say(f"again   {one.spec.run_name}: {ended.reason}")
        self._start(one)
        return True

    def _prune_by_median(self) -> None:
        """Reports new validations, and stops runs that the median pruner gives up."""
        if self.plan.definition.pruning != "median" or time.monotonic() - self.last_report < self.timing.refresh:
            return
        self.last_report = time.monotonic()
        for one in self.running:
            if one.prune or one.waiting or not self._report(one):
                continue
            if self.trial_list.is_below_median(one.trial):
                one.prune = f"median: worse than half of the finished runs at step {max(one.reported)}"
                self.say(f"prune   {one.spec.run_name}: {one.prune}")
                one.process.stop()

    def _report(self, one: RunningTrial) -> bool:
        """Reports the metric at new validations; returns whether there were any."""
        new = {step: value for step, value in one.curve().items() if step not in one.reported}
        for step, value in new.items():
            self.trial_list.report(one.trial, step, value)
            one.reported.add(step)
        return bool(new)

    def _finish(self, one: RunningTrial, ended: Ended) -> None:
        """Reports to the database and the terminal how a trial ended."""
        try:
            if self.plan.definition.pruning == "median":
                self._report(one)  # later runs are compared with it
            outcome = one.outcome(ended)
            finished = self.trial_list.finish(one.trial, outcome.state, outcome.value, outcome.attributes)
            self.say(outcome.line if finished else _taken_line(one))
        except UpdateFinishedTrialError:
            self.say(_taken_line(one))

    def _heartbeat(self) -> None:
        """Records that this worker is alive, and takes the trials of dead workers."""
        if time.monotonic() - self.last_heartbeat < self.timing.heartbeat:
            return
        self.last_heartbeat = time.monotonic()
        trials = [one.trial for one in self.running]
        self.trial_list.heartbeat(trials)
        for one, owned in zip(list(self.running), self.trial_list.still_owned(trials), strict=True):
            if not owned and not one.taken:
                self.say(_taken_line(one))
                one.taken = True
                one.process.stop()
        self.trial_list.take_from_dead(trials, alone=False)

    def _drop(self, one: RunningTrial) -> None:
        self.running.remove(one)
        self.free.append(one.process.slot)

    def _has_checkpoint(self, trial: FrozenTrial) -> bool:
        return (run_folder(self.folder, self.plan, spec_of(trial)) / "last.ckpt").is_file()

    def _write(self, trials: list[FrozenTrial], *, must: bool) -> None:
        """Writes the study's file if anything changed; on a full disk the next round retries, unless `must`."""
        values = study_values(self.plan, self.trial_list.database.shown_url, trials, self.queue.kept)
        if values == self.written:
            return
        try:
            write_study(self.file, values)
            self.written = values
        except UserError as error:
            if must:
                raise
            self.say(str(error))

    def _stop_runs(self) -> None:
        """Stops all runs and waits until they have saved; a second Ctrl-C kills them."""
        for one in self.running:
            one.process.stop()
        while any(one.process.poll() is None and not one.waiting for one in self.running):
            if self.signals.num_interrupts > 1:
                for one in self.running:
                    one.process.kill()
            time.sleep(self.timing.poll)


def _taken_line(one: RunningTrial) -> str:
    return f"lost    {one.spec.run_name}: another worker has it, since no heartbeat of this one came through"
