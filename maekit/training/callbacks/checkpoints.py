"""Saves `last.ckpt`, from which a run resumes; no state with NaN or infinity, nor one from the middle of a step."""

import time
from pathlib import Path

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint

from maekit.base.checkpoint_card import read_card
from maekit.errors import UserError
from maekit.training.callbacks.averaging import averages
from maekit.training.nan_guard import NotFiniteError, anywhere, raise_together, state_fault
from maekit.training.run_module import run_module


class SaveLast(Checkpoint):
    """Saves the full state of the newest optimizer step, whatever the metric does.

    It saves after every validation and epoch, every few minutes, and when the run is interrupted or fails.

    Args:
        folder: the run's folder.
        every_minutes: at most this long between two saves; 0 saves after every optimizer step.
    """

    def __init__(self, folder: Path, every_minutes: float) -> None:
        self.path = folder / "last.ckpt"
        self.every_seconds = 60 * every_minutes
        self.saved_step = 0
        self.stop_asked = False
        self.saved_at = time.monotonic()

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Marks the first step as saved: a resumed run starts from its checkpoint."""
        self.saved_step, self.saved_at = trainer.global_step, time.monotonic()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: object, batch: object, batch_idx: int
    ) -> None:
        """Saves if a save is due; the ranks agree on it. A run that is asked to stop completes its step first."""
        if trainer.should_stop and (batch_idx + 1) % run_module(pl_module).plan.accumulation:
            trainer.should_stop, self.stop_asked = False, True
        elif self.stop_asked:
            trainer.should_stop, self.stop_asked = True, False
        if trainer.global_step > self.saved_step and run_module(pl_module).is_whole():
            due = time.monotonic() - self.saved_at >= self.every_seconds
            if trainer.world_size > 1:  # asking the others waits for the device
                due = run_module(pl_module).may_wait() and trainer.strategy.reduce_boolean_decision(due, all=False)
            if due:
                self._save(trainer)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Saves after a validation inside a run, unless it came in the middle of a step, as one by the clock may."""
        if trainer.state.fn == "fit" and not trainer.sanity_checking and run_module(pl_module).is_whole():
            self._save(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Saves an epoch that ended without a validation."""
        if trainer.global_step > self.saved_step:
            self._save(trainer)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Saves a run that max_steps ended inside an epoch."""
        if trainer.global_step > self.saved_step:
            self._save(trainer)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Saves the last complete step of a run that stops, if it is finite, and sets `kept` of a NotFiniteError.

        Processes that did not agree to stop cannot save together.
        """
        together = trainer.world_size == 1 or (isinstance(exception, UserError) and exception.shared)
        new = trainer.state.fn == "fit" and trainer.global_step > self.saved_step
        module = run_module(pl_module)
        if new and together:
            unsound = not module.is_whole() or module.is_frozen() or unsound_state(trainer) is not None
            if not anywhere(trainer, unsound):
                self._write(trainer)
        if isinstance(exception, NotFiniteError):
            exception.kept = kept(self.path)

    def _save(self, trainer: Trainer) -> None:
        run_module(trainer.lightning_module).require_finite()
        raise_together(trainer, unsound_state(trainer), known=False)
        self._write(trainer)

    def _write(self, trainer: Trainer) -> None:
        trainer.save_checkpoint(self.path)
        self.saved_step, self.saved_at = trainer.global_step, time.monotonic()


def kept(path: Path) -> str:
    """Returns which state a checkpoint holds, for a message."""
    if not path.is_file():
        return f"nothing was saved, there is no {path.name}"
    return f"{path} keeps the state of step {read_card(path).step}"


def unsound_state(trainer: Trainer) -> str | None:
    """Returns a message about a tensor of the next checkpoint that is not finite, or None."""
    module = trainer.lightning_module
    found = state_fault(module, trainer.optimizers, averages(trainer))
    return f"{found} is not finite after step {trainer.global_step}" if found else None
