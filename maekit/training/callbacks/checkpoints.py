"""Two callbacks that save `last.ckpt`, from which a run resumes, and `best.ckpt`, the best weights.

Neither file is replaced by a state with NaN or infinity, nor by one from the middle of a step.
"""

import math
import time
from pathlib import Path
from typing import Literal

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint

from maekit.base.checkpoint_card import read_card
from maekit.errors import UserError
from maekit.training.callbacks.averaging import averages
from maekit.training.callbacks.evaluation import write_evaluation
from maekit.training.nan_guard import NotFiniteError, anywhere, raise_together, state_fault
from maekit.training.run_module import CheckpointDict, RunModule, run_module


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
            unsound = not module.is_whole() or module.is_frozen() or _fault(trainer) is not None
            if not anywhere(trainer, unsound):
                self._write(trainer)
        if isinstance(exception, NotFiniteError):
            exception.kept = kept(self.path)

    def _save(self, trainer: Trainer) -> None:
        run_module(trainer.lightning_module).require_finite()
        raise_together(trainer, _fault(trainer), known=False)
        self._write(trainer)

    def _write(self, trainer: Trainer) -> None:
        trainer.save_checkpoint(self.path)
        self.saved_step, self.saved_at = trainer.global_step, time.monotonic()


def kept(path: Path) -> str:
    """Returns which state a checkpoint holds, for a message."""
    if not path.is_file():
        return f"nothing was saved, there is no {path.name}"
    return f"{path} keeps the state of step {read_card(path).step}"


def _fault(trainer: Trainer) -> str | None:
    """Returns a message about a tensor of the next checkpoint that is not finite, or None."""
    module = trainer.lightning_module
    found = state_fault(module, trainer.optimizers, averages(trainer))
    return f"{found} is not finite after step {trainer.global_step}" if found else None


class SaveBest(Checkpoint):
    """Saves the weights with the best value of one metric, and the files of that validation.

    Args:
        folder: the run's folder.
        metric: its log key, such as `val/top1`.
        mode: whether a higher or a lower value is better.
    """

    def __init__(self, folder: Path, metric: str, mode: Literal["max", "min"]) -> None:
        self.path = folder / "best.ckpt"
        self.metric = metric
        self.mode = mode
        self.value: float | None = None
        self.step = 0

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Saves if the metric improved; NaN and infinity never count as better."""
        if trainer.state.fn != "fit" or trainer.sanity_checking:
            return
        module = run_module(pl_module)
        new = float(trainer.callback_metrics.get(self.metric, math.nan))
        better = self.value is None or (new > self.value if self.mode == "max" else new < self.value)
        if math.isfinite(new) and better:
            raise_together(trainer, _fault(trainer), known=False)
            trainer.save_checkpoint(self.path, weights_only=True)
            self.value, self.step = new, trainer.global_step
            self._write(trainer, module, self.path.name)
        elif self.value is None:
            self._write(trainer, module, None)
        module.results = {}  # frees their memory

    def _write(self, trainer: Trainer, module: RunModule, checkpoint: str | None) -> None:
        if trainer.is_global_zero:
            write_evaluation(self.path.parent, module, checkpoint, trainer.global_step)

    def state_dict(self) -> dict[str, object]:
        """Returns the best value so far and its step."""
        return {"value": self.value, "step": self.step}

    def load_state_dict(self, state_dict: CheckpointDict) -> None:
        """Restores the best value so far and its step."""
        self.value, self.step = state_dict["value"], state_dict["step"]


def forget_best(checkpoint: CheckpointDict) -> None:
    """Forgets the best value in a checkpoint, in place, so that the resumed run's next validation is the best."""
    checkpoint["callbacks"] = {**checkpoint["callbacks"], SaveBest.__qualname__: {"value": None, "step": 0}}
