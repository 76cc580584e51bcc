"""From a PIL image to a tensor by the published training augmentation."""

import math
import random
from collections.abc import Callable, Sequence

import torch
from PIL import Image
from torch import Tensor

from maekit.data.transforms import BICUBIC, Normalise
from maekit.errors import UserError

CROP_TRIES = 10
Augment = Callable[[Image.Image], Image.Image]
Erase = Callable[[Tensor], Tensor]


class TrainTransform:
    """The published fine-tuning augmentation, in its order (recipes of facebookresearch/mae, timm 0.3.2).

    Random resized crop (bicubic), horizontal flip, RandAugment, normalisation, random erasing with noise. It draws from
    Python's `random`, NumPy and torch in timm's own order: the same generator states give timm's tensor.

    Args:
        image_size: height and width of the result in pixels.
        crop_scale: smallest and largest share of the image's area that a crop covers.
        crop_ratio: smallest and largest width / height of a crop.
        crop_clip: draw a crop once and cut it to the image, instead of drawing until one fits.
        horizontal_flip: probability, 0..1.
        rand_augment: timm's policy string, as `rand-m9-mstd0.5-inc1`; None for none.
        random_erasing: probability, 0..1.
        mean: of the three channels, in 0..1; also the colour that rotations uncover.
        std: of the three channels, above 0.
    """

    def __init__(
        self,
        *,
        image_size: int,
        crop_scale: Sequence[float],
        crop_ratio: Sequence[float],
        crop_clip: bool = False,
        horizontal_flip: float,
        rand_augment: str | None,
        random_erasing: float,
        mean: Sequence[float],
        std: Sequence[float],
    ) -> None:
        _check_ranges(crop_scale=crop_scale, crop_ratio=crop_ratio)
        _check_probabilities(horizontal_flip=horizontal_flip, random_erasing=random_erasing)
        self.image_size = image_size
        self.crop_scale = (crop_scale[0], crop_scale[1])
        self.crop_ratio = (crop_ratio[0], crop_ratio[1])
        self.crop_box = clipped_crop_box if crop_clip else random_crop_box
        self.horizontal_flip = horizontal_flip
        self.normalise = Normalise(mean, std)
        self.augment = _rand_augment(rand_augment, mean) if rand_augment else None
        self.erase = _random_erasing(random_erasing) if random_erasing else None

    def __call__(self, image: Image.Image) -> Tensor:
        """Returns [3, S, S] float32 of an RGB image of any size."""
        box = self.crop_box(image.size, self.crop_scale, self.crop_ratio)
        image = image.crop(box).resize((self.image_size, self.image_size), BICUBIC)
        if self.horizontal_flip and torch.rand(1).item() < self.horizontal_flip:
            image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        if self.augment:
            image = self.augment(image)
        tensor = self.normalise(image)
        return self.erase(tensor) if self.erase else tensor


def random_crop_box(
    size: tuple[int, int], scale: tuple[float, float], ratio: tuple[float, float]
) -> tuple[int, int, int, int]:
    """Returns left, top, right, bottom of a crop of random area and aspect, from Python's `random`.

    Ten tries, then the largest centred crop whose aspect is allowed. Unlike timm's, a crop of a tiny image has a pixel.

    Args:
        size: width and height of the image.
        scale: range of the crop's share of the area.
        ratio: range of its width / height, drawn log-uniformly.
    """
    width, height = size
    for _ in range(CROP_TRIES):
        w, h = _draw_sides(size, scale, ratio)
        if 0 < w <= width and 0 < h <= height:
            top = random.randint(0, height - h)
            left = random.randint(0, width - w)
            return left, top, left + w, top + h
    w = max(1, min(width, round(height * ratio[1])))
    h = max(1, min(height, round(width / ratio[0])))
    left, top = (width - w) // 2, (height - h) // 2
    return left, top, left + w, top + h


def clipped_crop_box(
    size: tuple[int, int], scale: tuple[float, float], ratio: tuple[float, float]
) -> tuple[int, int, int, int]:
    """As `random_crop_box`, but drawn once, its sides cut to the image's: facebookresearch/mae util/crop.py.

    The linear probe's crop; it imitates TensorFlow's, where a wide crop of a narrow image is not drawn again.
    """
    width, height = size
    w, h = _draw_sides(size, scale, ratio)
    w, h = max(1, min(w, width)), max(1, min(h, height))
    top = random.randint(0, height - h)
    left = random.randint(0, width - w)
    return left, top, left + w, top + h


def _draw_sides(size: tuple[int, int], scale: tuple[float, float], ratio: tuple[float, float]) -> tuple[int, int]:
    area = random.uniform(*scale) * size[0] * size[1]
    aspect = math.exp(random.uniform(math.log(ratio[0]), math.log(ratio[1])))
    return round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))


def _rand_augment(policy: str, mean: Sequence[float]) -> Augment:
    # timm takes three seconds to import, and evaluation does without it.
    from timm.data.auto_augment import rand_augment_transform

    fill = tuple(min(255, round(255 * channel)) for channel in mean)
    try:
        augment: Augment = rand_augment_transform(policy, {"img_mean": fill, "interpolation": BICUBIC})
        return augment
    except (AssertionError, ValueError, KeyError):
        expected = "a policy of timm's such as rand-m9-mstd0.5-inc1, or null"
        raise UserError(f"data.rand_augment: got '{policy}', expected {expected}") from None


def _random_erasing(probability: float) -> Erase:
    from timm.data.random_erasing import RandomErasing

    erase: Erase = RandomErasing(probability, mode="pixel", max_count=1, device="cpu")  # type: ignore[no-untyped-call]
    return erase


def _check_ranges(**ranges: Sequence[float]) -> None:
    for name, values in ranges.items():
        if len(values) != 2 or not 0 < values[0] <= values[1]:
            raise UserError(f"data.{name}: got {list(values)}, expected two numbers above 0, the smaller first")


def _check_probabilities(**probabilities: float) -> None:
    for name, value in probabilities.items():
        if not 0 <= value <= 1:
            raise UserError(f"data.{name}: got {value}, expected a probability of 0 to 1")
