"""From a PIL image to the normalised tensor that a model is given, without randomness."""

from collections.abc import Sequence
from typing import NotRequired, TypedDict

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from maekit.data.images.reduced_size import short_side
from maekit.errors import UserError
from maekit.system.ranges import check_numbers

BICUBIC = Image.Resampling.BICUBIC
LONGEST_ASPECT = 32


class Normalise:
    """Image to [C, H, W] float32: scaled to 0..1, less the mean, by the standard deviation.

    Args:
        mean: of the C channels, in 0..1.
        std: of the C channels, above 0.
        channels: C.
    """

    def __init__(self, mean: Sequence[float], std: Sequence[float], channels: int = 3) -> None:
        check_numbers("data.mean", mean, "[0, 1]", channels)
        check_numbers("data.std", std, "(0, inf)", channels)
        self.mean = torch.tensor(mean).view(-1, 1, 1)
        self.std = torch.tensor(std).view(-1, 1, 1)
        self.scale, self.offset = 1 / (255 * self.std), -self.mean / self.std
        self.plain = {"mean": [float(m) for m in mean], "std": [float(s) for s in std]}

    def __call__(self, image: Image.Image) -> Tensor:
        """Returns [3, H, W] float32."""
        pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous()
        return pixels.to(torch.float32).div_(255).sub_(self.mean).div_(self.std)

    def planes(self, planes: Tensor) -> Tensor:
        """Returns [3, H, W] float32 of [3, H, W] uint8: the same up to float32's rounding, in two passes."""
        return planes.to(torch.float32).mul_(self.scale).add_(self.offset)

    def undo(self, tensor: Tensor) -> Image.Image:
        """Returns the RGB image of a normalised tensor [3, H, W], rounded to 8 bit."""
        pixels = tensor.cpu().mul(self.std).add(self.mean).mul(255).round().clamp(0, 255)
        return Image.fromarray(pixels.to(torch.uint8).permute(1, 2, 0).numpy())

    def describe(self) -> dict[str, list[float]]:
        """Returns `mean` and `std`, three plain numbers each."""
        return self.plain


class EvalInput(TypedDict):
    """The arguments of an `EvalTransform`, as they go into a checkpoint."""

    image_size: int
    crop_fraction: float
    mean: list[float]
    std: list[float]
    white: NotRequired[float]
    clip: NotRequired[bool]
    reduced_decode: NotRequired[bool]


class EvalTransform:
    """Resizes the short side to `image_size / crop_fraction` (bicubic, antialiased), then crops the centre.

    As facebookresearch/mae and torchvision do it, bit for bit.

    Args:
        image_size: height and width of the result in pixels.
        crop_fraction: the crop's share of the resized short side, above 0 and at most 1.
        mean: of the three channels, in 0..1.
        std: of the three channels, above 0.
        white: the value that became 255 in pictures of more than 8 bits; None if there were none. It is only recorded,
            for checkpoints: `decode.Reading` applies it.
        clip: whether brighter values became white; recorded likewise.
        reduced_decode: whether large JPEGs were decoded at a part of their size; recorded likewise.
    """

    def __init__(
        self,
        *,
        image_size: int,
        crop_fraction: float,
        mean: Sequence[float],
        std: Sequence[float],
        white: float | None = None,
        clip: bool = False,
        reduced_decode: bool = False,
    ) -> None:
        if image_size < 1:
            raise UserError(f"data.image_size: got {image_size}, expected 1 or more pixels")
        if not 0 < crop_fraction <= 1:
            raise UserError(f"data.eval_crop_fraction: got {crop_fraction}, expected above 0 and at most 1")
        self.image_size = image_size
        self.crop_fraction = crop_fraction
        self.white, self.clip, self.reduced_decode = white, clip, reduced_decode
        self.normalise = Normalise(mean, std)

    def __call__(self, image: Image.Image) -> Tensor:
        """Returns [3, S, S] float32 of an RGB image of any size."""
        resized = _resize_short_side(_shorten(image), short_side(self.image_size, self.crop_fraction))
        left, top = (round((side - self.image_size) / 2) for side in resized.size)
        return self.normalise(resized.crop((left, top, left + self.image_size, top + self.image_size)))

    @property
    def least(self) -> int | None:
        """Pixels of the shorter side that a reduced decoding must leave; None to decode in full."""
        return short_side(self.image_size, self.crop_fraction) if self.reduced_decode else None

    def describe(self) -> EvalInput:
        """Returns plain values; `EvalTransform(**description)` is this transform again."""
        description: EvalInput = {
            "image_size": self.image_size,
            "crop_fraction": self.crop_fraction,
            "mean": self.normalise.plain["mean"],
            "std": self.normalise.plain["std"],
        }
        if self.white is not None:
            description["white"], description["clip"] = self.white, self.clip
        if self.reduced_decode:
            description["reduced_decode"] = True
        return description


def _resize_short_side(image: Image.Image, short: int) -> Image.Image:
    width, height = image.size
    long = int(short * max(width, height) / min(width, height))
    size = (short, long) if width <= height else (long, short)
    return image if size == image.size else image.resize(size, BICUBIC)


def _shorten(image: Image.Image) -> Image.Image:
    """Cuts the ends off a very long image: resized whole, one of 1 x 10,000 pixels would take gigabytes."""
    width, height = image.size
    longest = LONGEST_ASPECT * min(image.size)
    w, h = min(width, longest), min(height, longest)
    left, top = (width - w) // 2, (height - h) // 2
    return image if (w, h) == image.size else image.crop((left, top, left + w, top + h))
