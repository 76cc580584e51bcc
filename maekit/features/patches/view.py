"""Whole images as the backbone is given them, in patches: how many there are, and the pixels."""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image
from torch import Tensor

from maekit.data.images.bands.pixels import resize
from maekit.data.images.bands.reading import BandReading
from maekit.data.images.decode import open_image, orientation, set_pixel_limit
from maekit.data.images.reading_of import AnyReading
from maekit.data.images.transforms import BICUBIC, normalise_of
from maekit.system.size import HeightWidth

LONGEST_ASPECT = 4


def grid_of(image: HeightWidth, size: int | HeightWidth, patch_size: int) -> HeightWidth:
    """Returns the patches (h, w) into which a whole image is cut.

    Args:
        image: its size in pixels.
        size: pixels of the short side, where the image keeps its shape up to whole patches and is at most four times
            as long as wide; or height and width, into which every image is squeezed.
        patch_size: in pixels; divides a given height and width.
    """
    if isinstance(size, HeightWidth):
        return HeightWidth(size.height // patch_size, size.width // patch_size)
    scale = size / min(image)
    tall, wide = (min(side * scale, LONGEST_ASPECT * size) for side in image)
    return HeightWidth(max(1, round(tall / patch_size)), max(1, round(wide / patch_size)))


@dataclass(frozen=True)
class WholeView:
    """Resizes a whole image, none of it cut off, to a number of patches, and normalises it.

    Attributes:
        input: the arguments of the weights' `EvalTransform`.
        patch_size: in pixels.
    """

    input: Mapping[str, Any]
    patch_size: int

    def __call__(self, image: Image.Image | Tensor, grid: HeightWidth) -> Tensor:
        """Returns [C, h * P, w * P] float32 of an RGB image, or of pixels [H, W, C] of bands, for a grid (h, w)."""
        size = HeightWidth(grid.height * self.patch_size, grid.width * self.patch_size)
        normalise = normalise_of(self.input)
        if isinstance(image, Tensor):
            return normalise(resize(image, size))
        return normalise(image.resize((size.width, size.height), BICUBIC))


def size_in_header(path: str | Path, reading: AnyReading) -> HeightWidth | None:
    """Returns an image's size in pixels as it is read, upright, from its header; None if it cannot be read."""
    try:
        if isinstance(reading, BandReading):
            turned, stored = reading.sizes(path)
            return turned if reading.upright else stored
        set_pixel_limit()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with open_image(path) as image:
                stored = HeightWidth(image.height, image.width)
                return HeightWidth(image.width, image.height) if orientation(image) >= 5 else stored
    except Exception:  # reading it will raise the same, as one line
        return None
