"""A JPEG2000 file as a `TiledImage`: regions of it by rasterio, whose wheels bring GDAL with OpenJPEG."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from struct import unpack

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from maekit.data.images.reading_of import AnyReading
from maekit.errors import UserError
from maekit.system.size import HeightWidth
from maekit.tiles.region import Region
from maekit.tiles.tiled_image import TiledImage

MAGIC = b"\0\0\0\x0cjP  "  # ISO 15444-1: a JP2 file; a bare codestream does not say what its channels are
INSTALL = "pip install 'maekit[jp2]'"
CACHE_MEGABYTES = 64
_SIZ, _HEADER = b"\xff\x4f\xff\x51", 2**16  # ISO 15444-1: codestream and sizes; bytes in which they are looked for
COLOURS = ("red", "green", "blue")


@contextmanager
def jp2_regions(path: Path, head: bytes, reading: AnyReading) -> Iterator[TiledImage | None]:
    """Opens a JPEG2000 file to read parts of it; gives None for what must be decoded whole.

    That is any other format, an image below the limit of pixels, one that is not 8-bit grey or RGB with or without
    alpha, one of bands, and all of them where rasterio is not installed. Parts take less memory and 7 to 14 times as
    long as the whole (4,096 x 4,096 pixels, with tiles and without), so they are for what cannot be read otherwise.

    Args:
        path: of the file.
        head: its first bytes.
        reading: how the whole file would be read.
    """
    from maekit.data.images.decode import Reading

    if not head.startswith(MAGIC) or not isinstance(reading, Reading) or not _is_above_limit(path):
        yield None
        return
    try:
        import rasterio
        from rasterio.errors import NotGeoreferencedWarning, RasterioError
    except ImportError:
        yield None
        return

    with rasterio.Env(GDAL_CACHEMAX=CACHE_MEGABYTES, GDAL_PAM_ENABLED="NO"):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", NotGeoreferencedWarning)
                file = rasterio.open(path, driver="JP2OpenJPEG")
        except RasterioError:  # Pillow, which then reads it, says what is wrong
            yield None
            return
        with file:
            channels = [colour.name for colour in file.colorinterp]
            if set(file.dtypes) != {"uint8"} or (channels[:3] != list(COLOURS) and channels[:1] != ["gray"]):
                yield None
                return
            bands = [1, 2, 3] if channels[0] == COLOURS[0] else [1, 1, 1]

            def read(region: Region) -> Image.Image:
                window = ((region.top, region.bottom), (region.left, region.right))
                try:
                    planes: NDArray[np.uint8] = file.read(bands, window=window)
                except RasterioError as error:
                    reason = " ".join(str(error).split())[:200]
                    raise UserError(f"{path}: {region.words()} cannot be read ({reason}); restore the file") from None
                return Image.fromarray(np.ascontiguousarray(planes.transpose(1, 2, 0)))

            yield TiledImage(path, HeightWidth(file.height, file.width), read)


def _is_above_limit(path: Path) -> bool:
    """Whether a file has too many pixels to be decoded whole, by the sizes in its codestream."""
    from maekit.data.images.decode import pixel_limit

    with path.open("rb") as file:
        found = file.read(_HEADER)
    place, limit = found.find(_SIZ), pixel_limit()
    sizes = found[place + len(_SIZ) + 4 :][:16]  # after the marker segment's length and its capabilities
    if place < 0 or len(sizes) < 16 or limit is None:
        return False
    width, height, left, top = map(int, unpack(">4I", sizes))
    return (width - left) * (height - top) > limit
