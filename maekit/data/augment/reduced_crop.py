"""A random crop of a JPEG that is decoded no larger than the crop needs."""

import warnings
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile
from torch import Tensor

from maekit.data.augment.augment import Box, TrainTransform
from maekit.data.images.decode import Reading, orientation, read_image, upright
from maekit.data.images.fast_decode import read_pixels
from maekit.data.images.reduced_size import largest_factor
from maekit.data.images.transforms import BICUBIC
from maekit.system.size import HeightWidth

BEYOND = 64
# Sides whose far end a turn makes the near one, by EXIF orientation: left and right, top and bottom.
MIRRORED = {2: (True, False), 3: (True, True), 4: (False, True), 6: (True, False), 7: (True, True), 8: (False, True)}


class ReducedCrops:
    """Reads files as training samples: a JPEG is decoded no larger than its random crop needs.

    The crop is drawn from the size in the header, so all draws are those of a picture that is decoded in full.

    Args:
        transform: of the samples.
        reading: whether pictures are turned, and what is white.
        fast: as tensors, like `read_pixels`; else as PIL images.
    """

    def __init__(self, transform: TrainTransform, reading: Reading, fast: bool) -> None:
        self.transform, self.reading, self.fast = transform, reading, fast

    def __call__(self, path: str) -> Tensor:
        """Returns [3, S, S] float32 of a file; it draws from the generators that `TrainTransform` draws from."""
        transform, header = self.transform, jpeg_header(path, self.reading)
        if header is None:
            return transform(self._whole(path))
        box, flip = transform.draw_crop(header.size)
        factor = factor_of(box, transform.image_size)
        if factor == 1:
            return transform.finish(transform.crop(self._whole(path), box), flip)
        crop = reduced_crop(path, self.reading, header, box, transform.image_size, factor)
        return transform.finish(torch.from_numpy(np.array(crop)) if self.fast else crop, flip)

    def _whole(self, path: str) -> Image.Image | Tensor:
        return read_pixels(path, self.reading) if self.fast else self.reading(path)


class JpegHeader(NamedTuple):
    """What is known of a JPEG before it is decoded.

    Attributes:
        size: of the picture as it is read: turned, or as it is stored.
        turn: its EXIF orientation; 1 where pictures are not turned.
    """

    size: HeightWidth
    turn: int


def jpeg_header(path: str | Path, reading: Reading) -> JpegHeader | None:
    """Reads the header of a JPEG; None for another format and for what cannot be opened."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(path) as image:
                if not isinstance(image, JpegImageFile):
                    return None
                turn = orientation(image) if reading.upright else 1
    except Exception:  # decoding will raise it again, as one line
        return None
    width, height = image.size
    return JpegHeader(HeightWidth(width, height) if turn >= 5 else HeightWidth(height, width), turn)


def factor_of(box: Box, size: int) -> int:
    """Returns the largest reduction, of 8, 4, 2 and 1, for a crop that becomes `size` pixels high and wide."""
    left, top, right, bottom = box
    return largest_factor(min(right - left, bottom - top) / size)


def reduced_crop(
    path: str | Path, reading: Reading, header: JpegHeader, box: Box, size: int, factor: int
) -> Image.Image:
    """Returns a crop of a JPEG, resized by antialiased bicubic interpolation: the same region as of the full picture.

    Args:
        path: of the file.
        reading: whether it is turned, and what is white.
        header: of the file.
        box: left, top, right, bottom in pixels of the full picture.
        size: height and width of the result in pixels.
        factor: 2, 4 or 8; see `factor_of`.

    Returns:
        RGB of `size` x `size`.

    Raises:
        UserError: as `read_image`.
    """
    header, box, rows = above_its_end(header, box)
    small = read_image(path, reading.white, clip=reading.clip, factor=factor, rows=rows)
    if small.height * factor >= rows + factor:  # a file that was not shortened
        small = small.crop((0, 0, small.width, -(-rows // factor)))
    small = upright(small) if header.turn > 1 else small
    shifts = (
        side - full / factor if mirrored else 0.0
        for side, full, mirrored in zip(
            small.size, (header.size.width, header.size.height), MIRRORED.get(header.turn, (False, False)), strict=True
        )
    )
    x, y = shifts  # the last small pixel of a side is cut off by the picture's edge; a turn puts it first
    left, top, right, bottom = (edge / factor for edge in box)
    within = (left + x, top + y, min(right + x, small.width), min(bottom + y, small.height))
    return small.resize((size, size), BICUBIC, box=within)


def above_its_end(header: JpegHeader, box: Box) -> tuple[JpegHeader, Box, int]:
    """Returns header and crop as if a JPEG ended soon below the crop, and the rows that are left, as it is stored.

    `BEYOND` rows more are left for the filter that resizes, and to whole blocks.
    """
    (height, width), turn = header
    left, top, right, bottom = box
    stored = width if turn >= 5 else height
    last = {3: height - top, 4: height - top, 5: right, 6: width - left, 7: width - left, 8: right}.get(turn, bottom)
    rows = min(stored, -(-(last + BEYOND) // BEYOND) * BEYOND)
    cut = stored - rows
    if turn < 5:
        moved = cut if turn in (3, 4) else 0
        return JpegHeader(HeightWidth(rows, width), turn), (left, top - moved, right, bottom - moved), rows
    moved = cut if turn in (6, 7) else 0
    return JpegHeader(HeightWidth(height, rows), turn), (left - moved, top, right - moved, bottom), rows
