"""Handles Ctrl-C, SIGTERM, SIGHUP and SLURM's signals: saves the run, stops it, and prints what was saved."""

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Literal

from lightning.pytorch import Callback, LightningModule, Trainer

from maekit.errors import Interrupted
from maekit.system.rank import rank
from maekit.training.callbacks.watchdog import Watchdog
from maekit.training.processes.agreed import Agreed
from maekit.training.processes.meeting import gathered
from maekit.training.run_module import run_module

SIGNALS = (
    signal.SIGHUP,
    signal.SIGINT,
    signal.SIGTERM,
    signal.SIGUSR1,
)  # of several that processes received, the last one counts
_DELAY = 2  # batches after which processes on accelerators act on a signal, see `Agreed`
_AGAIN_SECONDS = 0.3  # a second SIGINT within this time is the same Ctrl-C, passed on by the run's workers


class Stop(BaseException):
    """Raised by a signal that ends the run at once. It is no `Exception`, since libraries catch those."""


class Interruption(Callback):
    """Stops a run on a signal: after the present batch while it trains or validates, else at once.

    A second Ctrl-C stops at once. So does each signal before the first batch, as while a run waits for another
    machine, and after the trained run was saved. If the main thread does not handle such a signal, the `Watchdog` ends
    the process. SIGHUP, of a terminal that was closed, is left alone where it is ignored, as under nohup; what is
    printed after it is lost, and not an error. SIGUSR1 in a SLURM job (`#SBATCH --signal=SIGUSR1@90`) also puts the job
    back into the queue.

    Args:
        trains: whether it is a fit, not a validation alone.
        first_step: optimizer steps done when a run resumes.

    Attributes:
        trainer: Lightning's Trainer of the run; None until there is one.
        last_words: returns what was saved and how to resume, for a process that ends without unwinding its stack.
    """

    def __init__(self, *, trains: bool = True, first_step: int = 0) -> None:
        self.trains = trains
        self.trainer: Trainer | None = None
        self.first_step = first_step
        self.last_words: Callable[[], str] = str
        self.received: int | None = None
        self.handled = 0  # signals that the main thread has handled
        self.phase: Literal["outside", "training", "stopping"] = "outside"
        self.owner = os.getpid()
        self.previous: dict[int, Callable[[int, FrameType | None], object] | int | None] = {}
        self.watchdog: Watchdog | None = None
        self.interrupted_at = -1.0
        self.agreed: Agreed | None = None
        self.terminals = [stream for stream in (1, 2) if os.isatty(stream)]
        self.all_stop = False  # whether every process stops at the same place

    def __enter__(self) -> None:
        """Installs the signal handlers, before Lightning does; in other threads than the main one it installs none."""
        if threading.current_thread() is threading.main_thread():
            heard = [n for n in SIGNALS if n != signal.SIGHUP or signal.getsignal(n) != signal.SIG_IGN]
            self.previous = {number: signal.signal(number, self._receive) for number in heard}
            self.watchdog = Watchdog(SIGNALS, self._is_urgent, self._end)

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        """Restores the former signal handlers; turns a stop by a signal into one line.

        Raises:
            Interrupted: a signal stopped the run outside its batches, or through Lightning, which prints nothing.
        """
        if self.watchdog is not None:
            self.watchdog.close()
            self.watchdog = None
        for number, handler in self.previous.items():
            signal.signal(number, handler)
        self.previous = {}
        ctrl_c = isinstance(error, KeyboardInterrupt) or isinstance(
            error.__context__ if error else None, KeyboardInterrupt
        )
        received = self.received or (signal.SIGINT if ctrl_c else None)
        if received is not None and isinstance(error, Stop | KeyboardInterrupt | SystemExit):
            self._end_children()
            raise Interrupted(self._message(received) + self._queued(received), received) from error
        if isinstance(error, Interrupted) and error.signal_number == signal.SIGUSR1:
            queued = self._queued(error.signal_number)  # now that all is saved
            if self.all_stop:
                with suppress(RuntimeError):  # one has gone already
                    gathered(None)  # srun may end all processes when one has ended: not before the job is requeued
            raise Interrupted(f"{error}{queued}", error.signal_number) from error

    @property
    def step(self) -> int:
        """Optimizer steps done, also before a checkpoint has been restored."""
        return max(self.trainer.global_step, self.first_step) if self.trainer is not None else 0

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Lets signals wait for the end of a batch from here on; Lightning no longer looks for them."""
        self.phase = "training"
        _ask_no_signals(trainer)

    def on_sanity_check_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Installs the SIGTERM handler again: Lightning's own, put in its place, ends the run without a message."""
        self._take_back()

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Installs the SIGTERM handler again: Lightning's own, put in its place, ends the run without a message."""
        self._take_back()

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: object) -> None:
        """Stops if a signal was received, unless the step is not complete and would lose its BatchNorm statistics."""
        if run_module(pl_module).is_whole():
            self._stop_if_signalled(trainer)

    def on_validation_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: object) -> None:
        """Stops if a signal was received during the batch."""
        self._stop_if_signalled(trainer)

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Lets signals stop at once from here on, since all is saved; stops if one was received before."""
        self._stop_if_signalled(trainer, agree=False)
        self.phase = "outside"

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Protects the saving that follows an error: only a second Ctrl-C may interrupt it."""
        self.phase = "stopping"

    def _take_back(self) -> None:
        if self.previous:
            signal.signal(signal.SIGTERM, self._receive)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self.owner:
            return  # a data-loading worker, forked with this handler: the run still needs it
        if number == signal.SIGHUP:
            self._leave_terminal()
        again = self.received == signal.SIGINT == number
        self.received = number
        self.handled += 1
        if again or self.phase == "outside":
            self.phase = "stopping"
            raise Stop

    def _leave_terminal(self) -> None:
        """Drops what is printed to a terminal that is gone: it would be an error, also while the run is saved."""
        gone = [stream for stream in self.terminals if not os.isatty(stream)]
        for stream in gone:
            with Path(os.devnull).open("wb") as nowhere:
                os.dup2(nowhere.fileno(), stream)

    def _is_urgent(self, number: int) -> bool:
        """Whether a signal that has just arrived must end the process soon; called by the watchdog."""
        now, before = time.monotonic(), self.interrupted_at
        if number == signal.SIGINT and before < 0:
            self.interrupted_at = now
        again = number == signal.SIGINT and 0 <= before < now - _AGAIN_SECONDS
        return again or self.phase == "outside"

    def _end(self, number: int) -> None:
        """Ends the process if its main thread has not handled the signal; otherwise it is stopping already."""
        if self.phase == "stopping" or (self.phase == "training" and self.handled > 1):
            return
        if rank() == 0:
            line = f"{self._message(number)}{self._queued(number)}{self.last_words()}"
            print(f"maekit: {line}", file=sys.stderr, flush=True)
        self._end_children()
        os._exit(128 + number)

    def _end_children(self) -> None:
        """Ends the processes that this one started for its other devices; they cannot go on without it."""
        launcher = self.trainer.strategy.launcher if self.trainer is not None else None
        if launcher is not None:
            launcher.kill(signal.SIGTERM)

    def _stop_if_signalled(self, trainer: Trainer, *, agree: bool = True) -> None:
        mine = 0 if self.received is None else 1 + SIGNALS.index(signal.Signals(self.received))
        if trainer.world_size > 1:
            if self.agreed is None:
                self.agreed = Agreed(0 if trainer.strategy.root_device.type == "cpu" else _DELAY)
            mine = self.agreed.largest(mine) if agree else max(mine, self.agreed.last())
        if mine:
            number, self.all_stop = SIGNALS[mine - 1], agree
            raise Interrupted(self._message(number), number)

    def _message(self, number: int) -> str:
        name = "Ctrl-C" if number == signal.SIGINT else signal.Signals(number).name
        return f"stopped by {name}" + (f" at step {self.step}" if self.trains else "; nothing was measured")

    def _queued(self, number: int) -> str:
        """Requeues the job after SIGUSR1, from the first process alone; returns what to say of it."""
        asked = self.trains and number == signal.SIGUSR1 and rank() == 0
        return ", the job is back in the queue" if asked and requeue() else ""


def requeue() -> bool:
    """Asks SLURM to requeue this job; returns whether it did, and False outside a SLURM job."""
    job, scontrol = os.environ.get("SLURM_JOB_ID"), shutil.which("scontrol")
    if job is None or scontrol is None:
        return False
    return subprocess.run([scontrol, "requeue", job], check=False).returncode == 0


def _ask_no_signals(trainer: Trainer) -> None:
    """Stops Lightning (2.6.4 and later) from asking all processes for a SIGTERM in each batch, which waits for devices.

    `Interruption` handles signals, and asks over the CPU.
    """
    loop = trainer.fit_loop.epoch_loop
    if "_broadcast_sigterm_tensor" in vars(type(loop)):
        setattr(loop, "_broadcast_sigterm_tensor", lambda: None)  # noqa: B010
