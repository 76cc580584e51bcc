"""From an image to a tensor by the published training augmentation, exactly or fast."""

import math
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from maekit.data.augment.band_augment import BandRandAugment
from maekit.data.augment.rand_augment import RandAugment, apply
from maekit.data.images.bands.facts import Bands
from maekit.data.images.bands.pixels import size_of
from maekit.data.images.transforms import BICUBIC, Normalise
from maekit.errors import UserError
from maekit.system.light_imports import import_alone
from maekit.system.ranges import check_numbers
from maekit.system.size import HeightWidth

CROP_TRIES = 10
Box = tuple[int, int, int, int]
"""Left, top, right, bottom in pixels."""
Range = tuple[float, float]
Erase = Callable[[Tensor], Tensor]


@dataclass(kw_only=True, eq=False, repr=False)
class Augmentation:
    """The numbers of a `TrainTransform`. A data set of whole images inherits them, which makes them flags.

    Args:
        image_size: height and width in pixels of what the model is given.
        crop_scale: smallest and largest share of an image's area that a random training crop covers.
        crop_ratio: smallest and largest width / height of a random training crop.
        crop_clip: draw a training crop once and cut it to the image, as the linear probe does, not until one fits.
        horizontal_flip: probability of mirroring a training image; 0 where left and right differ, as in digits.
        rand_augment: timm's RandAugment policy, as rand-m9-mstd0.5-inc1; null for none.
        random_erasing: probability of overwriting a box of a training image with noise.
        mean: of the three channels, in 0..1.
        std: of the three channels, in 0..1.
    """

    image_size: int
    crop_scale: list[float]
    crop_ratio: list[float]
    crop_clip: bool = False
    horizontal_flip: float
    rand_augment: str | None
    random_erasing: float
    mean: list[float]
    std: list[float]


class TrainTransform:
    """The published fine-tuning augmentation, in its order (recipes of facebookresearch/mae, timm 0.3.2).

    Random resized crop (bicubic), horizontal flip, RandAugment, normalisation, random erasing with noise. It draws from
    Python's `random`, NumPy and torch in timm's own order: the same generator states give timm's tensor of a PIL image.
    With a tensor of pixels the draws are the same and it is over one and a half times as fast: torch resizes and
    normalises there, and pixels differ by rounding.

    The mean is also the colour that rotations and translations uncover.

    Pictures of bands, pixels [H, W, C] of any numbers, are cropped, mirrored, moved by RandAugment's geometric
    operations and erased; its operations for 8-bit RGB are left out.

    Args:
        numbers: of the augmentation.
        bands: the channels with their mean and std, where pictures are not 8-bit RGB.

    Attributes:
        left_out: RandAugment's operations that bands leave out.

    Raises:
        UserError: a number is out of range, or timm does not know the policy; it names the flag.
    """

    def __init__(self, numbers: Augmentation, bands: Bands | None = None) -> None:
        check_numbers("data.crop_scale", numbers.crop_scale, "(0, 1]", 2)
        for name, limits in (("crop_scale", numbers.crop_scale), ("crop_ratio", numbers.crop_ratio)):
            if len(limits) != 2 or not 0 < limits[0] <= limits[1]:
                raise UserError(f"data.{name}: got {list(limits)}, expected two numbers above 0, the smaller first")
        for name, chance in (
            ("horizontal_flip", numbers.horizontal_flip),
            ("random_erasing", numbers.random_erasing),
        ):
            if not 0 <= chance <= 1:
                raise UserError(f"data.{name}: got {chance}, expected a probability of 0 to 1")
        self.image_size = numbers.image_size
        self.crop_scale = (numbers.crop_scale[0], numbers.crop_scale[1])
        self.crop_ratio = (numbers.crop_ratio[0], numbers.crop_ratio[1])
        self.crop_box = clipped_crop_box if numbers.crop_clip else random_crop_box
        self.horizontal_flip = numbers.horizontal_flip
        self.normalise = Normalise(numbers.mean, numbers.std, bands)
        policy = numbers.rand_augment
        self.augment = RandAugment(policy, numbers.mean) if policy and bands is None else None
        self.move = BandRandAugment(policy) if policy and bands is not None else None
        self.left_out = self.move.left_out if self.move else ()
        self.erase = _random_erasing(numbers.random_erasing) if numbers.random_erasing else None

    def __call__(self, image: Image.Image | Tensor) -> Tensor:
        """Returns [C, S, S] float32 of an image of any size: PIL's in RGB, or pixels [H, W, C]."""
        box, flip = self.draw_crop(size_of(image))
        return self.finish(self.crop(image, box), flip)

    def draw_crop(self, size: HeightWidth) -> tuple[Box, bool]:
        """Draws the crop of an image of some size, and whether it is mirrored."""
        box = self.crop_box(size, self.crop_scale, self.crop_ratio)
        return box, self.horizontal_flip > 0 and torch.rand(1).item() < self.horizontal_flip

    def crop(self, image: Image.Image | Tensor, box: Box) -> Image.Image | Tensor:
        """Returns the crop at the size S of the result: timm's, bit for bit, of a PIL image; fast of a tensor."""
        if isinstance(image, Image.Image):
            return image.crop(box).resize((self.image_size, self.image_size), BICUBIC)
        return crop_resize(image, box, self.image_size)

    def finish(self, crop: Image.Image | Tensor, flip: bool) -> Tensor:
        """Flips, augments, normalises and erases a crop [S, S]: with the same draws for either kind of crop."""
        tensor = self._exact(crop, flip) if isinstance(crop, Image.Image) else self._fast(crop, flip)
        return self.erase(tensor) if self.erase else tensor

    def _exact(self, image: Image.Image, flip: bool) -> Tensor:
        if flip:
            image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        return self.normalise(self.augment(image) if self.augment else image)

    def _fast(self, pixels: Tensor, flip: bool) -> Tensor:
        if flip:
            pixels = pixels.flip(1)
        if self.normalise.bands is not None:
            planes = self.normalise.planes(pixels.permute(2, 0, 1))
            return self.move(planes) if self.move else planes
        return self.normalise.planes(apply(self.augment.draw() if self.augment else (), pixels))


def random_crop_box(size: HeightWidth, scale: Range, ratio: Range) -> Box:
    """Returns left, top, right, bottom in pixels of a crop of random area and aspect, from Python's `random`.

    Ten tries, then the largest centred crop whose aspect is allowed. Unlike timm's, a crop of a tiny image has at least
    one pixel.

    Args:
        size: of the image in pixels.
        scale: range of the crop's share of the area.
        ratio: range of its width / height, drawn log-uniformly.
    """
    height, width = size
    for _ in range(CROP_TRIES):
        h, w = _draw_sides(size, scale, ratio)
        if 0 < w <= width and 0 < h <= height:
            top = random.randint(0, height - h)
            left = random.randint(0, width - w)
            return left, top, left + w, top + h
    w = max(1, min(width, round(height * ratio[1])))
    h = max(1, min(height, round(width / ratio[0])))
    left, top = (width - w) // 2, (height - h) // 2
    return left, top, left + w, top + h


def clipped_crop_box(size: HeightWidth, scale: Range, ratio: Range) -> Box:
    """As `random_crop_box`, but drawn once, its sides cut to the image's: facebookresearch/mae util/crop.py.

    This is the linear probe's crop. It imitates TensorFlow's, where a wide crop of a narrow image is not drawn again.
    """
    height, width = size
    h, w = _draw_sides(size, scale, ratio)
    w, h = max(1, min(w, width)), max(1, min(h, height))
    top = random.randint(0, height - h)
    left = random.randint(0, width - w)
    return left, top, left + w, top + h


def _draw_sides(size: HeightWidth, scale: Range, ratio: Range) -> HeightWidth:
    area = random.uniform(*scale) * size.width * size.height  # in timm's order: a float product depends on it
    aspect = math.exp(random.uniform(math.log(ratio[0]), math.log(ratio[1])))
    return HeightWidth(round(math.sqrt(area / aspect)), round(math.sqrt(area * aspect)))


def crop_resize(pixels: Tensor, box: Box, size: int) -> Tensor:
    """Returns the box as [size, size, C], resized by antialiased bicubic interpolation.

    The weights are Pillow's; intermediate rounding is not, by 0.3 of 255 levels on average on photographs.

    Args:
        pixels: [H, W, C] uint8, or float32, which is not cut to a range.
        box: left, top, right, bottom within the image.
        size: height and width of the result in pixels.
    """
    left, top, right, bottom = box
    # torch's fast kernel wants channels last and whole: this copy of rows halves the time.
    crop = pixels[top:bottom, left:right].contiguous().permute(2, 0, 1)[None]
    resized = F.interpolate(crop, (size, size), mode="bicubic", antialias=True)
    return resized[0].permute(1, 2, 0).contiguous()


def _random_erasing(probability: float) -> Erase:
    erasing: Any = import_alone("timm.data.random_erasing").RandomErasing
    erase: Erase = erasing(probability, mode="pixel", max_count=1, device="cpu")
    return erase
