"""timm's RandAugment: on a PIL image as it is, or its draws alone, to be applied by faster operations."""

from collections.abc import Callable, Sequence
from copy import deepcopy
from functools import partial
from typing import Any, NamedTuple

import torch
from PIL import Image
from torch import Tensor

from maekit.data.augment import moves, sharpness
from maekit.data.images.transforms import BICUBIC
from maekit.errors import UserError

Operation = Callable[..., Image.Image]


class Step(NamedTuple):
    """One operation that was drawn, with timm's arguments."""

    operation: Operation
    arguments: tuple[Any, ...]
    options: dict[str, Any]

    def __call__(self, image: Image.Image) -> Image.Image:
        """Returns the changed image."""
        return self.operation(image, *self.arguments, **self.options)


class RandAugment:
    """timm's RandAugment of a policy string.

    Args:
        policy: as `rand-m9-mstd0.5-inc1`.
        mean: of the three channels, in 0..1: the colour that moved images uncover.
    """

    def __init__(self, policy: str, mean: Sequence[float]) -> None:
        self.timm = _timm(policy, tuple(min(255, round(255 * channel)) for channel in mean))
        self.drawer = deepcopy(self.timm)
        faster = _faster()
        for own, noted in zip(self.timm.ops, self.drawer.ops, strict=True):
            own.aug_fn = _posterize if own.name.startswith("Posterize") else own.aug_fn
            noted.aug_fn = partial(_note, faster.get(own.aug_fn, own.aug_fn))

    def __call__(self, image: Image.Image) -> Image.Image:
        """Draws operations and applies timm's own, pixel for pixel."""
        changed: Image.Image = self.timm(image)
        return changed

    def draw(self) -> tuple[Step, ...]:
        """Draws as a call does, from the same generators in the same order, and returns what is to be applied."""
        steps: tuple[Step, ...] = self.drawer(())
        return steps


def apply(steps: Sequence[Step], pixels: Tensor) -> Tensor:
    """Returns [3, H, W] uint8 of [H, W, 3] uint8 after the steps; a PIL image is made only where there is a step."""
    if not steps:
        return pixels.permute(2, 0, 1).contiguous()
    image = Image.fromarray(pixels.numpy())
    for step in steps:
        image = step(image)
    planes = bytearray().join(image.tobytes("raw", channel) for channel in "RGB")
    return torch.frombuffer(planes, dtype=torch.uint8).view(3, image.height, image.width)


def _note(operation: Operation, steps: tuple[Step, ...], *arguments: Any, **options: Any) -> tuple[Step, ...]:
    """Stands in for an operation: timm hands on the list of steps as if it were the image."""
    return (*steps, Step(operation, arguments, options))


def _timm(policy: str, fill: tuple[int, ...]) -> Any:
    # timm takes three seconds to import, and evaluation does without it.
    from timm.data.auto_augment import rand_augment_transform

    try:
        return rand_augment_transform(policy, {"img_mean": fill, "interpolation": BICUBIC})
    except (AssertionError, ValueError, KeyError):
        expected = "a policy of timm's such as rand-m9-mstd0.5-inc1, or null"
        raise UserError(f"data.rand_augment: got '{policy}', expected {expected}") from None


def _posterize(image: Image.Image, bits: int, **_: Any) -> Image.Image:
    """timm's posterize, and black for no bits, which magnitude 10 asks for: Pillow 12 gives that, Pillow 13 raises."""
    from timm.data import auto_augment

    if bits < 1:
        return Image.new(image.mode, image.size)
    changed: Image.Image = auto_augment.posterize(image, bits)  # type: ignore[no-untyped-call]
    return changed


def _faster() -> dict[Operation, Operation]:
    """timm's operations for which there is a faster one that gives the same pixels."""
    from timm.data import auto_augment

    return {
        auto_augment.sharpness: sharpness.sharpness,
        auto_augment.shear_x: moves.shear_x,
        auto_augment.shear_y: moves.shear_y,
        auto_augment.translate_x_rel: moves.translate_x,
        auto_augment.translate_y_rel: moves.translate_y,
    }
