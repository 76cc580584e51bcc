"""Turns the samples of a TIFF page into 8-bit RGB, as Pillow and `decode.read_image` do with the whole file."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from maekit.data.images.bands.file_form import UnfitError
from maekit.data.images.decode import eight_bit
from maekit.tiles.tiff_regions import CONVERT

if TYPE_CHECKING:
    from tifffile import TiffPage

WHITE_IS_ZERO, BLACK_IS_ZERO, COLOUR, PALETTE, YCBCR = 0, 1, 2, 3, 6  # TIFF 6.0, PhotometricInterpretation
JPEG, PREMULTIPLIED = 7, 1  # TIFF 6.0, Compression; ExtraSamples: colours that are multiplied by their alpha


@dataclass(frozen=True)
class Colours:
    """How samples [h, w, S] of a page become RGB.

    Attributes:
        photometric: what the samples mean, TIFF's number.
        num_samples: S.
        dtype: of the samples: bool, uint8, or a deeper one.
        premultiplied: whether the fourth sample is an alpha by which the colours were multiplied.
        table: [values, 3] uint8, the colours of a palette.
    """

    photometric: int
    num_samples: int
    dtype: np.dtype
    premultiplied: bool = False
    table: np.ndarray | None = None

    @property
    def deep(self) -> bool:
        """Whether a value of more than 8 bits must be told which is white."""
        return self.dtype.itemsize > 1

    def __call__(self, samples: np.ndarray, white: float | None, clip: bool) -> np.ndarray:
        """Returns [h, w, 3] uint8.

        Args:
            samples: [h, w, S].
            white: see `decode.Reading`.
            clip: see `decode.Reading`.

        Raises:
            PlainError: a deep value is negative, NaN or brighter than white.
        """
        if self.table is not None:
            return np.asarray(self.table[samples[..., 0]])
        if self.dtype == np.bool_:
            samples = samples.astype(np.uint8) * 255
        if self.photometric == WHITE_IS_ZERO:
            samples = 255 - samples
        colours = samples[..., :3] if self.photometric in (COLOUR, YCBCR) else samples[..., 0]
        if self.deep:
            return np.asarray(eight_bit(colours, white, clip).convert("RGB"))
        if self.premultiplied:
            size = samples.shape[1], samples.shape[0]
            return np.asarray(Image.frombytes("RGBA", size, samples[..., :4].tobytes(), "raw", "RGBa").convert("RGB"))
        return np.repeat(colours[..., None], 3, axis=2) if colours.ndim == 2 else np.ascontiguousarray(colours)


def colours_of(page: "TiffPage") -> Colours:
    """Returns how a page's samples become RGB.

    Raises:
        UnfitError: they do not: CMYK, Lab, bands without a meaning, and colours that Pillow does not open either.
    """
    kind, photometric, count = np.dtype(page.dtype), int(page.photometric), page.samplesperpixel
    if photometric == PALETTE and kind == np.uint8 and count == 1 and page.colormap is not None:
        return Colours(photometric, count, kind, table=(page.colormap.T >> 8).astype(np.uint8))
    grey = photometric == BLACK_IS_ZERO and count <= 2 and kind.kind in "buif"
    inverted = photometric == WHITE_IS_ZERO and count == 1 and kind.itemsize == 1
    colour = photometric == COLOUR and count >= 3 and kind in (np.uint8, np.uint16)
    if not (grey or inverted or colour or (photometric == YCBCR and page.compression == JPEG and kind == np.uint8)):
        name = getattr(page.photometric, "name", photometric)
        raise UnfitError(
            f"a TIFF file of {name} with {count} samples of {kind}, expected RGB of 8 or 16 bits, grey or a palette, "
            f"which are read in parts; {CONVERT}"
        )
    first = next(iter(page.extrasamples), None)
    return Colours(photometric, count, kind, premultiplied=bool(colour and count == 4 and first == PREMULTIPLIED))
