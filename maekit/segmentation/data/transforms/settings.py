"""The numbers of the training augmentation, which are flags of the data, and their ranges."""

from collections.abc import Sequence
from dataclasses import dataclass

from maekit.errors import UserError


@dataclass(kw_only=True, eq=False, repr=False)
class SegAugmentation:
    """The numbers of a `SegTrainTransform`. A data set inherits them, which makes them flags.

    Args:
        crop_size: height and width in pixels of a training crop, and the smallest side of an evaluated image.
        resize: longest and shortest side in pixels that an image is fitted into, ratio kept.
        resize_ratio: smallest and largest random factor on both of them in training.
        cat_max_ratio: share of a crop that its largest class must not reach, in ten tries; 1 for any crop.
        horizontal_flip: probability of mirroring a training image; 0 where left and right differ, as in digits.
        photometric: distort brightness, contrast, saturation and hue of training images.
        mean: of the three channels, in 0..1.
        std: of the three channels, in 0..1.
    """

    crop_size: int
    resize: list[int]
    resize_ratio: list[float]
    cat_max_ratio: float
    horizontal_flip: float
    photometric: bool
    mean: list[float]
    std: list[float]


def check_augmentation(numbers: SegAugmentation) -> None:
    """Raises a UserError for a number out of range, except for mean and std, which `Normalise` checks."""
    check_sizes(numbers.crop_size, numbers.resize)
    low_high = numbers.resize_ratio
    if len(low_high) != 2 or not 0 < low_high[0] <= low_high[1]:
        raise UserError(f"data.resize_ratio: got {list(low_high)}, expected two numbers above 0, smaller first")
    if not 0 < numbers.cat_max_ratio <= 1:
        raise UserError(f"data.cat_max_ratio: got {numbers.cat_max_ratio}, expected above 0 and at most 1 (any crop)")
    if not 0 <= numbers.horizontal_flip <= 1:
        raise UserError(f"data.horizontal_flip: got {numbers.horizontal_flip}, expected a probability of 0 to 1")


def check_sizes(crop_size: int, resize: Sequence[int]) -> None:
    """Raises a UserError for a crop or a box without a pixel, or a box that is not two numbers."""
    if crop_size < 1:
        raise UserError(f"data.crop_size: got {crop_size}, expected 1 or more pixels")
    if len(resize) != 2 or min(resize) < 1:
        raise UserError(f"data.resize: got {list(resize)}, expected the longest and the shortest side in pixels")
