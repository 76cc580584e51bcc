"""Memory of a device in training, and the largest device batch that fits."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from maekit.backbone.block import Block
from maekit.base.model import TransferModel
from maekit.base.spec import DataSpec
from maekit.optim.batch_plan import device_batches
from maekit.planning.state import State, Strategy, state_of
from maekit.planning.step import Step, count_evaluation, count_step, fake
from maekit.planning.target import Target
from maekit.system.hardware import on_meta

FEW, MANY = 2, 8  # images at which a step is counted; what lies between and beyond is on the line through both
CONTEXT = 2**30  # bytes of an accelerator that the driver, cuBLAS, cuDNN and NCCL keep: an allowance
PROCESS = 2**29  # bytes of a process with torch on a CPU: an allowance
FRAGMENTATION = 0.05  # share of all else that the allocator cannot use: an allowance


@dataclass(frozen=True)
class Line:
    """A number of bytes, or of operations, that grows by `slope` with each image."""

    constant: float
    slope: float

    def at(self, images: int) -> int:
        """Returns the number for so many images."""
        return round(self.constant + self.slope * images)

    @classmethod
    def through(cls, few: int, many: int) -> "Line":
        """Returns the line through the numbers of `FEW` and of `MANY` images."""
        slope = (many - few) / (MANY - FEW)
        return cls(few - slope * FEW, slope)


@dataclass(frozen=True)
class Counts:
    """What a step of a model needs by the number of images on a device.

    Attributes:
        recompute: whether blocks are computed again in the backward pass.
        inputs: bytes of the batch.
        saved: bytes of activations that are saved for the backward pass.
        weight_copies: bytes of autocast's copies of weights.
        peak: bytes at one moment beyond parameters, gradients, optimizer and batch.
        evaluation: the same of an evaluation.
        flops: floating-point operations, forward and backward.
        evaluation_flops: of an evaluation.
    """

    recompute: bool
    inputs: Line
    saved: Line
    weight_copies: int
    peak: Line
    evaluation: Line
    flops: Line
    evaluation_flops: Line


@dataclass(frozen=True)
class Memory:
    """Bytes on one device.

    Attributes:
        state: what is held between steps.
        inputs: the batch.
        saved: activations saved for the backward pass.
        weight_copies: autocast's copies of weights.
        work: what else is there at the moment of the peak.
        allowance: context or process, and fragmentation; not counted but assumed.
    """

    state: State
    inputs: int
    saved: int
    weight_copies: int
    work: int
    allowance: int

    @property
    def total(self) -> int:
        """The sum of all."""
        return self.state.total + self.inputs + self.saved + self.weight_copies + self.work + self.allowance


def build_on_meta(module: ModuleType, spec: DataSpec, values: Mapping[str, Any]) -> TransferModel:
    """Returns a task's model without memory.

    Args:
        module: the task.
        spec: of the data.
        values: of the recipe's section `model`.
    """
    with on_meta():
        model: TransferModel = module.Model.build(spec, values)
    return model


def count(model: TransferModel, target: Target, recompute: Sequence[bool]) -> list[Counts]:
    """Counts the steps of a model with or without recomputed blocks; its tensors become fake ones, so it counts once.

    Args:
        model: see `build_on_meta`.
        target: device and precision.
        recompute: for which settings of `gradient_checkpointing`.
    """
    for part in model.modules():
        if isinstance(part, Block) and target.kind == "cpu":
            part.drop_path = 0.0  # a CPU leaves out branches at random; the most is saved where it leaves out none
    with fake(model):
        evaluated = [count_evaluation(model, images, target) for images in (FEW, MANY)]
        steps = [[_step(model, images, target, again) for images in (FEW, MANY)] for again in recompute]
    return [
        Counts(
            again,
            Line.through(few.inputs, many.inputs),
            Line.through(few.saved, many.saved),
            many.weight_copies,
            Line.through(few.peak, many.peak),
            Line.through(evaluated[0].peak, evaluated[1].peak),
            Line.through(few.flops, many.flops),
            Line.through(evaluated[0].flops, evaluated[1].flops),
        )
        for again, (few, many) in zip(recompute, steps, strict=True)
    ]


def _step(model: TransferModel, images: int, target: Target, recompute: bool) -> Step:
    for part in model.modules():
        if "gradient_checkpointing" in vars(part):
            vars(part)["gradient_checkpointing"] = recompute
    return count_step(model, images, target)


def memory_of(counts: Counts, state: State, images: int, kind: str) -> Memory:
    """Returns the memory of a device that is given so many images at once, in training or in evaluation.

    Args:
        counts: of the model.
        state: see `state_of`.
        images: on the device at once.
        kind: of the device: cuda, mps or cpu.
    """
    saved, inputs = counts.saved.at(images), counts.inputs.at(images)
    evaluation = counts.evaluation.at(images) + max(state.evaluated - state.gathered, 0)
    peak = max(counts.peak.at(images), evaluation, saved + counts.weight_copies)
    fixed = PROCESS if kind == "cpu" else CONTEXT
    allowance = fixed + round(FRAGMENTATION * (state.total + inputs + peak))
    return Memory(state, inputs, saved, counts.weight_copies, peak - saved - counts.weight_copies, allowance)


def largest_device_batch(
    module: ModuleType,
    spec: DataSpec,
    values: Mapping[str, Mapping[str, Any]],
    *,
    target: Target,
    strategy: Strategy,
    devices: int,
    capacity: int,
) -> int | None:
    """Returns the most images a device can be given at once so that the recipe's total batch is kept exactly.

    Args:
        module: the task.
        spec: of the data.
        values: checked values of every section, as `Settings.values`.
        target: device and precision.
        strategy: how the devices work together.
        devices: of the run, over all machines.
        capacity: bytes of one device.

    Returns:
        A device batch that `solve_batch` takes; None if not even the smallest fits.

    Raises:
        UserError: the total batch cannot be divided among the devices.
    """
    model = build_on_meta(module, spec, values["model"])
    average = values["model"].get("ema_decay") is not None
    state = state_of(model, values["optim"]["optimizer"], average=average, strategy=strategy, devices=devices)
    (counts,) = count(model, target, [bool(values["model"].get("gradient_checkpointing"))])
    sizes = sizes_of(model, values["data"]["total_batch_size"], devices)
    return fitting(counts, state, sizes, target.kind, capacity)


def sizes_of(model: TransferModel, total: int, devices: int) -> list[int]:
    """Returns the device batches, rising, that keep the total batch exactly and that the model can be trained on.

    Raises:
        UserError: there are none.
    """
    return device_batches(total, devices, even=model.pairs_images, least=model.least_images)


def fitting(counts: Counts, state: State, sizes: list[int], kind: str, capacity: int) -> int | None:
    """Returns the largest of rising `sizes` that fits into `capacity` bytes; None if the smallest does not."""
    fits = [size for size in sizes if memory_of(counts, state, size, kind).total <= capacity]
    return max(fits, default=None)
