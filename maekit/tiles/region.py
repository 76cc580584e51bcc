"""Rectangles of an image, and the tiles that cover it."""

from typing import NamedTuple, Self

from maekit.errors import UserError
from maekit.system.size import HeightWidth


class Region(NamedTuple):
    """A rectangle of pixels: rows `top` to `bottom` and columns `left` to `right`, the ends not included."""

    top: int
    left: int
    bottom: int
    right: int

    @property
    def size(self) -> HeightWidth:
        """Height and width in pixels."""
        return HeightWidth(self.bottom - self.top, self.right - self.left)

    @property
    def rows(self) -> slice:
        """The rows as a slice."""
        return slice(self.top, self.bottom)

    @property
    def columns(self) -> slice:
        """The columns as a slice."""
        return slice(self.left, self.right)

    def inside(self, other: Self) -> "Region":
        """Returns the part of this region that lies in another one; its sides may be 0 or negative."""
        return Region(
            max(self.top, other.top),
            max(self.left, other.left),
            min(self.bottom, other.bottom),
            min(self.right, other.right),
        )

    def words(self) -> str:
        """Returns the rows and columns as people read them, counted from 0, the last ones included."""
        return f"rows {self.top:,} to {self.bottom - 1:,}, columns {self.left:,} to {self.right - 1:,}"


def whole(size: HeightWidth) -> Region:
    """Returns the region of a whole image."""
    return Region(0, 0, *size)


def starts(length: int, window: int, stride: int) -> list[int]:
    """Returns the first pixel of each window along a side; the last window is shifted back to end with the side.

    A side shorter than the window has one window, which begins at 0.
    """
    steps = max(length - window + stride - 1, 0) // stride + 1
    return [max(min(step * stride, length - window), 0) for step in range(steps)]


def tiles(size: HeightWidth, tile: int, overlap: int) -> list[Region]:
    """Returns the tiles of an image, row by row; those at the right and the bottom end with the image.

    Args:
        size: of the image in pixels.
        tile: height and width of a tile in pixels; a shorter side of the image has one tile.
        overlap: pixels that neighbours share, 0 or more; the last tile of a row or column may share more.

    Raises:
        UserError: the overlap is negative, or not smaller than the tile.
    """
    check_tile(tile, overlap)
    tops, lefts = (starts(side, tile, tile - overlap) for side in size)
    return [
        Region(top, left, min(top + tile, size.height), min(left + tile, size.width)) for top in tops for left in lefts
    ]


def check_tile(tile: int, overlap: int) -> None:
    """Refuses tiles that do not cover an image.

    Raises:
        UserError: names the flag.
    """
    if tile < 1:
        raise UserError(f"--tile: got {tile}, expected 1 pixel or more, such as 1024")
    if not 0 <= overlap < tile:
        raise UserError(
            f"--overlap: got {overlap} with tiles of {tile} pixels, expected 0 to {tile - 1}; such as --overlap "
            f"{tile // 8}"
        )
