"""Learning-rate schedules as plain functions: `factor(step, group)` multiplies a group's peak rate."""

import math
from collections.abc import Callable, Sequence
from typing import Literal, TypeAlias

from maekit.errors import UserError
from maekit.optim.groups import TorchGroup

Kind = Literal["cosine", "poly", "multistep"]
Schedule: TypeAlias = Callable[[int, TorchGroup], float]


def make_schedule(
    kind: Kind,
    *,
    total_steps: int,
    warmup_steps: int,
    warmup_start: float = 0.0,
    min_lr: float = 0.0,
    min_lr_scaled: bool = False,
    power: float = 1.0,
    poly_after_warmup: bool = False,
    milestones: Sequence[int] = (),
    gamma: float = 0.1,
) -> Schedule:
    """Builds `factor(step, group)`, asked before optimizer step `step` (from 0); steps past the end count as the end.

    factor = warmup(step) x (floor + (1 - floor) x shape(step)), where the shape falls from 1. The group's `peak_lr` and
    `lr_scale` set the floor: min_lr / peak_lr, so that every group ends at `min_lr` and may rise to it (mmpretrain), or
    with `min_lr_scaled` ends at `min_lr` x lr_scale (facebookresearch/mae).

    Args:
        warmup_start: factor at step 0 of a linear warmup; 1 is reached at step `warmup_steps`.
        power, poly_after_warmup: of "poly"; it falls from step 0 with the warmup on top (BEiT's segmentation), or from
            the end of the warmup (mmsegmentation).
        milestones, gamma: of "multistep"; at each of these steps the rate is multiplied by `gamma`.

    Raises:
        UserError: a negative number of steps.
    """
    _check(total_steps, warmup_steps)

    def factor(step: int, group: TorchGroup) -> float:
        step = min(step, total_steps)
        match kind:
            case "cosine":
                shape = cosine(progress(step, warmup_steps, total_steps))
            case "poly":
                shape = poly(progress(step, warmup_steps if poly_after_warmup else 0, total_steps), power)
            case "multistep":
                shape = multistep(step, milestones, gamma)
        floor = min_lr * (group["lr_scale"] if min_lr_scaled else 1.0) / group["peak_lr"]
        rate: float = warmup(step, warmup_steps, warmup_start) * (floor + (1.0 - floor) * shape)
        return rate

    return factor


def _check(total_steps: int, warmup_steps: int) -> None:
    for name, steps in (("total", total_steps), ("warmup", warmup_steps)):
        if steps < 0:
            raise UserError(f"got {steps} {name} steps in the schedule, expected 0 or more; set the recipe's epochs")


def warmup(step: int, warmup_steps: int, start: float) -> float:
    """Returns the linear ramp from `start` at step 0 to 1 at step `warmup_steps` and after."""
    return start + (1.0 - start) * step / warmup_steps if step < warmup_steps else 1.0


def progress(step: int, begin: int, end: int) -> float:
    """Returns how much of the way from step `begin` to step `end` is done, in [0, 1]; 0 when there is no way to go."""
    return min(max(step - begin, 0) / (end - begin), 1.0) if begin < end else 0.0


def cosine(done: float) -> float:
    """Returns half a cosine: 1 at 0, 0 at 1 (facebookresearch/mae, util/lr_sched.py)."""
    return 0.5 * (1.0 + math.cos(math.pi * done))


def poly(done: float, power: float) -> float:
    """Returns (1 - done) ** power: 1 at 0, 0 at 1 (mmsegmentation)."""
    return float((1.0 - done) ** power)


def multistep(step: int, milestones: Sequence[int], gamma: float) -> float:
    """Returns `gamma` to the number of milestones reached; a milestone counts from its own step (detectron2)."""
    return float(gamma ** sum(step >= milestone for milestone in milestones))
