"""Splits the total batch exactly into devices x device batch x accumulation, and scales the learning rate."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from maekit.errors import UserError

_REFERENCE_BATCH = 256  # base_lr is stated per so many images (linear scaling rule, arXiv 1706.02677)


@dataclass(frozen=True)
class BatchPlan:
    """How one optimizer step sees exactly `total` images: devices x device_batch x accumulation."""

    total: int
    devices: int
    device_batch: int
    accumulation: int


def solve_batch(total: int, device_batch: int | None, world: int, *, even: bool = False, least: int = 1) -> BatchPlan:
    """Splits `total` images over `world` devices, at most `device_batch` of them at a time on each.

    Args:
        device_batch: images a device holds at once; None or more than its share means the whole share at once.
        even: each device batch must be even, since mixup and cutmix pair its images.
        least: the smallest device batch that can be trained on; 2 where BatchNorm measures single pixels.

    Raises:
        UserError: no exact split exists, or its parts are too small; the line lists what works.
    """
    for what, number in (("total_batch_size", total), ("device_batch_size", device_batch), ("devices", world)):
        if number is not None and number < 1:
            raise UserError(f"got {what} {number}, expected 1 or more; set it in the recipe or by its flag")
    unit = 2 if even else 1
    if total % (world * unit):
        raise UserError(_no_share(total, world, unit))
    share = total // world
    size = share if device_batch is None else min(device_batch, share)
    if share % size or size % unit:
        raise UserError(_no_size(share, size, unit))
    if size < least:
        raise UserError(_too_small(total, share, size, least))
    return BatchPlan(total, world, size, share // size)


def device_batches(total: int, world: int, *, even: bool = False, least: int = 1) -> list[int]:
    """Returns the device batches, rising, with which `solve_batch` splits `total` images over `world` devices exactly.

    Raises:
        UserError: there are none; see `solve_batch`.
    """
    share = solve_batch(total, None, world, even=even, least=least).device_batch
    return [size for size in _divisors(share) if size >= least and not (even and size % 2)]


def _no_share(total: int, world: int, unit: int) -> str:
    step = world * unit
    totals = [number for number in (total // step * step, (total // step + 1) * step) if number]
    counts = [count for count in _divisors(total) if total // count % unit == 0]
    devices = f" or --trainer.devices {_list(_by_distance(counts, world))}" if counts else ""
    kind = "an even" if unit == 2 else "a whole"
    return (
        f"got total batch {total} on {world} devices, expected {kind} number of images "
        f"on each{_why(unit)}; set --data.total_batch_size {_list(totals)}{devices}"
    )


def _no_size(share: int, size: int, unit: int) -> str:
    sizes = [number for number in _divisors(share) if number % unit == 0]
    return (
        f"got device batch {size} for a share of {share} images a device, expected {'an even' if unit == 2 else 'a'} "
        f"divisor of {share}{_why(unit)}; set --data.device_batch_size {_list(_by_distance(sizes, size))}"
    )


def _too_small(total: int, share: int, size: int, least: int) -> str:
    enough = [number for number in _divisors(share) if number >= least]
    mend = (
        f"--data.device_batch_size {_list(_by_distance(enough, size))}"
        if enough
        else f"--data.total_batch_size {total // share * least}, or fewer --trainer.devices"
    )
    return (
        f"got device batch {size}, expected {least} or more, since BatchNorm measures single pixels in this task; "
        f"set {mend}"
    )


def _why(unit: int) -> str:
    return " since mixup and cutmix pair images" if unit == 2 else ""


def _divisors(number: int) -> list[int]:
    return [divisor for divisor in range(1, number + 1) if number % divisor == 0]


def _by_distance(numbers: Iterable[int], wanted: int) -> list[int]:
    return sorted(numbers, key=lambda number: abs(number - wanted))[:4]


def _list(numbers: list[int]) -> str:
    return " or ".join(", ".join(map(str, numbers)).rsplit(", ", 1))


def scaled_lr(base_lr: float | None, lr: float | None, total: int) -> float:
    """Returns the peak learning rate: base_lr x total / 256, or the absolute `lr`.

    Args:
        base_lr: per 256 images; None where `lr` is given.
        lr: absolute; None where `base_lr` is given.
        total: images in one optimizer step of this run.

    Raises:
        UserError: not exactly one of the two rates.
    """
    if (base_lr is None) == (lr is None):
        got = "neither base_lr nor lr" if lr is None else f"both base_lr {base_lr:g} and lr {lr:g}"
        raise UserError(
            f"got {got}, expected exactly one; set --optim.base_lr (per 256 images) or --optim.lr, the other to null"
        )
    if base_lr is not None:
        return base_lr * total / _REFERENCE_BATCH
    assert lr is not None
    return lr


def require_batch(
    num_train: int, total_batch_size: int, base_lr: float | None, few: Callable[[], int | None] = lambda: None
) -> None:
    """Refuses fewer training images than one total batch: no optimizer step would ever be taken.

    Args:
        num_train: number of training images.
        total_batch_size: images of one optimizer step.
        base_lr: the recipe's learning rate per 256 images; None where it states an absolute one.
        few: gives the total batch of the task's recipe for small data; None where it has none, or where that is in use.
            It is asked only to refuse.

    Raises:
        UserError: with the recipe for small data if the images are enough for it, the largest batch that works, the
            largest power of two in it, and the learning rate of that.
    """
    if num_train >= total_batch_size:
        return
    handy = 2 ** (num_train.bit_length() - 1)
    if base_lr is None:
        rate = "with a learning rate for it (--optim.lr)"
    else:
        rate = f"whose learning rate is {base_lr * handy / 256:g} (base_lr {base_lr:g} per 256 images)"
    found = f"{num_train} training images, fewer than the total batch of {total_batch_size}"
    batch = few()
    small = batch is not None and num_train >= batch
    hint = f"--recipe few, which is for so few (total batch {batch}), or " if small else ""
    raise UserError(f"{found}; use {hint}--data.total_batch_size {handy} ({num_train} at most), {rate}")


def describe(plan: BatchPlan, *, base_lr: float | None, lr: float) -> str:
    """Returns one line for the log, e.g. `1024 = 8 devices x 32 images x 4 accumulated, lr 4.0e-03 = 1.0e-03 x ...`."""
    split = f"{plan.total} = {plan.devices} devices x {plan.device_batch} images x {plan.accumulation} accumulated"
    rule = "as given" if base_lr is None else f"= {base_lr:.1e} x {plan.total} / {_REFERENCE_BATCH}"
    return f"{split}, lr {lr:.1e} {rule}"
