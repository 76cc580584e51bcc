"""Pauses a run at a given step; it resumes later as if it had not been paused."""

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import Timer

from maekit.system.terminal import say
from maekit.training.run_module import callbacks_of

_NOTHING = "note    nothing is trained, the run is where it paused"


class Pause(Callback):
    """Ends the fit after an optimizer step, validated and saved as at the end of the run.

    The schedule still spans the whole run.

    Args:
        step: optimizer steps since the start of the run, those of earlier sessions included; None pauses at none.
    """

    def __init__(self, step: int | None) -> None:
        self.step = step

    def is_reached(self, trainer: Trainer) -> bool:
        """Whether the run has made its steps."""
        return self.step is not None and trainer.global_step >= self.step

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Says so where all of `--trainer.max_time` is used up: Lightning then ends the fit before it begins."""
        if is_out_of_time(trainer):
            say(f"{_NOTHING}: its --trainer.max_time is used up; give a longer one, or --trainer.max_time null")

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Takes no step if the run has reached the step, as when it was killed after it and before the final save."""
        if self.is_reached(trainer):
            trainer.should_stop = True
            say(
                f"{_NOTHING}: it pauses at --run.stop_at_step {self.step}; give a later one, or --run.stop_at_step null"
            )

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: object) -> None:
        """Stops the fit when the step is reached."""
        if self.is_reached(trainer):
            trainer.should_stop = True


def is_out_of_time(trainer: Trainer) -> bool:
    """Whether all of `--trainer.max_time` is used up."""
    return any(isinstance(one, Timer) and (one.time_remaining() or 0) <= 0 for one in callbacks_of(trainer))
