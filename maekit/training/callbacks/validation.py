"""Runs validations that Lightning skips: at the end of a run, and where a resumed run was stopped."""

from lightning.pytorch import Callback, LightningModule, Trainer

from maekit.training.run_module import CheckpointDict, RunModule, run_module


class CatchUp(Callback):
    """Validates a run that `max_steps` ended between two validations, or that was stopped before one was complete.

    An interrupted validation is repeated over all images, also at the last step of a run. This callback must come
    before those that save, so that they see its result.
    """

    def __init__(self) -> None:
        self.validated_step = 0
        self.begun_step = 0
        self.limits: tuple[int, int | None] | None = None

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: CheckpointDict) -> None:
        """Removes the step limits of a run that has taken all its steps: Lightning would not start it."""
        if checkpoint["global_step"] >= run_module(pl_module).total_steps():
            self.limits = (trainer.fit_loop.max_steps, trainer.fit_loop.max_epochs)
            trainer.fit_loop.epoch_loop.max_steps, trainer.fit_loop.max_epochs = -1, -1

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Remembers at which step a validation began, to repeat it if it is interrupted."""
        if not trainer.sanity_checking:
            self.begun_step = trainer.global_step

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Remembers at which step a validation was completed."""
        if not trainer.sanity_checking:
            self.validated_step = trainer.global_step

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Restores the limits, and runs the validation that was interrupted or that was due when the run stopped."""
        if self.limits is not None:
            trainer.fit_loop.epoch_loop.max_steps, trainer.fit_loop.max_epochs = self.limits
        step = trainer.global_step
        if (
            step
            and step != self.validated_step
            and (step == self.begun_step or is_due(trainer, run_module(pl_module), step))
        ):
            validate(trainer)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Validates the final weights, if that was not done."""
        if trainer.global_step != self.validated_step:
            validate(trainer)

    def state_dict(self) -> dict[str, object]:
        """Returns the steps at which the last validation began and the last one was completed."""
        return {"validated_step": self.validated_step, "begun_step": self.begun_step}

    def load_state_dict(self, state_dict: CheckpointDict) -> None:
        """Restores these steps; checkpoints of maekit 0.1 lack `begun_step`."""
        self.validated_step, self.begun_step = state_dict["validated_step"], state_dict.get("begun_step", 0)


def count_in_batches(trainer: Trainer, accumulation: int, steps_per_epoch: int) -> None:
    """Turns `val_check_interval`, which is in optimizer steps or a share of an epoch, into Lightning's device batches.

    A share of an epoch becomes whole optimizer steps: in batches it would depend on the accumulation, and fall between
    two steps. Intervals of time, and whole epochs (1.0), stay as they are.

    Args:
        trainer: Lightning's Trainer, before it runs.
        accumulation: device batches of an optimizer step.
        steps_per_epoch: optimizer steps of an epoch.
    """
    interval = interval_of(trainer)
    if isinstance(interval, float) and interval < 1:
        interval = max(int(steps_per_epoch * interval), 1)
    if isinstance(interval, int):
        trainer.val_check_interval = interval * accumulation


def interval_of(trainer: Trainer) -> int | float | None:
    """Returns `val_check_interval` in device batches (whole numbers) or epochs; None where it is a time."""
    return vars(trainer).get("val_check_interval")  # Lightning does not set it if the interval is a time


def is_due(trainer: Trainer, module: RunModule, step: int) -> bool:
    """Whether the training loop validates after an optimizer step, from 1."""
    interval, epochs = interval_of(trainer), trainer.check_val_every_n_epoch
    if interval is None:
        return False
    steps = interval // module.plan.accumulation if isinstance(interval, int) else module.steps_per_epoch
    if epochs is None:  # counted over epochs
        return isinstance(interval, int) and step % max(steps, 1) == 0
    epoch, within = divmod(step - 1, module.steps_per_epoch)
    return (epoch + 1) % epochs == 0 and (within + 1) % max(steps, 1) == 0


def validate(trainer: Trainer) -> None:
    """Runs the whole validation loop inside the fit, as the training loop does."""
    loop = trainer.fit_loop.epoch_loop.val_loop
    loop.restarting = False  # otherwise Lightning would continue at the batch of its counters
    trainer.validating = True
    loop.run()
    trainer.training = True
