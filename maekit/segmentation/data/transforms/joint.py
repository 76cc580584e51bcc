"""What albumentations lacks for images with label maps, as transforms of it.

Import this where it is used only: albumentations takes a second.
"""

import os
from collections.abc import Sequence
from typing import Any

import numpy as np

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # it asks the network for its newest version otherwise

import albumentations as A  # type: ignore[import-untyped]

from maekit.segmentation.data.transforms.photometric import distort, draw_distortion
from maekit.segmentation.data.transforms.resize import Size, fitted_size, resize_image, resize_label

CROP_TRIES = 10
IGNORED = 255


class RandomFit(A.DualTransform):  # type: ignore[misc]  # albumentations has no types
    """Fits image and label into a box whose two sides are multiplied by one random factor, ratio kept.

    Args:
        box: the most that the longer and the shorter side may be, before the factor.
        factors: smallest and largest factor.
    """

    def __init__(self, box: Sequence[int], factors: Sequence[float]) -> None:
        super().__init__(p=1.0)
        self.box, self.factors = tuple(box), tuple(factors)

    def get_params_dependent_on_data(self, params: dict[str, Any], data: dict[str, Any]) -> dict[str, Any]:
        """Draws the size."""
        low, high = self.factors
        factor = self.py_random.random() * (high - low) + low
        height, width = params["shape"][:2]
        return {"size": fitted_size((width, height), [int(side * factor) for side in self.box])}

    def apply(self, img: np.ndarray, size: Size, **params: Any) -> np.ndarray:
        """Resizes the image."""
        return resize_image(img, size)

    def apply_to_mask(self, mask: np.ndarray, size: Size, **params: Any) -> np.ndarray:
        """Resizes the label."""
        return resize_label(mask, size)


class VariedCrop(A.DualTransform):  # type: ignore[misc]
    """Crops at random, up to ten times more where one class fills too much of a crop; small images keep their size.

    Args:
        side: height and width of the crop.
        cat_max_ratio: below this share of the labelled pixels must the largest class stay; 1 takes the first crop.
    """

    def __init__(self, side: int, cat_max_ratio: float) -> None:
        super().__init__(p=1.0)
        self.side, self.cat_max_ratio = side, cat_max_ratio

    def get_params_dependent_on_data(self, params: dict[str, Any], data: dict[str, Any]) -> dict[str, Any]:
        """Draws the place; the last try is taken whatever it holds."""
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

    def apply(self, img: np.ndarray, window: tuple[slice, slice], **params: Any) -> np.ndarray:
        """Cuts the image or the label."""
        return img[window]

    def apply_to_mask(self, mask: np.ndarray, window: tuple[slice, slice], **params: Any) -> np.ndarray:
        """Cuts the label."""
        return mask[window]


def is_varied(label: np.ndarray, cat_max_ratio: float) -> bool:
    """Says whether two classes or more are in [H, W] uint8 and none has that share of the labelled pixels or more."""
    counts = np.bincount(label.ravel(), minlength=256)[:IGNORED]
    return bool((counts > 0).sum() > 1 and counts.max() / counts.sum() < cat_max_ratio)


class Distort(A.ImageOnlyTransform):  # type: ignore[misc]
    """Brightness, contrast, saturation and hue of the image: see `distort`."""

    def __init__(self) -> None:
        super().__init__(p=1.0)

    def get_params(self) -> dict[str, Any]:
        """Draws the steps."""
        return {"drawn": draw_distortion(self.py_random)}

    def apply(self, img: np.ndarray, **params: Any) -> np.ndarray:
        """Distorts the image."""
        return distort(img, params["drawn"])


def joint_transform(
    *,
    crop_size: int,
    resize: Sequence[int],
    resize_ratio: Sequence[float],
    cat_max_ratio: float,
    horizontal_flip: float,
    photometric: bool,
) -> A.Compose:
    """Returns the published order: resize, crop, mirror, distort."""
    steps = [
        RandomFit(resize, resize_ratio),
        VariedCrop(crop_size, cat_max_ratio),
        A.HorizontalFlip(p=horizontal_flip),
        *([Distort()] if photometric else []),
    ]
    return A.Compose(steps, is_check_shapes=False)  # who reads the files has checked them, and can name them
