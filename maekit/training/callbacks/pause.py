"""Pauses a run at a given step; it resumes later as if it had not been paused."""

from lightning.pytorch import Callback, LightningModule, Trainer


class Pause(Callback):
    """Ends the fit after an optimizer step, validated and saved as at the end of the run.

    The schedule still spans the whole run.

    Args:
        step: optimizer steps since the start of the run, those of earlier sessions included.
    """

    def __init__(self, step: int) -> None:
        self.step = step

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Takes no step if the run has reached the step, as when it was killed after it and before the final save."""
        if trainer.global_step >= self.step:
            trainer.should_stop = True

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: object) -> None:
        """Stops the fit when the step is reached."""
        if trainer.global_step >= self.step:
            trainer.should_stop = True
