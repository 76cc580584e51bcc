"""What a data set says of each pixel of its images, as the commands on frozen features ask for it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from torch import Tensor


class PixelMetric(Protocol):
    """Counts predicted and true classes of pixels, image by image."""

    def update(self, predicted: Tensor, label: Tensor) -> None:
        """Adds one image: integers [H, W] both, 255 in the label is ignored."""

    def compute(self) -> dict[str, Tensor]:
        """Returns the values of all images by name."""


@dataclass(frozen=True)
class PixelLabels:
    """The label maps of a data set, none of them read yet.

    Attributes:
        class_names: one a class, in label order.
        train: each training image's absolute path, and the number by which `read` knows its label map.
        val: likewise of the validation images.
        read: returns a label map [H, W] uint8, upright, at the size of its file: 0 to C - 1, 255 is ignored.
        new_metric: returns an empty metric.
    """

    class_names: tuple[str, ...]
    train: Mapping[str, int]
    val: Mapping[str, int]
    read: Callable[[int], np.ndarray]
    new_metric: Callable[[], PixelMetric]
