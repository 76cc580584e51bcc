"""An open image file of which rectangles are read."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from PIL import Image
from torch import Tensor

from maekit.data.images.fast_decode import turned
from maekit.system.size import HeightWidth
from maekit.tiles.region import Region


@dataclass(frozen=True)
class TiledImage:
    """An open image file.

    Attributes:
        path: of the file.
        size: of the upright image in pixels.
        read: returns the pixels of a region within the upright image as the file's reading does: PIL's in RGB, or
            [h, w, C] of bands. It raises a UserError that names the file and its damaged tile.
        decoded: bytes that the image takes in memory where its format is decoded whole; 0 where it is read in parts.
        notices: lines about how it is read, for people.
    """

    path: Path
    size: HeightWidth
    read: Callable[[Region], Image.Image | Tensor]
    decoded: int = 0
    notices: tuple[str, ...] = ()


def turned_size(stored: HeightWidth, turn: int) -> HeightWidth:
    """Returns the size of an image of a stored size after its EXIF orientation, 1 to 8."""
    return HeightWidth(stored.width, stored.height) if turn >= 5 else stored


def read_turned(read: Callable[[Region], Tensor], size: HeightWidth, turn: int) -> Callable[[Region], Tensor]:
    """Returns what reads [h, w, C] of a region of the upright image, where `read` reads the image as it is stored.

    Args:
        read: takes a region of the stored image.
        size: of the upright image.
        turn: its EXIF orientation, 1 to 8.
    """
    return lambda region: turned(read(stored_region(region, size, turn)), turn).contiguous()


def stored_region(region: Region, size: HeightWidth, turn: int) -> Region:
    """Returns the region of the stored image that shows a region of the upright one of some size."""
    top, left, bottom, right = region
    if turn in (3, 4, 7, 8):
        top, bottom = size.height - bottom, size.height - top
    if turn in (2, 3, 6, 7):
        left, right = size.width - right, size.width - left
    return Region(left, top, right, bottom) if turn >= 5 else Region(top, left, bottom, right)
