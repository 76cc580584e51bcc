"""Sizes and resampling of images with label maps, as mmcv computes them."""

import math
from collections.abc import Sequence

import cv2
import numpy as np

LONGEST_ASPECT = 16

Size = tuple[int, int]
"""Width and height in pixels."""


def fitted_size(size: Size, box: Sequence[int]) -> Size:
    """Returns the largest size of the same ratio that fits a box: mmcv.imrescale's, and never without a pixel.

    Args:
        size: width and height.
        box: the most that the longer and the shorter side may be, in either order.
    """
    scale = min(max(box) / max(size), min(box) / min(size))
    width, height = (max(1, int(side * scale + 0.5)) for side in size)
    return width, height


def evaluation_size(size: Size, box: Sequence[int], min_side: int, divisor: int | None) -> Size:
    """Returns the size an image is evaluated at: as `fitted_size`, but with no side below `min_side`.

    A strip keeps its ratio up to 16 : 1, however much longer than the box that is. Beyond, its long side is squeezed to
    16 times the short one: whole, one pixel by 5,000 would become 512 by 2,560,000.

    Args:
        size: width and height.
        box: see `fitted_size`.
        min_side: a model with positions of one size needs that much.
        divisor: both sides are rounded up to its multiple; None for any size.
    """
    width, height = fitted_size(size, box)
    if min(width, height) < min_side:
        limit = LONGEST_ASPECT * min_side
        ratio = max(size) / min(size)
        long = min(max(int(min_side * ratio + 0.5), min_side), limit)
        width, height = (long, min_side) if size[0] >= size[1] else (min_side, long)
    if divisor:
        width, height = (math.ceil(side / divisor) * divisor for side in (width, height))
    return width, height


def resize_image(image: np.ndarray, size: Size) -> np.ndarray:
    """Returns [H, W, 3] uint8, bilinear without antialiasing, which is OpenCV's and mmcv's default."""
    one_thread()
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_LINEAR))


def resize_label(label: np.ndarray, size: Size) -> np.ndarray:
    """Returns [H, W] uint8, the nearest label."""
    return np.asarray(cv2.resize(label, size, interpolation=cv2.INTER_NEAREST))


def one_thread() -> None:
    """Keeps OpenCV from starting threads in each of many loading processes."""
    if cv2.getNumThreads() > 1:
        cv2.setNumThreads(0)
