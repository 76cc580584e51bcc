"""From a picture to the normalised tensor that a model is given, without randomness."""

from collections.abc import Mapping, Sequence
from typing import Any, NotRequired, TypedDict, cast

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from maekit.base.spec import shown_channels
from maekit.data.images.bands.facts import Bands, bands_of
from maekit.data.images.bands.pixels import resize, size_of
from maekit.data.images.reduced_size import short_side
from maekit.errors import UserError
from maekit.system.ranges import check_numbers
from maekit.system.size import HeightWidth

BICUBIC = Image.Resampling.BICUBIC
LONGEST_ASPECT = 32
SHOWN_STD = 2  # standard deviations from the mean that pictures of more than 8 bits show, from black to white


class Normalise:
    """Image to [C, H, W] float32: less the mean, by the standard deviation.

    Args:
        mean: of red, green and blue, in 0..1.
        std: of red, green and blue, above 0.
        bands: channels with a mean and a std of their own, in the unit of the file; None for 8-bit RGB.
    """

    def __init__(self, mean: Sequence[float], std: Sequence[float], bands: Bands | None = None) -> None:
        self.bands = bands
        if bands is None:
            check_numbers("data.mean", mean, "[0, 1]", 3)
            check_numbers("data.std", std, "(0, inf)", 3)
        else:
            mean, std = bands.mean, bands.std
            check_numbers("data.stats: std", std, "(0, inf)", len(bands.names))
        self.mean = torch.tensor(mean, dtype=torch.float32).view(-1, 1, 1)
        self.std = torch.tensor(std, dtype=torch.float32).view(-1, 1, 1)
        self.scale, self.offset = 1 / (255 * self.std), -self.mean / self.std
        self.plain = {"mean": [float(m) for m in mean], "std": [float(s) for s in std]}

    def __call__(self, image: Image.Image | Tensor) -> Tensor:
        """Returns [C, H, W] float32 of a PIL image, or of pixels [H, W, C] in the unit of the file."""
        if isinstance(image, Tensor):
            return self.planes(image.permute(2, 0, 1).contiguous())
        pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous()
        return pixels.to(torch.float32).div_(255).sub_(self.mean).div_(self.std)

    def planes(self, planes: Tensor) -> Tensor:
        """Returns [C, H, W] float32 of [C, H, W]: the same up to float32's rounding, of RGB in two passes."""
        if self.bands is None:
            return planes.to(torch.float32).mul_(self.scale).add_(self.offset)
        return planes.to(torch.float32).sub(self.mean).div_(self.std)  # a small spread of large values: sub first

    def undo(self, tensor: Tensor) -> Image.Image:
        """Returns the RGB image of a normalised tensor [C, H, W], rounded to 8 bit.

        Of bands those that are shown, as they are if the files have 8 bits, else stretched: black is two standard
        deviations below the mean, white two above it.
        """
        if self.bands is None:
            pixels = tensor.cpu().mul(self.std).add(self.mean).mul(255)
        else:
            shown = list(shown_channels(self.bands.names, self.bands.shown))
            pixels = self.stretched(tensor.cpu()[shown].float(), shown).mul(255)
        pixels = pixels.round().clamp(0, 255)
        return Image.fromarray(pixels.to(torch.uint8).permute(1, 2, 0).contiguous().numpy())

    def stretched(self, tensor: Tensor, channels: Sequence[int]) -> Tensor:
        """Returns normalised channels [C, H, W] as pictures show them, of which 0..1 is black to white; not cut."""
        if self.bands is None or self.bands.dtype == "uint8":
            places = list(channels)
            return tensor.mul(self.std[places]).add(self.mean[places]).div(1 if self.bands is None else 255)
        return tensor.add(SHOWN_STD).div(2 * SHOWN_STD)

    def seen(self, values: Tensor) -> Tensor:
        """Returns [B, 3, H, W] as pictures show it of images [B, C, H, W] in shares of `Bands.unit`; see `undo`."""
        if self.bands is None:
            return values
        shown = list(shown_channels(self.bands.names, self.bands.shown))
        normalised = (values[:, shown] * self.bands.unit - self.mean[shown]) / self.std[shown]
        return self.stretched(normalised, shown).clamp(0, 1)

    def picture(self, image: Image.Image | Tensor) -> Image.Image:
        """Returns an image as read, of the file's size, as people see it: RGB; see `undo`."""
        return self.undo(self(image)) if isinstance(image, Tensor) else image.convert("RGB")

    def describe(self) -> dict[str, Any]:
        """Returns `mean` and `std`, a plain number of each channel; of bands all of `Bands.plain()`."""
        return self.plain if self.bands is None else self.bands.plain()


def normalise_of(input: Mapping[str, Any]) -> Normalise:
    """Returns the normalisation of a data set's `input_transform()`, or of the input in a checkpoint's card."""
    return Normalise(input["mean"], input["std"], bands_of(input))


class EvalInput(TypedDict):
    """The arguments of an `EvalTransform`, as they go into a checkpoint."""

    image_size: int
    crop_fraction: float
    mean: list[float]
    std: list[float]
    white: NotRequired[float]
    clip: NotRequired[bool]
    reduced_decode: NotRequired[bool]
    bands: NotRequired[list[str]]
    file_bands: NotRequired[list[str]]
    dtype: NotRequired[str]
    unit: NotRequired[float]
    shown_bands: NotRequired[list[str]]


class EvalTransform:
    """Resizes the short side to `image_size / crop_fraction` (bicubic, antialiased), then crops the centre.

    As facebookresearch/mae and torchvision do it, bit for bit.

    Args:
        image_size: height and width of the result in pixels.
        crop_fraction: the crop's share of the resized short side, above 0 and at most 1.
        mean: of red, green and blue, in 0..1; of bands in the unit of the file.
        std: of the same, above 0.
        white: the value that became 255 in pictures of more than 8 bits; None if there were none. It is only recorded,
            for checkpoints: `decode.Reading` applies it.
        clip: whether brighter values became white; recorded likewise.
        reduced_decode: whether large JPEGs were decoded at a part of their size; recorded likewise.
        bands: names of the channels, where pictures are not 8-bit RGB; this and the next are those of `Bands`.
        file_bands: names of a file's channels.
        dtype: of the files.
        unit: value of the file that counts as 1; None without bands.
        shown_bands: those that pictures show.
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
        bands: Sequence[str] = (),
        file_bands: Sequence[str] = (),
        dtype: str = "",
        unit: float | None = None,
        shown_bands: Sequence[str] = (),
    ) -> None:
        if image_size < 1:
            raise UserError(f"data.image_size: got {image_size}, expected 1 or more pixels")
        if not 0 < crop_fraction <= 1:
            raise UserError(f"data.eval_crop_fraction: got {crop_fraction}, expected above 0 and at most 1")
        self.image_size = image_size
        self.crop_fraction = crop_fraction
        self.white, self.clip, self.reduced_decode = white, clip, reduced_decode
        self.normalise = Normalise(mean, std, given_bands(bands, file_bands, dtype, mean, std, unit, shown_bands))

    def __call__(self, image: Image.Image | Tensor) -> Tensor:
        """Returns [C, S, S] float32 of an image of any size: PIL's in RGB, or pixels [H, W, C] of bands."""
        if isinstance(image, Tensor):
            return self.normalise(self._square(image))
        resized = _resize_short_side(_shorten(image), short_side(self.image_size, self.crop_fraction))
        left, top = (round((side - self.image_size) / 2) for side in resized.size)
        return self.normalise(resized.crop((left, top, left + self.image_size, top + self.image_size)))

    def _square(self, pixels: Tensor) -> Tensor:
        """The same geometry for pixels [H, W, C]."""
        left, top, right, bottom = _middle(size_of(pixels))
        whole = pixels[top:bottom, left:right]
        resized = resize(whole, _short_side_size(size_of(whole), short_side(self.image_size, self.crop_fraction)))
        top, left = (round((side - self.image_size) / 2) for side in size_of(resized))
        return resized[top : top + self.image_size, left : left + self.image_size]

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
        return cast(EvalInput, {**description, **self.normalise.describe()})


def given_bands(
    names: Sequence[str],
    file_names: Sequence[str],
    dtype: str,
    mean: Sequence[float],
    std: Sequence[float],
    unit: float | None,
    shown: Sequence[str],
) -> Bands | None:
    """Returns the bands that the arguments of an evaluation transform describe; None for 8-bit RGB."""
    if not names:
        return None
    return Bands(tuple(names), tuple(file_names), dtype, tuple(mean), tuple(std), unit or 1.0, tuple(shown))


def _resize_short_side(image: Image.Image, short: int) -> Image.Image:
    height, width = _short_side_size(HeightWidth(image.height, image.width), short)
    return image if (width, height) == image.size else image.resize((width, height), BICUBIC)


def _short_side_size(size: HeightWidth, short: int) -> HeightWidth:
    long = int(short * max(size) / min(size))
    return HeightWidth(long, short) if size.width <= size.height else HeightWidth(short, long)


def _shorten(image: Image.Image) -> Image.Image:
    """Cuts the ends off a very long image: resized whole, one of 1 x 10,000 pixels would take gigabytes."""
    box = _middle(HeightWidth(image.height, image.width))
    return image if box == (0, 0, *image.size) else image.crop(box)


def _middle(size: HeightWidth) -> tuple[int, int, int, int]:
    """Returns left, top, right and bottom of the middle of an image, at most 32 times as long as wide."""
    longest = LONGEST_ASPECT * min(size)
    h, w = min(size.height, longest), min(size.width, longest)
    left, top = (size.width - w) // 2, (size.height - h) // 2
    return left, top, left + w, top + h
