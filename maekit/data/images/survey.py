"""Finds what is not plain 8-bit RGB in the pictures of a data set, from a sample of them."""

import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile
from PIL.TiffImagePlugin import TiffImageFile

from maekit.data.images.decode import FULL_RANGE, open_image, orientation
from maekit.data.images.deep_colour import deep_mode, deep_pixels, has_16_bits
from maekit.errors import UserError

SAMPLE = 200
SEARCHED = 5_000  # names that are searched for files other than JPEGs
JPEG = (".jpg", ".jpeg", ".jpe", ".jfif")
WHITES = (255, 1023, 4095, 16383, FULL_RANGE)  # 8, 10, 12, 14 and 16 bits
LEAST, LEAST_FLOAT, LEAST_UPPER = 32, 128, 64
NEW_SUBFILE_TYPE, SMALLER_OR_MASK = 254, 1 | 4  # TIFF 6.0: what a page is; an overview, or a mask
EXTRA_SAMPLES, UNSPECIFIED = 338, 0  # TIFF 6.0: what a sample beside the colours is; not alpha


@dataclass(frozen=True)
class Look:
    """What one picture holds.

    Attributes:
        path: of its file.
        turned: whether its EXIF orientation is not upright.
        transparent: whether it has transparent pixels.
        depth: `whole` or `float` for pictures of more than 8 bits, `upper` for colours of 16 bits of which only the
            upper 8 can be read (CMYK), else empty.
        low: smallest pixel, if `depth` is not empty.
        high: largest pixel, if `depth` is not empty; for `upper` of its upper 8 bits.
        jpeg_side: pixels of a JPEG's shorter side; 0 for another format.
        more_pages: whether it has more pages or frames than the first, which alone is read; a JPEG's previews, a TIFF
            file's overviews and masks do not count.
        more_channels: whether it has a channel that is neither a colour nor transparency.
    """

    path: str = ""
    turned: bool = False
    transparent: bool = False
    depth: str = ""
    low: float = 0.0
    high: float = 0.0
    jpeg_side: int = 0
    more_pages: bool = False
    more_channels: bool = False


@dataclass(frozen=True)
class Survey:
    """What a sample of pictures holds.

    Attributes:
        looks: one for each picture that can be read.
    """

    looks: tuple[Look, ...] = ()

    @property
    def turned(self) -> int:
        """Number of pictures with an EXIF orientation."""
        return sum(look.turned for look in self.looks)

    @property
    def transparent(self) -> int:
        """Number of pictures with transparent pixels."""
        return sum(look.transparent for look in self.looks)

    @property
    def more_pages(self) -> int:
        """Number of pictures of several pages or frames."""
        return sum(look.more_pages for look in self.looks)

    @property
    def more_channels(self) -> int:
        """Number of pictures with a channel that is neither a colour nor transparency."""
        return sum(look.more_channels for look in self.looks)

    @property
    def jpeg_side(self) -> int:
        """Median of the shorter sides of the JPEGs in pixels, a half of all pictures or more; 0 for fewer."""
        sides = [look.jpeg_side for look in self.looks if look.jpeg_side]
        return int(np.median(sides)) if 2 * len(sides) >= max(len(self.looks), 1) else 0

    def deep(self, *depths: str) -> list[Look]:
        """Returns the looks at pictures of some depths."""
        return [look for look in self.looks if look.depth in depths]


def survey(parts: Sequence[tuple[int, Callable[[int], str]]]) -> Survey:
    """Looks at up to 200 evenly spaced pictures of each split, and at up to 200 that are not JPEGs by their names.

    Args:
        parts: for each split the number of pictures and a function from index to path.
    """
    return survey_files(spaced_paths(parts))


def spaced_paths(parts: Sequence[tuple[int, Callable[[int], str]]]) -> list[str]:
    """Returns up to 200 evenly spaced paths of each split, and up to 200 that are not JPEGs by their names."""
    return list(dict.fromkeys(path for count, path_of in parts for path in _chosen(count, path_of)))


def survey_files(paths: Iterable[str | Path]) -> Survey:
    """Looks at all of these pictures that can be read; decoding will raise the errors of the others."""
    return Survey(tuple(look for path in paths if (look := look_at(path)) is not None))


def _chosen(count: int, path_of: Callable[[int], str]) -> list[str]:
    def spaced(of: int, number: int) -> list[int]:
        return np.unique(np.linspace(0, of - 1, min(of, number)).round().astype(int)).tolist() if of else []

    searched = [path_of(index) for index in spaced(count, SEARCHED)]
    others = [path for path in searched if not path.lower().endswith(JPEG)]
    return [*(searched[i] for i in spaced(len(searched), SAMPLE)), *(others[i] for i in spaced(len(others), SAMPLE))]


def look_at(path: str | Path) -> Look | None:
    """Looks at one picture, only at its header if that is enough; None if it cannot be read."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with open_image(path) as image:
                depth, deep = _depth(image), deep_mode(image)  # before the orientation: a PNG is loaded for it
                channels, pages = _has_more_channels(image), _has_more_pages(image)
                turned = orientation(image) != 1
                if depth:
                    pixels = deep_pixels(path, deep)[..., :3] if deep else np.asarray(image)
                    low, high = float(pixels.min()), float(pixels.max())
                    return Look(str(path), turned, False, depth, low, high, 0, pages, channels)
                alpha = _has_alpha(image) and not channels
                seen_through = alpha and np.asarray(image.convert("RGBA"))[..., 3].min() < 255
                side = min(image.size) if isinstance(image, JpegImageFile) else 0
                return Look(str(path), turned, bool(seen_through), "", 0.0, 0.0, side, pages, channels)
    except Exception:  # decoding will raise it again, as one line
        return None


def _depth(image: Image.Image) -> str:
    if image.mode[0] in "IF":
        return "whole" if image.mode[0] == "I" else "float"
    return "whole" if deep_mode(image) else "upper" if has_16_bits(image) else ""


def _has_alpha(image: Image.Image) -> bool:
    return image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info


def _has_more_pages(image: Image.Image) -> bool:
    if isinstance(image, TiffImageFile):
        kinds = []
        for page in range(getattr(image, "n_frames", 1)):
            image.seek(page)
            kinds.append(image.tag_v2.get(NEW_SUBFILE_TYPE, 0))
        image.seek(0)
        return sum(not kind & SMALLER_OR_MASK for kind in kinds) > 1
    return image.format in ("GIF", "PNG", "WEBP") and getattr(image, "n_frames", 1) > 1


def _has_more_channels(image: Image.Image) -> bool:
    """Whether a TIFF file has samples beside its colours that it does not call alpha."""
    extra = image.tag_v2.get(EXTRA_SAMPLES, ()) if isinstance(image, TiffImageFile) else ()
    return UNSPECIFIED in (extra if isinstance(extra, tuple) else (extra,))


def choose_white(
    found: Survey, given: float | None, flag: str = "; --data.white N to choose"
) -> tuple[float | None, str]:
    """Returns the value that becomes white in pictures of more than 8 bits, and a sentence on it; else None and "".

    It is the smallest of 255, 1,023, 4,095, 16,383 and 65,535 that no sampled picture exceeds; for float pictures it is
    1, or one of those from 255 on.

    Args:
        found: the sampled pictures.
        given: the user's value.
        flag: the end of the sentence: how to choose another value.

    Raises:
        UserError: the sample does not show which value is white.
    """
    _refuse_dark_colour(found)
    deep = found.deep("whole", "float")
    if given is not None:
        return given, f"white = {given:,g} in pictures of more than 8 bits (given)" if deep else ""
    if not deep:
        return None, ""
    darkest = next((look for look in deep if not look.low >= 0), None)  # NaN is not
    if darkest:
        lowest = f"its lowest pixel is {darkest.low:,g}, expected 0 or more"
        raise UserError(f"{darkest.path}: {lowest}; save such pictures without negative values and NaN")
    brightest = max(deep, key=lambda look: look.high)
    high, fractions = brightest.high, {look.depth for look in deep} == {"float"}
    mixed = not fractions and any(look.depth == "float" for look in deep)
    least = LEAST_FLOAT if fractions and high > 1 else 0 if fractions else LEAST
    if mixed or high > FULL_RANGE or 0 < high < least:
        raise UserError(_unclear(deep, brightest, mixed))
    white = 1 if fractions and high <= 1 else next(white for white in WHITES if white >= (high or FULL_RANGE))
    kind = "float" if fractions else "16-bit"
    sampled = f"the brightest pixel of {len(deep)} sampled ones is {high:,g}"
    return float(white), f"{kind} pictures: white = {white:,}, {sampled}{flag}"


def _unclear(deep: list[Look], brightest: Look, mixed: bool) -> str:
    both = ", both whole and fractional numbers" if mixed else ""
    found = f"the brightest pixel of {len(deep)} sampled pictures of more than 8 bits is {brightest.high:,g}{both}"
    return f"{brightest.path}: {found}; which value is white is unclear: give it with --data.white N, such as 4095"


def _refuse_dark_colour(found: Survey) -> None:
    """Refuses 16-bit CMYK whose upper 8 bits are almost empty: Pillow reads only those."""
    colour = found.deep("upper")
    brightest = max(colour, key=lambda look: look.high, default=None)
    if brightest and brightest.high < LEAST_UPPER:
        reach = f"upper 8 bits, which alone are read, reach {brightest.high:g} of 255"
        raise UserError(f"{brightest.path}: colour of 16 bits whose {reach}; save such pictures with 8 bits a channel")
