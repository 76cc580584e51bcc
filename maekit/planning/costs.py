"""Time of a step and of a whole run from arithmetic, and the disk that a run fills. All predicted, nothing measured."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from maekit.optim.batch_plan import BatchPlan
from maekit.planning.images import Images
from maekit.planning.memory import Counts
from maekit.planning.state import State

SHARE = 0.4  # of a card's peak arithmetic that training reaches: an assumption, `--share` replaces it
LOGS = 64 * 2**20  # bytes of logs and pictures of a run: an allowance
OPTIMIZER_PASSES = 7  # reads of weight, gradient and two moments, writes of weight and moments


@dataclass(frozen=True)
class Rate:
    """How fast a device computes.

    Attributes:
        flops: operations a second that it reaches.
        overhead: seconds of an optimizer step that do not grow with the images.
        origin: where this is from.
    """

    flops: float
    overhead: float
    origin: str


def seconds_per_step(counts: Counts, plan: BatchPlan, rate: Rate, state: State, bandwidth: float | None) -> float:
    """Returns the seconds of one optimizer step of all devices; neither data loading nor communication is counted."""
    arithmetic = counts.flops.at(plan.device_batch) * plan.accumulation / rate.flops
    optimizer = OPTIMIZER_PASSES * state.trained / bandwidth if bandwidth else 0.0
    return arithmetic + optimizer + rate.overhead


@dataclass(frozen=True)
class Length:
    """How long a run is.

    Attributes:
        steps: optimizer steps; None where the number of images is not known.
        epochs: over the training images.
        validations: over the validation images.
    """

    steps: int | None
    epochs: float | None
    validations: int


def length_of(trainer: Mapping[str, Any], images: Images, total_batch: int) -> Length:
    """Returns the length of a run by the recipe's section `trainer`."""
    per_epoch = images.train // total_batch if images.train else None
    steps, epochs = (trainer.get(key) or -1 for key in ("max_steps", "max_epochs"))
    limits = [steps] if steps > 0 else []
    if per_epoch and epochs > 0:
        limits.append(per_epoch * epochs)
    if not limits:
        return Length(None, float(epochs) if epochs > 0 else None, 0)
    total = min(limits)
    return Length(total, total / per_epoch if per_epoch else None, _validations(trainer, total, per_epoch))


def _validations(trainer: Mapping[str, Any], steps: int, per_epoch: int | None) -> int:
    every = trainer.get("val_check_interval")
    if isinstance(every, int) and not isinstance(every, bool):
        return max(steps // every, 1)
    if not per_epoch:
        return 1
    epochs = max(steps // per_epoch, 1)
    often = 1 / every if isinstance(every, float) and every > 0 else 1.0
    return max(int(epochs * often / (trainer.get("check_val_every_n_epoch") or 1)), 1)


def validation_seconds(counts: Counts, images: Images, devices: int, rate: Rate) -> float:
    """Returns the seconds of one validation over all validation images, by its arithmetic.

    A task that evaluates image by image, as segmentation does, is counted for one image, whatever the device batch.
    """
    line = counts.evaluation_flops
    return (line.slope or line.constant) * (images.val or 0) / devices / rate.flops


@dataclass(frozen=True)
class Disk:
    """Bytes of a run's folder: see `disk_of`."""

    last: int
    best: int
    temporary: int
    logs: int = LOGS

    @property
    def total(self) -> int:
        """The sum of all."""
        return self.last + self.best + self.temporary + self.logs


def disk_of(whole: State) -> Disk:
    """Returns the bytes of last.ckpt and best.ckpt, and of the copy of last.ckpt while the next one is written.

    Args:
        whole: of one device without sharding, since checkpoints are whole under every strategy.
    """
    weights = whole.trained + whole.frozen + whole.buffers
    last = weights + whole.optimizer + whole.average
    return Disk(last, weights, last)
