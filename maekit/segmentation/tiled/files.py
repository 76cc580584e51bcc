"""Writes the labels of a large image as a tiled TIFF file, and its picture."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from maekit.data.images.bands.tiff import INSTALL
from maekit.drawing.text import Colour
from maekit.errors import UserError
from maekit.segmentation.pictures import overlay
from maekit.segmentation.tiled.labels import TiledLabels
from maekit.system.files import atomic_write
from maekit.system.size import HeightWidth

TILE = 512


def write_tiff(path: Path, labels: TiledLabels, palette: Sequence[Colour]) -> None:
    """Writes labels as a BigTIFF of tiles with one byte a pixel, deflated, the class colours as its palette.

    The file appears when it is whole.

    Raises:
        UserError: tifffile is not installed, or the disk is full.
    """
    try:
        from tifffile import TiffWriter
    except ImportError:
        raise UserError(f"labels of a large image are written as TIFF, by tifffile; {INSTALL}") from None
    colours = np.zeros((3, 256), dtype=np.uint16)
    colours[:, : len(palette)] = np.asarray(palette, dtype=np.uint16).reshape(-1, 3).T * 257
    with atomic_write(path) as file, TiffWriter(file, bigtiff=True) as tiff:
        tiff.write(
            _tiles(labels),
            shape=tuple(labels.size),
            dtype=np.uint8,
            tile=(TILE, TILE),
            photometric="palette",
            colormap=colours,
            compression="zlib",
            metadata=None,
            software=False,
        )


def _tiles(labels: TiledLabels) -> Iterator[NDArray[np.uint8]]:
    """Yields whole tiles, row by row; beyond the image they are 0."""
    height, width = labels.size
    for top in range(0, height, TILE):
        rows = labels.rows(top, min(top + TILE, height))
        for left in range(0, width, TILE):
            tile = np.zeros((TILE, TILE), dtype=np.uint8)
            part = rows[:, left : left + TILE]
            tile[: part.shape[0], : part.shape[1]] = part
            yield tile


def tiled_overlay(
    picture: Image.Image, labels: TiledLabels, palette: Sequence[Colour], names: Sequence[str]
) -> Image.Image:
    """Returns the picture of a large image with the colours of its labels over it, and the legend of the whole image.

    Args:
        picture: of the image at a smaller size, which is kept.
        labels: of the image.
        palette: C colours.
        names: C class names.
    """
    size = HeightWidth(picture.height, picture.width)
    rows, columns = (
        ((np.arange(small) + 0.5) * side / small).astype(np.int64)
        for small, side in zip(size, labels.size, strict=True)
    )
    seen = np.stack([labels.rows(row, row + 1)[0, columns] for row in rows.tolist()])
    shares = np.append(labels.counts, 0) / max(int(labels.counts.sum()), 1)
    return overlay(picture, seen, palette, names, largest=max(size), shares=shares)
