"""Sizes and resampling of images with label maps, as mmcv computes them."""

import math
from collections.abc import Sequence

import cv2
import numpy as np

from maekit.system.size import HeightWidth

LONGEST_ASPECT = 16


def fitted_size(size: HeightWidth, box: Sequence[int]) -> HeightWidth:
    """Returns the largest size of the same ratio that fits a box, at least one pixel a side (mmcv.imrescale's).

    Args:
        size: of the image, in pixels.
        box: limits for the longer and the shorter side in pixels, in either order.
    """
    scale = min(max(box) / max(size), min(box) / min(size))
    return HeightWidth(*(max(1, int(side * scale + 0.5)) for side in size))


def evaluation_size(size: HeightWidth, box: Sequence[int], min_side: int, divisor: int | None) -> HeightWidth:
    """Returns the size an image is evaluated at: `fitted_size`, but with no side below `min_side`.

    A narrow image keeps its ratio up to 16 : 1, however much longer than the box that is. Beyond, its long side is
    squeezed to 16 times the short one: otherwise one pixel by 5,000 would become 512 by 2,560,000.

    Args:
        size: of the image, in pixels.
        box: see `fitted_size`.
        min_side: smallest side the model takes, because its positions have a fixed size.
        divisor: both sides are rounded up to its multiple; None for any size.
    """
    height, width = fitted_size(size, box)
    if min(height, width) < min_side:
        ratio = max(size) / min(size)
        long = min(max(int(min_side * ratio + 0.5), min_side), LONGEST_ASPECT * min_side)
        height, width = (min_side, long) if size.width >= size.height else (long, min_side)
    if divisor:
        height, width = (math.ceil(side / divisor) * divisor for side in (height, width))
    return HeightWidth(height, width)


def resize_image(image: np.ndarray, size: HeightWidth) -> np.ndarray:
    """Returns [H, W, C] at another size: bilinear without antialiasing, OpenCV's and mmcv's default."""
    one_thread()
    small = np.asarray(cv2.resize(image, (size.width, size.height), interpolation=cv2.INTER_LINEAR))
    return small.reshape(*small.shape[:2], -1)  # OpenCV drops a single channel


def resize_label(label: np.ndarray, size: HeightWidth) -> np.ndarray:
    """Returns [H, W] uint8 at another size, each pixel the nearest label."""
    return np.asarray(cv2.resize(label, (size.width, size.height), interpolation=cv2.INTER_NEAREST))


def one_thread() -> None:
    """Keeps OpenCV from starting threads in each of many data-loading processes."""
    if cv2.getNumThreads() > 1:
        cv2.setNumThreads(0)
