"""Colours of 16 bits a channel, of which Pillow gives the upper 8 bits alone: OpenCV reads them in full."""

from pathlib import Path

import numpy as np
from PIL import Image

ORDER = {"RGB": [2, 1, 0], "RGBA": [2, 1, 0, 3], "RGBX": [2, 1, 0, 3], "LA": [0, 3]}


def deep_mode(image: Image.Image) -> str:
    """Returns RGB, RGBA, RGBX or LA for an opened picture of 16 bits a channel; empty for any other.

    To be asked before its pixels are loaded, which forgets how they lie in the file.
    """
    if image.format not in ("PNG", "TIFF"):
        return ""
    modes = {word.partition(";")[0] for word in _raw_modes(image) if ";16" in word}
    return modes.pop() if len(modes) == 1 and modes <= ORDER.keys() else ""


def has_16_bits(image: Image.Image) -> bool:
    """Whether an opened picture has 16 bits a channel, of which Pillow gives the upper 8; to be asked likewise."""
    return any(";16" in word for word in _raw_modes(image))


def _raw_modes(image: Image.Image) -> list[str]:
    tiles = getattr(image, "tile", [])  # of a file that is not loaded yet
    return [part for tile in tiles for part in np.ravel(np.array(tile[3], dtype=object)) if isinstance(part, str)]


def deep_pixels(path: str | Path, mode: str) -> np.ndarray:
    """Returns [H, W, C] uint16 of a picture of 16 bits, channels in the order of its mode, not turned.

    It gives what it has of a damaged file: Pillow is to load or verify the picture first.

    Raises:
        ValueError: OpenCV cannot read it.
    """
    import cv2

    pixels = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels is None or pixels.dtype != np.uint16 or pixels.ndim != 3 or pixels.shape[2] < len(ORDER[mode]):
        raise ValueError("colours of 16 bits that OpenCV cannot read; save it as PNG")
    return np.ascontiguousarray(pixels[..., ORDER[mode]])
