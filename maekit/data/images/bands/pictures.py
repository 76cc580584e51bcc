"""Pictures that Pillow opens, with all their channels, and in full depth where Pillow gives 8 bits of colours."""

import warnings
from pathlib import Path

import numpy as np
from PIL import Image

from maekit.base.spec import RGB
from maekit.data.images.bands.file_form import FileForm, UnfitError, unique
from maekit.data.images.decode import open_image, orientation
from maekit.data.images.deep_colour import deep_mode, deep_pixels

GREY, ALPHA = "grey", "A"
_NAMES = {"L": (GREY,), "I;16": (GREY,), "I;16B": (GREY,), "I;16L": (GREY,), "LA": (GREY, ALPHA), "RGBA": (*RGB, ALPHA)}
_NAMES |= {"F": (GREY,), "RGB": RGB}


def look(path: Path) -> FileForm:
    """Returns the form of a picture: grey, grey with alpha, RGB or RGB with alpha; others count as RGB.

    Raises:
        UnfitError: its numbers are of another kind.
        Exception: it cannot be opened: Pillow raises errors of any class.
    """
    with _opened(path) as image:
        deep, turn = _deep(image), orientation(image)
        if image.mode == "I":
            raise UnfitError("grey of 32-bit integers, expected 8 or 16 bits; save it so")
        names = _NAMES[deep] if deep else _NAMES.get(image.mode, RGB)
        kind = "uint16" if deep or image.mode.startswith("I") else "float32" if image.mode == "F" else "uint8"
        return FileForm(image.height, image.width, unique(names), kind, plain=kind == "uint8", turn=turn)


def read(path: Path) -> np.ndarray:
    """Returns the pixels [H, W, C], as stored, 8 or 16 bits or float32."""
    with _opened(path) as image:
        if deep := _deep(image):
            image.verify()  # checks every chunk's sum
            return deep_pixels(path, deep)
        image.load()
        known = image.mode in _NAMES
        pixels = np.asarray(image if known else image.convert("RGB"))
        return pixels[..., None] if pixels.ndim == 2 else pixels


def _opened(path: Path) -> Image.Image:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return open_image(path)


def _deep(image: Image.Image) -> str:
    """The mode of a PNG of 16-bit colours; empty for any other picture."""
    return deep_mode(image) if image.format == "PNG" else ""
