"""Opens an image file to read rectangles of it."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image
from torch import Tensor

from maekit.data.images.bands import tiff
from maekit.data.images.bands.pixels import size_of
from maekit.data.images.bands.read import one_line
from maekit.data.images.bands.reading import BandReading
from maekit.data.images.decode import open_image, pixel_limit
from maekit.data.images.reading_of import AnyReading
from maekit.errors import UserError
from maekit.system.size import HeightWidth
from maekit.tiles.jp2_image import INSTALL, MAGIC, jp2_regions
from maekit.tiles.region import Region
from maekit.tiles.tiff_image import tiff_image
from maekit.tiles.tiff_regions import CONVERT
from maekit.tiles.tiled_image import TiledImage


@contextmanager
def open_tiled(path: Path, reading: AnyReading) -> Iterator[TiledImage]:
    """Opens an image file to read regions of it.

    A TIFF file is read tile by tile or strip by strip, at the full size of a pyramid, and JPEG2000 by `jp2_regions`.
    All other formats are decoded whole, by `reading` itself, where they have no more pixels than `pixel_limit()`.

    Args:
        path: of the file.
        reading: how the whole file would be read.

    Raises:
        UserError: the file is missing or damaged, is too large to be decoded whole, or has other channels.
    """
    head = one_line(path, _head)
    if not head.startswith(tiff.MAGIC):
        with jp2_regions(path, head, reading) as regions:
            yield _whole_image(path, reading, head) if regions is None else regions
        return
    with one_line(path, tiff.opened) as file:
        yield one_line(path, lambda _: tiff_image(path, file, reading))


def stored_size(path: Path, reading: AnyReading) -> HeightWidth:
    """Returns the size of an image as it is stored, from its header, however large it is.

    Raises:
        UserError: the file is missing or damaged.
    """
    return reading.sizes(path)[1] if isinstance(reading, BandReading) else one_line(path, _picture_size)


def _picture_size(path: Path) -> HeightWidth:
    if _head(path).startswith(tiff.MAGIC):
        with tiff.opened(path) as file:
            page = file.pages.first.aspage()
            return HeightWidth(page.imagelength, page.imagewidth)
    limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
    try:
        with open_image(path) as image:
            return size_of(image)
    finally:
        Image.MAX_IMAGE_PIXELS = limit


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(12)


def _whole_image(path: Path, reading: AnyReading, head: bytes) -> TiledImage:
    size, limit = stored_size(path, reading), pixel_limit()
    decoded = size.height * size.width * _bytes_a_pixel(reading)
    if limit is not None and size.height * size.width > limit:
        install = f"{INSTALL} reads 8-bit colours or grey of it in parts, or " if head.startswith(MAGIC) else ""
        raise UserError(
            f"{path}: {size.width:,} x {size.height:,} pixels of a format that is decoded whole, which takes "
            f"{decoded / 1e9:.1f} GB; the limit is {limit:,} pixels; {install}{CONVERT}"
        )
    image = reading(path)
    if isinstance(image, Tensor):
        return TiledImage(path, size_of(image), lambda region: image[region.rows, region.columns].clone(), decoded)
    return TiledImage(path, size_of(image), lambda region: image.crop(_corners(region)), decoded)


def _bytes_a_pixel(reading: AnyReading) -> int:
    if not isinstance(reading, BandReading):
        return 3
    return len(reading.bands.names) * (1 if reading.bands.dtype == "uint8" else 4)


def _corners(region: Region) -> tuple[int, int, int, int]:
    return region.left, region.top, region.right, region.bottom
