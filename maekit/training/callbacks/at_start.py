"""What is done when the first step is about to be made: a checkpoint, if any, has been accepted and restored."""

from collections.abc import Callable

from lightning.pytorch import Callback, LightningModule, Trainer


class AtStart(Callback):
    """Calls a function on the first rank before the first step, and before the validation that a resumed run makes up.

    Args:
        what: such as to write the run's settings, which a refused resume must not change.
    """

    def __init__(self, what: Callable[[], None]) -> None:
        self.what = what

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Calls it."""
        if trainer.is_global_zero:
            self.what()
