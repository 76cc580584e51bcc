"""What a learning-rate range test found: its curve, and the rate to take from it. Imports no torch."""

import math
from dataclasses import dataclass
from statistics import mean

RULE = "the first rate at which the smoothed loss has made nine tenths of its fall"
_SHARE = 0.9  # of the fall: the minimum itself is noise where the loss stays low over decades
_WINDOW = 5  # steps whose losses must all be far above the first before a test stops: one batch may be odd
_FAR = 2.0  # times the first losses
_LEAST_FALL = 0.02  # of the first losses: less is noise
_CLEAR_FALL = 0.1  # of the first losses: a loss that fell so much and is above them again has diverged


@dataclass(frozen=True)
class LrStep:
    """One optimizer step of a range test.

    Attributes:
        step: from 0.
        rate: in the recipe's terms, `base_lr` or `lr`.
        lr: the largest group's learning rate in this step.
        loss: mean over the total batch, before the step.
        gradient_norm: over all parameters, before clipping.
    """

    step: int
    rate: float
    lr: float
    loss: float
    gradient_norm: float

    def is_finite(self) -> bool:
        """Whether loss and gradient are finite."""
        return math.isfinite(self.loss) and math.isfinite(self.gradient_norm)


@dataclass(frozen=True)
class LrCurve:
    """A range test.

    Attributes:
        key: the recipe's term for the rate: `base_lr` (per 256 images) or `lr`.
        own: the recipe's own rate.
        first: the ramp's first rate.
        last: its last rate.
        num_steps: how many steps it has.
        steps: those that were made; fewer where the loss diverged.
    """

    key: str
    own: float
    first: float
    last: float
    num_steps: int
    steps: tuple[LrStep, ...]

    @property
    def diverged(self) -> bool:
        """Whether the newest step's loss is not finite, or the last few are all too high.

        That is above twice the first losses, or above the first losses where they had fallen by a tenth before.
        """
        losses = [step.loss for step in self.steps]
        if not losses or not self.steps[-1].is_finite():
            return bool(losses)
        means = [mean(losses[place - _WINDOW : place]) for place in range(_WINDOW, len(losses) + 1)]
        fell = bool(means) and min(means) < (1 - _CLEAR_FALL) * self.level
        return bool(means) and min(losses[-_WINDOW:]) > (self.level if fell else _FAR * self.level)

    @property
    def level(self) -> float:
        """The loss before the rate matters: the mean of the finite ones in the first tenth of the ramp."""
        return mean(step.loss for step in self.steps[: max(self.num_steps // 10, 1)] if step.is_finite())

    def smoothed(self) -> list[float]:
        """Returns the mean of the losses around each step, weighted by a Gaussian a fortieth of the ramp wide."""
        width = max(self.num_steps / 40, 1.0)
        weight = [math.exp(-0.5 * (offset / width) ** 2) for offset in range(len(self.steps))]
        losses = [step.loss for step in self.steps if step.is_finite()]

        def at(place: int) -> float:
            weights = [weight[abs(other - place)] for other in range(len(losses))]
            return sum(w * loss for w, loss in zip(weights, losses, strict=True)) / sum(weights)

        return [at(min(place, len(losses) - 1)) for place in range(len(self.steps))]

    def suggestion(self) -> float | None:
        """Returns the rate to train with, to two digits; None if no rate of the ramp lowered the loss."""
        smoothed = self.smoothed()
        fall = self.level - min(smoothed)
        if fall < _LEAST_FALL * abs(self.level):
            return None
        place = next(place for place, loss in enumerate(smoothed) if loss <= self.level - _SHARE * fall)
        return float(f"{self.steps[place].rate:.1e}")

    def flag(self) -> str | None:
        """Returns the suggestion as the flag of `maekit fit`."""
        rate = self.suggestion()
        return None if rate is None else f"--optim.{self.key} {rate:.1e}"

    def lines(self) -> list[str]:
        """Returns what was found, as lines for the terminal."""
        made, rate = self.steps[-1], self.suggestion()
        end = f"ended  after step {made.step + 1} of {self.num_steps}, at {self.key} {made.rate:.1e}"
        lines = [end + (": the loss had diverged" if self.diverged else "")]
        if rate is None:
            return [*lines, f"found   nothing: no rate lowered the loss; move the ramp with --from and --to ({RULE})"]
        lines.append(f"found   {self.flag()} ({rate / self.own:.2g} times the recipe's {self.own:g}): {RULE}")
        smoothed, tenth = self.smoothed(), max(self.num_steps // 10, 1)
        if len(smoothed) > tenth and smoothed[-1] < smoothed[-1 - tenth] - 0.05 * (self.level - min(smoothed)):
            lines.append("note    the loss was still falling where the ramp ended: give a larger --to")
        return lines
