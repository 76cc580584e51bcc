"""Reads rectangles of a TIFF file: only the tiles or strips that they touch are decoded."""

from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from maekit.data.images.bands.file_form import UnfitError
from maekit.data.images.decode import pixel_limit
from maekit.errors import UserError
from maekit.system.size import HeightWidth
from maekit.tiles.region import Region, whole

if TYPE_CHECKING:
    from tifffile import TiffPage

CACHED = 64 * 2**20  # bytes of decoded tiles: two rows of them, of 512 pixels, in an image of 20,000 RGB pixels a row
CONVERT = (
    "convert it to a tiled TIFF, as by `vips tiffsave IN OUT.tif --tile --bigtiff --compression deflate` or "
    "`gdal_translate -co TILED=YES -co BIGTIFF=YES IN OUT.tif`"
)


class TiffRegions:
    """The samples of one image in an open TIFF file, which lie in one page, or in a page for each channel.

    Args:
        path: of the file, for errors.
        pages: of one size and kind of numbers; the file is open.

    Attributes:
        size: of the image as it is stored, in pixels.

    Raises:
        UnfitError: the pages have a depth, or a tile or strip is too large to be decoded.
    """

    def __init__(self, path: Path, pages: "Sequence[TiffPage]") -> None:
        self.path, self.pages = path, pages
        first = pages[0]
        self.size = HeightWidth(first.imagelength, first.imagewidth)
        self.dtype = np.dtype(first.dtype)
        self.cache: OrderedDict[tuple[int, int], np.ndarray | None] = OrderedDict()
        self.cached = 0
        if first.imagedepth != 1:
            raise UnfitError(f"a TIFF file of {first.imagedepth} planes in depth, expected 1; save one of them")
        self.segment = HeightWidth(first.tilelength, first.tilewidth) if first.is_tiled else self._strip()
        self.mapped = all(_is_mapped(page, path) for page in pages)
        limit, pixels = pixel_limit(), self.segment.height * self.segment.width
        if not self.mapped and limit is not None and pixels > limit:
            raise UnfitError(
                f"its strips have {self.segment.width:,} x {self.segment.height:,} pixels, of which each is decoded "
                f"whole; the limit is {limit:,}; {CONVERT}"
            )

    def read(self, region: Region) -> np.ndarray:
        """Returns samples [h, w, S] of a region within the image, in the type of the file.

        Raises:
            UserError: a tile or strip is damaged; it is named.
        """
        return np.concatenate([self._page(number, region) for number in range(len(self.pages))], axis=-1)

    def _strip(self) -> HeightWidth:
        rows = self.pages[0].rowsperstrip
        return HeightWidth(min(rows, self.size.height), self.size.width)

    def _page(self, number: int, region: Region) -> np.ndarray:
        page = self.pages[number]
        planes, _, _, _, contiguous = page.shaped
        if self.mapped:
            kind = self.dtype.newbyteorder(page.parent.byteorder)
            held = np.memmap(self.path, kind, "r", page.dataoffsets[0], page.shaped)
            part = held[:, 0, region.rows, region.columns]  # a map of this call alone: its pages are not kept
            return np.moveaxis(part, 0, 2).reshape(*region.size, -1).astype(self.dtype)
        out = np.zeros((*region.size, planes * contiguous), self.dtype)
        across = -(-self.size.width // self.segment.width)
        down = -(-self.size.height // self.segment.height)
        for row in range(region.top // self.segment.height, (region.bottom - 1) // self.segment.height + 1):
            for column in range(region.left // self.segment.width, (region.right - 1) // self.segment.width + 1):
                place = self._place(row, column)
                shared = place.inside(region)
                for plane in range(planes):
                    samples = self._decoded(number, (plane * down + row) * across + column, place)
                    to = slice(plane * contiguous, (plane + 1) * contiguous)
                    target = out[_within(shared, region)]
                    target[..., to] = (page.nodata or 0) if samples is None else samples[_within(shared, place)]
        return out

    def _place(self, row: int, column: int) -> Region:
        top, left = row * self.segment.height, column * self.segment.width
        full = Region(top, left, top + self.segment.height, left + self.segment.width)
        return full.inside(whole(self.size))

    def _decoded(self, number: int, index: int, place: Region) -> np.ndarray | None:
        """Returns the samples [h, w, s] of a tile or strip, from the cache or the file; None where it is empty."""
        key = number, index
        if key in self.cache:
            self.cache.move_to_end(key)
            return self.cache[key]
        samples = self._decode(number, index, place)
        self.cache[key] = samples
        self.cached += 0 if samples is None else samples.nbytes
        while self.cached > CACHED and len(self.cache) > 1:
            _, oldest = self.cache.popitem(last=False)
            self.cached -= 0 if oldest is None else oldest.nbytes
        return samples

    def _decode(self, number: int, index: int, place: Region) -> np.ndarray | None:
        page = self.pages[number]
        try:
            offset, count = page.dataoffsets[index], page.databytecounts[index]
            if count == 0:  # a sparse file leaves it out
                return None
            file = page.parent.filehandle
            file.seek(offset)
            data = file.read(count)
            if len(data) < count:
                raise ValueError(f"the file ends after {len(data):,} of its {count:,} bytes")
            samples, _, _ = page.decode(data, index, jpegtables=page.jpegtables)
            if samples is None or samples.shape[1] < place.size.height or samples.shape[2] < place.size.width:
                raise ValueError(f"it holds less than {place.size.width} x {place.size.height} pixels")
        except Exception as error:  # decoders raise errors of any class on damaged files
            reason = " ".join(str(error).split()) or type(error).__name__
            if "imagecodecs" in reason:
                raise
            kind = "tile" if page.is_tiled else "strip"
            raise UserError(
                f"{self.path}: {kind} {index} ({place.words()}) cannot be read ({reason[:200]}); restore the file"
            ) from None
        return np.asarray(samples[0])


def _is_mapped(page: "TiffPage", path: Path) -> bool:
    """Whether the samples lie in the file one after the other, so that any part can be read alone.

    A page that the file does not hold to its end is read by strips, which names the one that is missing.
    """
    end = page.dataoffsets[0] + int(np.prod(page.shaped, dtype=np.int64)) * np.dtype(page.dtype).itemsize
    return bool(page.is_memmappable) and path.stat().st_size >= end


def _within(region: Region, outer: Region) -> tuple[slice, slice]:
    """Returns the rows and columns of a region in an array that holds `outer`."""
    rows = slice(region.top - outer.top, region.bottom - outer.top)
    return rows, slice(region.left - outer.left, region.right - outer.left)
