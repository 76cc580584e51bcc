"""Resizing pictures of any channels: of 8 bits with Pillow's very pixels, of floats with Pillow's weights."""

from typing import Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from maekit.system.size import HeightWidth

Filter = Literal["bicubic", "bilinear"]
_PILLOW = {"bicubic": Image.Resampling.BICUBIC, "bilinear": Image.Resampling.BILINEAR}


def size_of(image: Image.Image | Tensor) -> HeightWidth:
    """Returns the size in pixels of a PIL image or of pixels [H, W, C]."""
    if isinstance(image, Tensor):
        return HeightWidth(image.shape[0], image.shape[1])
    return HeightWidth(image.height, image.width)


def resize(pixels: Tensor, size: HeightWidth, how: Filter = "bicubic") -> Tensor:
    """Returns [h, w, C] of [H, W, C], resized with antialiasing.

    Whole numbers are Pillow's of each channel, so that grey gives the same as grey repeated to RGB; they are cut to
    0..255. Floats are not cut: bicubic interpolation may go beyond the brightest and the darkest pixel.

    Args:
        pixels: uint8 or float32.
        size: of the result.
        how: the filter.
    """
    if size == size_of(pixels):
        return pixels
    if pixels.dtype == torch.uint8:
        small = [
            np.asarray(_plane(each).resize(size[::-1], _PILLOW[how])) for each in pixels.numpy().transpose(2, 0, 1)
        ]
        return torch.from_numpy(np.stack(small, axis=2))
    planes = pixels.permute(2, 0, 1)[None]
    return F.interpolate(planes, tuple(size), mode=how, antialias=True)[0].permute(1, 2, 0)


def _plane(values: np.ndarray) -> Image.Image:
    return Image.fromarray(np.ascontiguousarray(values))
