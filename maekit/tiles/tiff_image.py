"""A TIFF file as a `TiledImage`: the same white, bands and turn as when it is read whole."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from maekit.data.images.bands.read import look
from maekit.data.images.bands.reading import BandReading, require_alike
from maekit.data.images.bands.tiff import image_pages
from maekit.data.images.decode import ORIENTATION, PlainError, Reading
from maekit.data.images.reading_of import AnyReading
from maekit.data.images.survey import Look, Survey, choose_white
from maekit.errors import UserError
from maekit.tiles.region import Region, tiles
from maekit.tiles.tiff_colours import Colours, colours_of
from maekit.tiles.tiff_regions import TiffRegions
from maekit.tiles.tiled_image import TiledImage, read_turned, turned_size

if TYPE_CHECKING:
    from tifffile import TiffFile

SAMPLED, SAMPLE_SIDE = 36, 256  # regions that are looked into to find out what is white, and their side in pixels


def tiff_image(path: Path, file: "TiffFile", reading: AnyReading) -> TiledImage:
    """Returns the image of an open TIFF file: its first page, or of bands the pages that hold them.

    Raises:
        UserError: it has other bands than the data, or it is unclear which value is white.
        UnfitError: it is coded in a way that is not read in parts.
    """
    return _bands(path, file, reading) if isinstance(reading, BandReading) else _picture(path, file, reading)


def _bands(path: Path, file: "TiffFile", reading: BandReading) -> TiledImage:
    form = look(path)
    require_alike(path, form, reading.bands.file_names, reading.bands.dtype)
    regions, turn = TiffRegions(path, image_pages(file)), form.turn if reading.upright else 1

    def read(region: Region) -> Tensor:
        samples = regions.read(region).astype(form.dtype, copy=False)
        return reading.chosen(path, samples, form, corner=(region.top, region.left))

    size = turned_size(regions.size, turn)
    return TiledImage(path, size, read_turned(read, size, turn))


def _picture(path: Path, file: "TiffFile", reading: Reading) -> TiledImage:
    page = file.pages.first.aspage()
    colours, regions = colours_of(page), TiffRegions(path, [page])
    found = page.tags.valueof(ORIENTATION, 1)
    turn = found if found in range(1, 9) else 1  # whatever `reading` says: Pillow turns a TIFF file when it loads it
    white, notice = _white(regions, colours, reading)

    def read(region: Region) -> Tensor:
        try:
            return torch.from_numpy(np.array(colours(regions.read(region), white, reading.clip)))
        except PlainError as error:
            raise UserError(f"{path}: {error}") from None

    size = turned_size(regions.size, turn)
    upright = read_turned(read, size, turn)
    notices = (notice,) if notice else ()
    return TiledImage(path, size, lambda region: Image.fromarray(upright(region).numpy()), notices=notices)


def _white(regions: TiffRegions, colours: Colours, reading: Reading) -> tuple[float | None, str]:
    """Returns the reading's white, or where it has none that of a sample of a deep image, and a sentence on it."""
    if not colours.deep or reading.white is not None:
        return reading.white, ""
    places = tiles(regions.size, SAMPLE_SIDE, 0)
    values = [regions.read(place) for place in places[:: max(1, len(places) // SAMPLED)]]
    low, high = float(min(part.min() for part in values)), float(max(part.max() for part in values))
    depth = "float" if colours.dtype.kind == "f" else "whole"
    return choose_white(Survey((Look(str(regions.path), depth=depth, low=low, high=high),)), None, flag="")
