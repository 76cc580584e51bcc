"""Ctrl-C, SIGTERM and SLURM's signals: the run stops between two batches, with its state saved."""

import os
import shutil
import signal
import subprocess
import threading
from types import FrameType
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from maekit.errors import Interrupted

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)


class Interruption(Callback):
    """Turns a signal into an orderly stop at the next batch; a second Ctrl-C stops at once.

    SIGUSR1 in a SLURM job (`#SBATCH --signal=SIGUSR1@90`) also puts the job back into the queue.

    What was saved, and how the run goes on, `run_end` adds to its message.
    """

    def __init__(self) -> None:
        self.received: int | None = None
        self.owner = os.getpid()
        self.previous: dict[int, Any] = {}

    def __enter__(self) -> None:
        """Takes the signals over, before Lightning does; only the main thread may."""
        if threading.current_thread() is threading.main_thread():
            self.previous = {number: signal.signal(number, self._receive) for number in SIGNALS}

    def __exit__(self, *_: object) -> None:
        """Gives the signals back."""
        for number, handler in self.previous.items():
            signal.signal(number, handler)
        self.previous = {}

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        """Stops here when a signal came."""
        self._stop_if_told(trainer)

    def on_validation_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        """Stops here when a signal came."""
        self._stop_if_told(trainer)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self.owner:
            return  # a data-loading worker, forked with this handler: the run still needs it
        if self.received == signal.SIGINT == number:
            raise KeyboardInterrupt
        self.received = number

    def _stop_if_told(self, trainer: Trainer) -> None:
        told = self.received is not None
        if trainer.world_size > 1:
            told = trainer.strategy.reduce_boolean_decision(told, all=False)
        if not told:
            return
        number = self.received or signal.SIGTERM
        requeued = number == signal.SIGUSR1 and trainer.is_global_zero and requeue()
        queue = ", the job is back in the queue" if requeued else ""
        name = "Ctrl-C" if number == signal.SIGINT else signal.Signals(number).name
        raise Interrupted(f"stopped by {name} at step {trainer.global_step}{queue}", number)


def requeue() -> bool:
    """Asks SLURM to run this job again; returns whether it agreed. Outside a SLURM job there is nothing to ask."""
    job, scontrol = os.environ.get("SLURM_JOB_ID"), shutil.which("scontrol")
    if job is None or scontrol is None:
        return False
    return subprocess.run([scontrol, "requeue", job], check=False).returncode == 0
