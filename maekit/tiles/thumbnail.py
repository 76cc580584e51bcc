"""A small picture of an image that is larger than memory."""

from collections.abc import Callable

from PIL import Image
from torch import Tensor

from maekit.tiles.region import Region
from maekit.tiles.tiled_image import TiledImage

READ = 2**22  # pixels that are read at once


def shrunk(image: TiledImage, longest: int, picture_of: Callable[[Tensor], Image.Image] | None = None) -> Image.Image:
    """Returns an RGB picture of an image, each pixel the mean of a square of the file's.

    Args:
        image: is open.
        longest: the most pixels that a side has.
        picture_of: turns pixels [h, w, C] of bands into RGB; None for an image of RGB.

    Raises:
        UserError: a tile of the file is damaged.
    """
    height, width = image.size
    side = -(-max(image.size) // longest)
    small = Image.new("RGB", (-(-width // side), -(-height // side)))
    rows = max(READ // width // side, 1) * side
    for top in range(0, height, rows):
        part = image.read(Region(top, 0, min(top + rows, height), width))
        if isinstance(part, Tensor):
            assert picture_of is not None, "the image is of bands"
            part = picture_of(part)
        small.paste(part.reduce(side) if side > 1 else part, (0, top // side))
    return small
