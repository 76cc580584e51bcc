"""`--data.device_batch_size auto`: the largest device batch that fits this machine and divides the total exactly."""

import gc
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from maekit.base.data import RunData
from maekit.base.model import TransferModel
from maekit.errors import UserError
from maekit.optim.batch_plan import device_batches
from maekit.planning.memory import largest_device_batch
from maekit.planning.state import Strategy, state_of
from maekit.planning.target import Target
from maekit.recipes.settings import Settings
from maekit.system.generators import untouched_generators
from maekit.system.hardware import auto_precision
from maekit.system.memory import available_memory
from maekit.training.process import CHOSEN
from maekit.training.processes.meeting import gathered, joined
from maekit.training.search.device_step import DeviceStep
from maekit.training.trainer import accelerator_of, device_count, local_device

GIB = 2**30
MARGIN = 0.1  # share of a GPU's memory that is left free: the allocator's pieces, NCCL, other sizes of images
CPU_SHARE = 0.5  # of the available memory: the rest is for loading, validation and others
CPU_MOST = 64  # images: more at once were not faster (benchmarks/README.md), and need more memory
EVALUATED = 32  # images of a validation alone, which keeps no activations


@dataclass(frozen=True)
class Choice:
    """A device batch and why it was chosen."""

    images: int
    why: str

    def line(self) -> str:
        """Returns the line for the terminal."""
        return f"auto    data.device_batch_size {self.images}: {self.why}"


def resolve_auto(settings: Settings, model: TransferModel, data: RunData, *, trains: bool) -> list[str]:
    """Puts a number in place of `auto`, in the data and in the settings, which a run keeps; does nothing without it.

    Args:
        settings: checked values of every section.
        model: the task's, which is left as it is.
        data: what is trained or validated on.
        trains: whether it is a fit; a validation alone keeps no activations.

    Returns:
        A line for the terminal with the number and the reason.

    Raises:
        UserError: see `choose`.
    """
    if data.device_batch_size != "auto":
        return []
    values = settings.values
    world = device_count(values["trainer"]) * values["trainer"]["num_nodes"]
    if trains:
        found = choose(settings, model, world)
    else:
        sizes = device_batches(data.total_batch_size, world, even=model.pairs_images)
        found = Choice(max([sizes[0], *(size for size in sizes if size <= EVALUATED)]), "a validation alone")
    data.device_batch_size = values["data"]["device_batch_size"] = found.images
    return [found.line()]


def choose(settings: Settings, model: TransferModel, world: int) -> Choice:
    """Chooses the device batch of a training, the same in all its processes.

    Args:
        settings: checked values of every section.
        model: the task's, which is left as it is.
        world: devices of the run.

    Raises:
        UserError: not even the smallest fits, or the total batch cannot be divided among the devices.
    """
    trainer = settings.values["trainer"]
    total, least = settings.values["data"]["total_batch_size"], model.least_images
    sizes = device_batches(total, world, even=model.pairs_images, least=least)
    alone = not joined()
    if alone and world > 1 and "LOCAL_RANK" in os.environ and CHOSEN in os.environ:
        return Choice(int(os.environ[CHOSEN]), "as the first process chose")
    if accelerator_of(trainer) == "cuda" and trainer["strategy"] != "fsdp2":
        found = by_trying(settings, model, sizes, world)
    else:
        found = by_prediction(settings, model, sizes, world)
    least = min(gathered(found.images))
    if least == 0:
        images = "one image" if sizes[0] == 1 else f"{sizes[0]} images"
        raise UserError(
            f"data.device_batch_size auto: not even {images} at a time fit ({found.why}); give "
            "--model.gradient_checkpointing true or a smaller model; `maekit plan` says what would fit"
        )
    if alone and world > 1:
        os.environ[CHOSEN] = str(least)
    return found if least == found.images else Choice(least, "what fits the device with the least memory")


def by_prediction(settings: Settings, model: TransferModel, sizes: Sequence[int], world: int) -> Choice:
    """Chooses by the memory that a step is predicted to need; 0 images where nothing fits."""
    trainer, kind = settings.values["trainer"], accelerator_of(settings.values["trainer"])
    precision = auto_precision(kind) if trainer["precision"] == "auto" else trainer["precision"]
    if kind == "cuda":
        total = torch.cuda.get_device_properties(local_device(settings)).total_memory
        room, where = int((1 - MARGIN) * total), f"{1 - MARGIN:.0%} of {total / GIB:.0f} GiB"
    else:
        here = max(world // trainer["num_nodes"], 1)
        available = available_memory()
        room, where = int(CPU_SHARE * available / here), f"half of {available / GIB:.1f} GiB"
        where += f" for each of {here} processes" * (here > 1)
    strategy: Strategy = "one" if world == 1 else "fsdp2" if trainer["strategy"] == "fsdp2" else "ddp"
    with untouched_generators():
        fits = largest_device_batch(
            settings.recipe.task.load(),
            model.spec,
            settings.values,
            target=Target(kind, precision),
            strategy=strategy,
            devices=world,
            capacity=room,
        )
    most = sizes[-1] if kind == "cuda" else max([sizes[0], *(size for size in sizes if size <= CPU_MOST)])
    if fits is not None and fits > most:
        return Choice(most, f"more than {CPU_MOST} images at once are not faster here")
    whole = ", a device's whole share" if fits == sizes[-1] else ""
    return Choice(fits or 0, f"predicted to need at most {where}{whole}" if fits else f"predicted, in {where}")


def by_trying(settings: Settings, model: TransferModel, sizes: Sequence[int], world: int) -> Choice:
    """Chooses by forward and backward passes of made images beside what the optimizer will hold and a margin."""
    device, values = local_device(settings), settings.values
    average = values["model"].get("ema_decay") is not None
    state = state_of(
        model, values["optim"]["optimizer"], average=average, strategy="one" if world == 1 else "ddp", devices=world
    )
    total = torch.cuda.get_device_properties(device).total_memory
    held = state.optimizer + state.average + round(MARGIN * total)
    largest, tried = largest_that_runs(sizes, lambda images: attempt(settings, model, device, images, held))
    name = f"{torch.cuda.get_device_name(device)}, {MARGIN:.0%} of {total / GIB:.0f} GiB left free"
    return Choice(largest or 0, f"the largest of {len(sizes)} that ran on {name} ({tried} tried)")


def largest_that_runs(sizes: Sequence[int], run: Callable[[int], None]) -> tuple[int | None, int]:
    """Returns the largest of rising sizes that runs, and how many were tried: the largest first, then by bisection.

    Args:
        sizes: rising; if one runs out of memory so do all larger ones.
        run: runs one, and raises torch.OutOfMemoryError or a RuntimeError of an allocation.
    """
    low, high, place, tried = -1, len(sizes), len(sizes) - 1, 0  # sizes[low] ran, sizes[high] did not
    while low + 1 < high:
        tried += 1
        if _runs(sizes[place], run):
            low = place
        else:
            high = place
        place = (low + high) // 2
    return (sizes[low] if low >= 0 else None), tried


def _runs(images: int, run: Callable[[int], None]) -> bool:
    try:
        run(images)
        runs = True
    except RuntimeError as error:
        text = str(error)
        if not isinstance(error, torch.OutOfMemoryError) and "ALLOC_FAILED" not in text and "out of memory" not in text:
            raise
        runs = False
    if not runs:
        gc.collect()  # the error's trace held the activations
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    return runs


def attempt(settings: Settings, model: TransferModel, device: torch.device, images: int, held: int) -> None:
    """Runs one device batch forward and backward, and leaves weights, buffers, modes and generators as they were.

    Args:
        settings: checked values of every section.
        model: the task's; it is moved to `device` and back.
        device: where to run.
        images: of the device batch.
        held: bytes to hold beside it: the optimizer's, and a margin.

    Raises:
        torch.OutOfMemoryError: it does not fit.
    """
    home = next(model.parameters()).device
    buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}
    try:
        with untouched_generators():
            model.to(device)
            reserve = torch.empty(held, dtype=torch.uint8, device=device)
            step = DeviceStep(model, device, settings.values["trainer"], seed=0, accumulation=1)
            step.backward(model.example_batch(images), 0, 0)
            del reserve
    finally:
        for parameter in model.parameters():
            parameter.grad = None
        model.to(home)
        with torch.no_grad():
            for name, buffer in model.named_buffers():
                buffer.copy_(buffers[name])
