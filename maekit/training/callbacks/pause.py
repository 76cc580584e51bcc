"""A run that stops early on purpose, and goes on later as if it never had."""

from lightning.pytorch import Callback, LightningModule, Trainer


class Pause(Callback):
    """Ends the fit in order after so many optimizer steps: measured and saved, as at a run's own end.

    The schedule still spans the whole run.

    Args:
        step: optimizer steps in all, those of earlier parts of the run among them.
    """

    def __init__(self, step: int) -> None:
        self.step = step

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Takes no step if the run is there already, as when it was killed after the step and before its end."""
        if trainer.global_step >= self.step:
            trainer.should_stop = True

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: object) -> None:
        """Stops here when the step is reached."""
        if trainer.global_step >= self.step:
            trainer.should_stop = True
