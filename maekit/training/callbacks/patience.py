"""Ends a run early: its metric has not improved for a number of validations. Counts them over all its sessions."""

import math
from collections.abc import Collection
from typing import Literal

from lightning.pytorch import Callback, LightningModule, Trainer

from maekit.base.model import TransferModel
from maekit.errors import UserError
from maekit.recipes.options import RunOptions
from maekit.runs.early import EarlyStop
from maekit.system.numbers import number, plural
from maekit.training.callbacks.validation import interval_of, is_due
from maekit.training.nan_guard import anywhere
from maekit.training.processes.meeting import from_first
from maekit.training.run_module import CheckpointDict, RunModule, run_module

Mode = Literal["max", "min"]


class Patience(Callback):
    """Stops the fit after `patience` validations without improvement; without a patience it only counts them.

    Only validations that the settings schedule count: one more, as at a pause, an uninterrupted run does not have.
    This callback must come after those that validate and before those that save, so that `last.ckpt` has its counters.

    Args:
        metric: its log key, such as `val/top1`.
        mode: whether a higher or a lower value is better.
        patience: validations without improvement after which the run ends; None never ends it.
        min_delta: a value counts as an improvement if it is better by more than this, in the metric's own unit.

    Attributes:
        value: the last value that was an improvement; None before the first validation.
        step: the optimizer step of that validation.
        validations: how many came after it.
    """

    def __init__(self, metric: str, mode: Mode, patience: int | None, min_delta: float) -> None:
        self.metric, self.mode = metric, mode
        self.patience, self.min_delta = patience, min_delta
        self.value: float | None = None
        self.step = 0
        self.validations = 0

    @property
    def reached(self) -> bool:
        """Whether the run is to end now."""
        return self.patience is not None and self.validations >= self.patience

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Takes no step if the run had ended early, as when it was killed before its result was written."""
        if self.reached:
            trainer.should_stop = True

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Counts a validation; before the first step it refuses a metric that the task does not measure."""
        if trainer.state.fn != "fit":
            return
        module = run_module(pl_module)
        measured = from_first(self.metric in trainer.callback_metrics)
        if not measured and not (trainer.sanity_checking and _measures_more(module.model)):
            names = ", ".join(sorted(key for key in trainer.callback_metrics if key.startswith("val/")))
            error = UserError(
                f"got no {self.metric} from a validation, by which the best weights are chosen, expected one of "
                f"{names or 'no metric at all'}; mend `monitor` or the metrics of the task's model"
            )
            error.shared = True
            raise error
        if not trainer.sanity_checking and is_due(trainer, module, trainer.global_step):
            self.count(monitored(trainer, self.metric), trainer.global_step)
            if anywhere(trainer, self.reached):
                trainer.should_stop = True

    def count(self, value: float, step: int) -> None:
        """Counts a validation.

        Args:
            value: the metric; NaN and infinity are never an improvement.
            step: optimizer steps done.
        """
        if math.isfinite(value) and (self.value is None or self._gain(value) > self.min_delta):
            self.value, self.step, self.validations = value, step, 0
        else:
            self.validations += 1

    def ended(self) -> EarlyStop:
        """Returns why the run ended early."""
        assert self.patience is not None
        return EarlyStop(self.patience, self.min_delta, self.validations, self.metric, self.value, self.step)

    def _gain(self, value: float) -> float:
        assert self.value is not None
        return value - self.value if self.mode == "max" else self.value - value

    def state_dict(self) -> dict[str, object]:
        """Returns the last improvement, its step, and the validations since."""
        return {"value": self.value, "step": self.step, "validations": self.validations}

    def load_state_dict(self, state_dict: CheckpointDict) -> None:
        """Restores them."""
        self.value, self.step = state_dict["value"], state_dict["step"]
        self.validations = state_dict["validations"]


def monitored(trainer: Trainer, metric: str) -> float:
    """Returns a metric of the last validation, NaN without it; the first process's, which alone has side metrics."""
    return float(from_first(float(trainer.callback_metrics.get(metric, math.nan))))


def require_validations(
    trainer: Trainer, module: RunModule, options: RunOptions, given: Collection[str], total: int
) -> list[str]:
    """Refuses a patience, or several best checkpoints, that were asked for in a run that never measures its metric.

    Those of a recipe are no reason to refuse a short run of it: it is said that they do nothing.

    Args:
        trainer: Lightning's Trainer, its intervals in device batches.
        module: knows the validation images.
        options: the section `run`.
        given: the settings that were given as flags.
        total: optimizer steps of the whole run.

    Returns:
        Lines for the terminal: what a patience means in steps, or that it cannot end this run.

    Raises:
        UserError: no validation measures it, or none before the last step; or a min_delta without a patience.
    """
    flag = f"--run.patience {options.patience}" if options.patience else f"--run.keep_best {options.keep_best}"
    if options.patience is None and options.min_delta and "run.min_delta" in given:
        raise UserError(
            f"got --run.min_delta {options.min_delta} without --run.patience, expected both: it is by how much a "
            "validation must be better; add --run.patience VALIDATIONS"
        )
    if options.patience is None and options.keep_best == 1:
        return []
    asked = not {"run.patience", "run.keep_best"}.isdisjoint(given)
    if trainer.limit_val_batches == 0 or not len(module.data.val_dataset()):
        why = "trainer.limit_val_batches is 0" if trainer.limit_val_batches == 0 else "the data has no such images"
        if not asked:
            return [f"note    {flag} does nothing: there are no validation images ({why})"]
        raise UserError(
            f"got {flag}, expected validation images, of which the metric is measured: {why}; mend that, or give "
            f"{'--run.patience null' if options.patience else '--run.keep_best 1'}"
        )
    if options.patience is None:
        return []
    metric, _ = module.model.monitor
    every, before = steps_between(trainer, module), num_due(trainer, module, total - 1)
    if before == 0 and asked:
        raise UserError(
            f"got {flag}, expected a validation before the run's last step, {total}: the first one is due after step "
            f"{every}; validate more often with --trainer.val_check_interval STEPS, or give --run.patience null"
        )
    if before <= options.patience:
        return [
            f"note    --run.patience {options.patience} cannot end this run early: it validates "
            f"{plural(before, 'time')} before its last step, {total}"
        ]
    least = f" by more than {number(options.min_delta)}" if options.min_delta else ""
    return [
        f"stop    when {metric} has not improved{least} for {plural(options.patience, 'validation')}, "
        f"about {plural(round(options.patience * total / max(num_due(trainer, module, total), 1)), 'step')}"
    ]


def steps_between(trainer: Trainer, module: RunModule) -> int:
    """Returns the optimizer steps up to the first validation that is due."""
    interval, epochs = interval_of(trainer), trainer.check_val_every_n_epoch
    steps = interval // module.plan.accumulation if isinstance(interval, int) else module.steps_per_epoch
    return max(steps, 1) if epochs is None else (epochs - 1) * module.steps_per_epoch + max(steps, 1)


def num_due(trainer: Trainer, module: RunModule, steps: int) -> int:
    """Returns how many validations are due in the first `steps` optimizer steps."""
    interval, epochs = interval_of(trainer), trainer.check_val_every_n_epoch
    each = module.steps_per_epoch
    every = max(interval // module.plan.accumulation if isinstance(interval, int) else each, 1)
    if epochs is None:
        return steps // every
    rounds, rest = divmod(steps, epochs * each)
    return rounds * (each // every) + max(rest - (epochs - 1) * each, 0) // every


def _measures_more(model: TransferModel) -> bool:
    """Whether a validation in the run may measure more than the sanity check before the first step."""
    return type(model).side_metrics is not TransferModel.side_metrics or "side_metrics" in vars(model)
