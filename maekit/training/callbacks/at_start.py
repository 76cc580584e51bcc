"""Runs functions as a run sets up, and right before its first step, when a resumed run has been restored."""

from collections.abc import Callable

from lightning.pytorch import Callback, LightningModule, Trainer


class AtSetup(Callback):
    """Calls a function on every rank as soon as they are joined, before anything is restored.

    Args:
        function: such as one that compares the ranks.
    """

    def __init__(self, function: Callable[[], None]) -> None:
        self.function = function

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Calls the function, on every rank."""
        self.function()


class AtStart(Callback):
    """Calls a function on the first rank, before the first step and the validation that a resumed run repeats.

    Args:
        function: such as one that writes the run's settings, which a refused resume must not change.
    """

    def __init__(self, function: Callable[[], None]) -> None:
        self.function = function

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Calls the function, on the first rank only."""
        if trainer.is_global_zero:
            self.function()
