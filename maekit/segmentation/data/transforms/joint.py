"""Random steps on an image with its label map that albumentations lacks, written as transforms of it.

Import this module lazily: albumentations takes a second to import.
"""

import os
from collections.abc import Mapping, Sequence
from typing import TypedDict

import numpy as np

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # otherwise it asks the network for its newest version

import albumentations as A  # type: ignore[import-untyped]

from maekit.segmentation.data.transforms.photometric import Distortion, distort, draw_distortion
from maekit.segmentation.data.transforms.resize import fitted_size, resize_image, resize_label
from maekit.segmentation.data.transforms.settings import SegAugmentation
from maekit.system.size import HeightWidth

CROP_TRIES = 10
IGNORED = 255


class Shape(TypedDict):
    """What albumentations says of a sample before a transform draws: `shape` is [H, W, 3] of the image."""

    shape: tuple[int, ...]


class RandomFit(A.DualTransform):  # type: ignore[misc]  # albumentations has no types
    """Fits image and label map into a box whose two sides are multiplied by one random factor, ratio kept.

    Args:
        box: limits for the longer and the shorter side in pixels, before the factor.
        factors: smallest and largest factor.
    """

    def __init__(self, box: Sequence[int], factors: Sequence[float]) -> None:
        super().__init__(p=1.0)
        self.box, self.factors = tuple(box), tuple(factors)

    def get_params_dependent_on_data(self, params: Shape, data: object) -> dict[str, HeightWidth]:
        """Draws the factor, uniformly, and returns the size it gives."""
        low, high = self.factors
        factor = self.py_random.random() * (high - low) + low
        height, width = params["shape"][:2]
        return {"size": fitted_size(HeightWidth(height, width), [int(side * factor) for side in self.box])}

    def apply(self, img: np.ndarray, size: HeightWidth, **params: object) -> np.ndarray:
        """Returns the image at that size."""
        return resize_image(img, size)

    def apply_to_mask(self, mask: np.ndarray, size: HeightWidth, **params: object) -> np.ndarray:
        """Returns the label map at that size."""
        return resize_label(mask, size)


class VariedCrop(A.DualTransform):  # type: ignore[misc]
    """Crops at random, again up to ten times while one class fills too much of the crop.

    A side shorter than the crop is kept.

    Args:
        side: height and width of the crop in pixels.
        cat_max_ratio: the largest class must have less than this share of the labelled pixels; 1 takes the first crop.
    """

    def __init__(self, side: int, cat_max_ratio: float) -> None:
        super().__init__(p=1.0)
        self.side, self.cat_max_ratio = side, cat_max_ratio

    def get_params_dependent_on_data(
        self, params: Shape, data: Mapping[str, np.ndarray]
    ) -> dict[str, tuple[slice, slice]]:
        """Draws the crop's rows and columns; the last try is taken without a look."""
        window = self._draw(params["shape"])
        if self.cat_max_ratio < 1:
            for _ in range(CROP_TRIES):
                if is_varied(data["mask"][window], self.cat_max_ratio):
                    break
                window = self._draw(params["shape"])
        return {"window": window}

    def _draw(self, shape: tuple[int, ...]) -> tuple[slice, slice]:
        top, left = (self.py_random.randrange(max(side - self.side, 0) + 1) for side in shape[:2])
        return slice(top, top + self.side), slice(left, left + self.side)

    def apply(self, img: np.ndarray, window: tuple[slice, slice], **params: object) -> np.ndarray:
        """Returns the crop of the image or of the label map."""
        return img[window]

    apply_to_mask = apply


def is_varied(label: np.ndarray, cat_max_ratio: float) -> bool:
    """Returns whether [H, W] uint8 has two classes or more, each below that share of the labelled pixels."""
    counts = np.bincount(label.ravel(), minlength=256)[:IGNORED]
    return bool((counts > 0).sum() > 1 and counts.max() / counts.sum() < cat_max_ratio)


class Distort(A.ImageOnlyTransform):  # type: ignore[misc]
    """Distorts brightness, contrast, saturation and hue of the image: see `distort`."""

    def __init__(self) -> None:
        super().__init__(p=1.0)

    def get_params(self) -> dict[str, Distortion]:
        """Draws the steps."""
        return {"drawn": draw_distortion(self.py_random)}

    def apply(self, img: np.ndarray, drawn: Distortion, **params: object) -> np.ndarray:
        """Returns the distorted image."""
        return distort(img, drawn)


def joint_transform(numbers: SegAugmentation, *, colours: bool = True) -> A.Compose:
    """Returns the steps in the published order: resize, crop, mirror, distort.

    Args:
        numbers: of the steps.
        colours: whether images are 8-bit RGB, for which the distortion is; else it is left out.
    """
    steps = [
        RandomFit(numbers.resize, numbers.resize_ratio),
        VariedCrop(numbers.crop_size, numbers.cat_max_ratio),
        A.HorizontalFlip(p=numbers.horizontal_flip),
        *([Distort()] if numbers.photometric and colours else []),
    ]
    return A.Compose(steps, is_check_shapes=False)  # the reader has checked the shapes, and knows the file names
