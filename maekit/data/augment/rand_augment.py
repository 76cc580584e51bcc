"""timm's RandAugment: applied to a PIL image as it is, or only drawn, to be applied by faster operations."""

from collections.abc import Callable, Sequence
from copy import deepcopy
from functools import partial
from typing import Any, NamedTuple, Protocol, TypeVar

import torch
from PIL import Image
from torch import Tensor

from maekit.data.augment import faster_ops
from maekit.data.images.transforms import BICUBIC
from maekit.errors import UserError
from maekit.system.light_imports import import_alone

Operation = Callable[..., Image.Image]
Picture = TypeVar("Picture")


class TimmOperation(Protocol):
    """timm's `AugmentOp`, as far as it is used."""

    name: str
    aug_fn: Callable[..., object]


class TimmPolicy(Protocol):
    """timm's `RandAugment`, as far as it is used."""

    ops: list[TimmOperation]

    def __call__(self, image: Picture) -> Picture:
        """Draws operations and applies them."""
        ...


class Step(NamedTuple):
    """One operation that was drawn, with timm's arguments."""

    operation: Operation
    arguments: tuple[object, ...]
    options: dict[str, object]


class RandAugment:
    """timm's RandAugment of a policy string.

    Args:
        policy: as `rand-m9-mstd0.5-inc1`.
        mean: of the three channels, in 0..1: the colour of the pixels that moved images uncover.

    Raises:
        UserError: timm does not know the policy.
    """

    def __init__(self, policy: str, mean: Sequence[float]) -> None:
        auto_augment: Any = import_alone("timm.data.auto_augment")

        self.timm: TimmPolicy = timm_policy(policy, tuple(min(255, round(255 * channel)) for channel in mean))
        faster: dict[Callable[..., object], Operation] = {
            auto_augment.sharpness: faster_ops.sharpness,
            auto_augment.shear_x: faster_ops.shear_x,
            auto_augment.shear_y: faster_ops.shear_y,
            auto_augment.translate_x_rel: faster_ops.translate_x,
            auto_augment.translate_y_rel: faster_ops.translate_y,
        }
        self.recorder = deepcopy(self.timm)
        for own, recorded in zip(self.timm.ops, self.recorder.ops, strict=True):
            own.aug_fn = _posterize if own.name.startswith("Posterize") else own.aug_fn
            recorded.aug_fn = partial(_record, faster.get(own.aug_fn, own.aug_fn))

    def __call__(self, image: Image.Image) -> Image.Image:
        """Draws operations and applies timm's own, pixel for pixel."""
        return self.timm(image)

    def draw(self) -> tuple[Step, ...]:
        """Draws as a call does, from the same generators in the same order, and returns the steps to apply."""
        steps: tuple[Step, ...] = self.recorder(())
        return steps


def timm_policy(policy: str, fill: tuple[int, ...]) -> Any:
    """Returns timm's RandAugment of a policy, a `TimmPolicy`; `fill` is the colour of uncovered pixels, in 0..255.

    Raises:
        UserError: timm does not know the policy.
    """
    auto_augment: Any = import_alone("timm.data.auto_augment")

    try:
        return auto_augment.rand_augment_transform(policy, {"img_mean": fill, "interpolation": BICUBIC})
    except (AssertionError, ValueError, KeyError):
        expected = "a policy of timm's such as rand-m9-mstd0.5-inc1, or null"
        raise UserError(f"data.rand_augment: got '{policy}', expected {expected}") from None


def apply(steps: Sequence[Step], pixels: Tensor) -> Tensor:
    """Applies steps to [H, W, 3] uint8; returns [3, H, W] uint8. Without steps no PIL image is made."""
    if not steps:
        return pixels.permute(2, 0, 1).contiguous()
    image = Image.fromarray(pixels.numpy())
    for step in steps:
        image = step.operation(image, *step.arguments, **step.options)
    planes = bytearray().join(image.tobytes("raw", channel) for channel in "RGB")
    return torch.frombuffer(planes, dtype=torch.uint8).view(3, image.height, image.width)


def _record(operation: Operation, steps: tuple[Step, ...], *arguments: object, **options: object) -> tuple[Step, ...]:
    """Stands in for an operation: timm hands on the list of steps as if it were the image."""
    return (*steps, Step(operation, arguments, options))


def _posterize(image: Image.Image, bits: int, **_: object) -> Image.Image:
    """timm's posterize, and black for 0 bits, which magnitude 10 asks for: Pillow 12 gives that, Pillow 13 raises."""
    auto_augment: Any = import_alone("timm.data.auto_augment")

    if bits < 1:
        return Image.new(image.mode, image.size)
    changed: Image.Image = auto_augment.posterize(image, bits)
    return changed
