"""A validation where Lightning would leave one out: at the end of a run, and where a resumed one was stopped."""

from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer


class CatchUp(Callback):
    """Validates a run that `max_steps` ended between two validations, or that was stopped inside one.

    It stands before the callbacks that save, so that they see its result.
    """

    def __init__(self) -> None:
        self.validated_step = 0

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Notes the step."""
        if not trainer.sanity_checking:
            self.validated_step = trainer.global_step

    def on_train_start(self, trainer: Trainer, pl_module: Any) -> None:
        """Makes up for the validation in which the run was stopped."""
        step = trainer.global_step
        if step != self.validated_step and step % steps_between(trainer, pl_module) == 0:
            validate(trainer)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Measures the final weights."""
        if trainer.global_step != self.validated_step:
            validate(trainer)

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run must know."""
        return {"validated_step": self.validated_step}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Goes on from an earlier part of the run."""
        self.validated_step = state_dict["validated_step"]


def steps_between(trainer: Trainer, module: Any) -> int:
    """Optimizer steps from one validation to the next."""
    interval = trainer.val_check_interval
    if isinstance(interval, int):
        return max(interval // int(module.plan.accumulation), 1)
    if isinstance(interval, float) and interval < 1:
        return max(int(module.steps_per_epoch * interval), 1)
    return int(module.steps_per_epoch) * (trainer.check_val_every_n_epoch or 1)


def validate(trainer: Trainer) -> None:
    """Runs the validation loop inside the fit, as the training loop does."""
    trainer.validating = True
    trainer.fit_loop.epoch_loop.val_loop.run()
    trainer.training = True
