"""The size of an image or a map: height first, everywhere."""

from typing import NamedTuple


class HeightWidth(NamedTuple):
    """Height and width, in pixels unless its name says otherwise.

    Pillow gives and takes (width, height): `HeightWidth(image.height, image.width)` where one is read.
    """

    height: int
    width: int
