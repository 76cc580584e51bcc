"""What of a model is exported to other programs, and how an exported file is compared with it."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from maekit.errors import UserError

Outputs = Mapping[str, np.ndarray]
Inputs = tuple[Tensor, ...]
"""What a model is given: images [B, C, H, W], normalised, and perhaps more, each with the images as its first axis."""
Runs = Callable[..., dict[str, Tensor]]
"""Inputs, one after the other, to the outputs of a file by name, on the CPU."""


@dataclass(frozen=True)
class Compared:
    """What two programs made of the same images.

    Attributes:
        differences: the largest difference of each output that is compared, see `largest_difference`.
        equal: how many predictions are the same.
        count: how many predictions there are.
    """

    differences: dict[str, float]
    equal: int
    count: int


class GraphModel(Protocol):
    """An exported file that runs without the model's code, as a family's `onnx_predictor` is given it."""

    @property
    def path(self) -> Path:
        """The file."""

    @property
    def metadata(self) -> Mapping[str, Any]:
        """What the file says of itself: JSON."""

    def __call__(self, *inputs: Tensor) -> dict[str, Tensor]:
        """Returns the outputs by name, on the CPU, of images [B, C, H, W], normalised, and what goes with them."""


def no_more(images: Tensor) -> Inputs:
    """Returns nothing beside images."""
    return ()


@dataclass(frozen=True, eq=False)
class Exportable:
    """A model as other programs get it: one module from images to named tensors.

    Attributes:
        module: normalised images [B, C, H, W], float32, and the other inputs to a tuple of tensors; in evaluation mode.
        outputs: their names.
        image_size: height and width in pixels of what is traced.
        channels: C.
        metadata: plain JSON that goes into the file: at least `family`, the folder whose `onnx_predictor` runs it, and
            `input`, the values of the evaluation transform.
        prepare: an image as read (PIL's in RGB, or of bands a tensor [H, W, C]) to [C, H, W]; to a tuple with the other
            inputs, without the axis of images, where there are some.
        images_of: a validation batch to its images, a tensor [b, C, H, W] of each shape; to tuples likewise.
        compare: the model's outputs and the file's, of the same images.
        unit: what `Compared.count` counts, in the plural.
        side_multiple: height and width may be any multiple of so many pixels; 0 where they are fixed.
        least_multiple: how many times that a side is at least.
        fixed_because: why they are, in words.
        dynamic_batch: whether any number of images may be given at once.
        inputs: names of what the module is given; images first.
        further: made images to the other inputs.
        evaluated_with: while it is open, the model's evaluation takes its outputs from what is given; None where its
            metrics cannot be measured so.
    """

    module: nn.Module
    outputs: tuple[str, ...]
    image_size: tuple[int, int]
    channels: int
    metadata: Mapping[str, object]
    prepare: Callable[[Any], Tensor | Inputs]
    images_of: Callable[[Any], Sequence[Tensor | Inputs]]
    compare: Callable[[Outputs, Outputs], Compared]
    unit: str = "predictions"
    side_multiple: int = 0
    least_multiple: int = 2
    fixed_because: str = ""
    dynamic_batch: bool = True
    inputs: tuple[str, ...] = ("images",)
    further: Callable[[Tensor], Inputs] = no_more
    evaluated_with: Callable[[Runs], AbstractContextManager[None]] | None = None

    @property
    def named(self) -> str:
        """What cannot be exported, in the words of an error: the model, with its head where the metadata name one."""
        head = self.metadata.get("head")
        return f"the model with the head {head}" if head else "the model"

    def example(self, count: int = 2, taller: int = 0, wider: int = 0) -> Inputs:
        """Returns made inputs of `count` images, by so many pixels taller and wider than `image_size`."""
        height, width = self.image_size[0] + taller, self.image_size[1] + wider
        generator = torch.Generator().manual_seed(0)
        images = torch.randn(count, self.channels, height, width, generator=generator)
        return images, *self.further(images)


def as_inputs(given: Tensor | Inputs) -> Inputs:
    """Returns inputs as a tuple: images alone, or what is one already."""
    return (given,) if isinstance(given, Tensor) else given


def images_of_batch(batch: Any) -> list[Tensor]:
    """Returns the images of a batch whose `image` is one tensor [B, C, H, W]; a UserError for other batches."""
    images = getattr(batch, "image", None)
    if not isinstance(images, Tensor):
        raise UserError("the validation images of this task are of many sizes")
    return [images]


def largest_difference(ours: np.ndarray, theirs: np.ndarray) -> float:
    """Returns max |ours - theirs|, divided by the largest |ours| where that is above one; inf where only one is finite.

    fp32's rounding grows with the values, so large features would otherwise differ where nothing is wrong.
    """
    if ours.shape != theirs.shape:
        return float("inf")
    if not ours.size:
        return 0.0
    a, b = ours.astype(np.float64), theirs.astype(np.float64)
    if not np.array_equal(np.isfinite(a), np.isfinite(b)):
        return float("inf")
    finite = np.isfinite(a)
    if not finite.any():
        return 0.0
    return float(np.abs(a[finite] - b[finite]).max() / max(1.0, np.abs(a[finite]).max()))


def compare_outputs(ours: Outputs, theirs: Outputs, names: Sequence[str], equal: np.ndarray) -> Compared:
    """Returns the differences of some outputs, and how many of `equal`, one bool a prediction, are true."""
    differences = {name: largest_difference(ours[name], theirs[name]) for name in names}
    return Compared(differences, int(equal.sum()), int(equal.size))


@contextmanager
def method_replaced(model: nn.Module, name: str, method: Callable[..., Any]) -> Iterator[None]:
    """Lets `model.<name>(...)` call `method` while the block runs; `forward` is what `model(images)` calls."""
    model.__dict__[name] = method
    try:
        yield
    finally:
        del model.__dict__[name]
