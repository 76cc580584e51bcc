"""A learning-rate range test: one short training in which the rates of all groups rise by one factor each step."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from lightning.pytorch import seed_everything

from maekit.base.data import RunData, TransferData
from maekit.base.model import TransferModel
from maekit.errors import UserError
from maekit.optim.batch_plan import BatchPlan, require_batch, solve_batch
from maekit.optim.lr_curve import LrCurve, LrStep
from maekit.optim.settings import Optimisation
from maekit.recipes.recipe import small_batch
from maekit.recipes.settings import Settings
from maekit.system.generators import untouched_generators
from maekit.system.hardware import autocast_of, set_matmul_precision
from maekit.system.terminal import say_all
from maekit.training.one_line_errors import one_line_errors
from maekit.training.search.device_batch import choose
from maekit.training.search.device_step import DeviceStep, training_steps
from maekit.training.start import require_one_device
from maekit.training.trainer import local_device


@dataclass(frozen=True)
class Ramp:
    """The rates of a range test, in the recipe's own terms: of `base_lr`, or of `lr`.

    Attributes:
        first: the rate of the first step.
        last: that of the last step, larger.
        steps: optimizer steps, 2 or more.
    """

    first: float
    last: float
    steps: int

    def rate(self, step: int) -> float:
        """Returns the rate of a step, counted from 0; it rises by the same factor each step."""
        return self.first * math.pow(self.last / self.first, step / (self.steps - 1))


def ramp_of(optim: Mapping[str, Any], first: str, last: str, steps: int) -> Ramp:
    """Returns the ramp that was asked for.

    Args:
        optim: the section of the settings, with one of `base_lr` and `lr`.
        first: the first rate: a number, in the recipe's terms, or a multiple of the recipe's own rate, such as 0.01x.
        last: the last rate, likewise.
        steps: optimizer steps.

    Raises:
        UserError: the ramp does not rise, a rate is no positive number, or there are fewer than 10 steps.
    """
    own = rate_of(optim)[1]
    rates = [_number(flag, text, own) for flag, text in (("--from", first), ("--to", last))]
    if rates[0] >= rates[1]:
        raise UserError(f"got --from {first} ({rates[0]:g}) and --to {last} ({rates[1]:g}), expected a rate that rises")
    if steps < 10:
        raise UserError(f"--steps: got {steps}, expected 10 or more; the default is 100")
    return Ramp(rates[0], rates[1], steps)


def rate_of(optim: Mapping[str, Any]) -> tuple[str, float]:
    """Returns which of `base_lr` and `lr` a recipe has, and its value."""
    key = "lr" if optim["base_lr"] is None else "base_lr"
    return key, float(optim[key])


def _number(flag: str, text: str, own: float) -> float:
    try:
        number = float(text.removesuffix("x")) * (own if text.endswith("x") else 1.0)
    except ValueError:
        number = math.nan
    if not (math.isfinite(number) and number > 0):
        raise UserError(f"{flag}: got {text}, expected a rate above 0 such as 1e-5, or a multiple such as 0.01x")
    return number


def find_lr(
    settings: Settings,
    data: TransferData,
    build: Callable[[], TransferModel],
    ramp: Ramp,
    progress: Callable[[LrCurve], object] | None = None,
) -> LrCurve:
    """Runs a range test on a model of its own, on one device, and leaves every generator as it was.

    Args:
        settings: checked values of every section.
        data: set up.
        build: makes the task's model.
        ramp: the rates.
        progress: called with the curve so far after each step.

    Returns:
        The steps up to the end of the ramp, or to where the loss had diverged.

    Raises:
        UserError: there are several devices, too few images, or a loss that is not finite in the first step.
    """
    require_one_device(settings, "a range test")
    data.require_trainable()
    optim, trainer, run = (settings.values[section] for section in ("optim", "trainer", "run"))
    images, few = len(data.train_dataset(run["seed"])), partial(small_batch, settings.recipe)
    require_batch(images, data.total_batch_size, optim["base_lr"], few)
    if run["num_threads"] is not None:
        torch.set_num_threads(run["num_threads"])
    set_matmul_precision(run["matmul_precision"])
    device = local_device(settings)
    with untouched_generators(), one_line_errors([]):
        seed_everything(run["seed"], verbose=False)
        model = build()
        start = model.load_start(complete=False)
        with autocast_of(trainer["precision"], device.type):
            train_data = model.training_data(data, device)
        at_once, lines = data.device_batch_size, [] if start is None else start.lines()
        if at_once == "auto":
            choice = choose(settings, model, 1)
            at_once, lines = choice.images, [*lines, choice.line()]
        plan = solve_batch(data.total_batch_size, at_once, 1, even=model.pairs_images, least=model.least_images)
        if progress is not None:
            say_all(lines + lines_of(train_data, plan, ramp, optim, device))
        return RangeTest(model.to(device), train_data, plan, optim, trainer, run["seed"]).run(ramp, progress)


def lines_of(data: RunData, plan: BatchPlan, ramp: Ramp, optim: Mapping[str, Any], device: torch.device) -> list[str]:
    """Returns what a test does, as lines for the terminal."""
    images = f"{plan.total} images, {plan.device_batch} at a time"
    return [
        f"data    {data.summary()}",
        f"ramp    {rate_of(optim)[0]} {ramp.first:.2e} to {ramp.last:.2e} in {ramp.steps} steps of {images}",
        f"device  1 x {device.type}",
    ]


class RangeTest:
    """One short training at the recipe's total batch and weight decay, without its warm-up and schedule.

    Args:
        model: with its initial weights, on its device; it is trained.
        data: what to train on, set up.
        plan: how the total batch is made on one device.
        optim: the section of the settings.
        trainer: the section of the settings.
        seed: of the order of the data and all draws.
    """

    def __init__(
        self,
        model: TransferModel,
        data: RunData,
        plan: BatchPlan,
        optim: Mapping[str, Any],
        trainer: Mapping[str, Any],
        seed: int,
    ) -> None:
        device = next(model.parameters()).device
        self.key, self.own = rate_of(optim)
        self.optimizer = Optimisation(**optim).make_optimizer(model, model.backbone, plan.total)
        self.micro = DeviceStep(model, device, trainer, seed=seed, accumulation=plan.accumulation)
        self.batches = training_steps(data, plan, seed=seed, pin=device.type == "cuda")

    def run(self, ramp: Ramp, progress: Callable[[LrCurve], object] | None = None) -> LrCurve:
        """Trains along the ramp until its end or until the loss has diverged.

        Raises:
            UserError: the loss or the gradient of the first step is not finite.
        """
        curve = LrCurve(self.key, self.own, ramp.first, ramp.last, ramp.steps, ())
        while len(curve.steps) < ramp.steps and not curve.diverged:
            done = self._step(len(curve.steps), ramp)
            if done.step == 0 and not done.is_finite():
                raise UserError(
                    f"got a loss of {done.loss:g} and a gradient norm of {done.gradient_norm:g} in the first step, "
                    "before any weight has changed: look at the weights and the data, or give --trainer.precision "
                    "32-true"
                )
            curve = replace(curve, steps=(*curve.steps, done))
            if progress is not None:
                progress(curve)
        return curve

    def _step(self, step: int, ramp: Ramp) -> LrStep:
        factor = ramp.rate(step) / self.own
        for group in self.optimizer.param_groups:
            group["lr"] = group["peak_lr"] * factor
        losses = [self.micro.backward(batch, step, place) for place, batch in enumerate(next(self.batches))]
        norm = self.micro.update(self.optimizer)
        largest = max(group["lr"] for group in self.optimizer.param_groups)
        return LrStep(step, ramp.rate(step), largest, float(torch.stack(losses).mean()), float(norm))
