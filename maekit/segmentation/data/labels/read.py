"""Reads one image with its label map; a file that cannot be used is a UserError of one line."""

import warnings
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image
from torch import Tensor

from maekit.data.images.bands.pixels import size_of
from maekit.data.images.bands.reading import BandReading
from maekit.data.images.decode import MEND, UPRIGHT, read_image, upright
from maekit.data.images.reading_of import AnyReading
from maekit.errors import UserError
from maekit.segmentation.data.colours import ColourTable
from maekit.segmentation.data.labels.coding import Coding
from maekit.system.size import HeightWidth

EXIF_ORIENTATION = 0x0112
COLOURED = ("RGB", "RGBA", "P", "L")
INDEXED = ("1", "L", "P", "I", "I;16", "I;16B", "I;16L")


class LabelMap(NamedTuple):
    """The content of a label file.

    Attributes:
        values: [H, W] integers, upright.
        palette: [N, 3] uint8, the colour of each index of a palette image; None for other images.
    """

    values: np.ndarray
    palette: np.ndarray | None


def read_pair(
    image: str | Path,
    label: str | Path,
    coding: Coding,
    reading: AnyReading = UPRIGHT,
    colours: ColourTable | None = None,
) -> tuple[Image.Image | Tensor, np.ndarray]:
    """Reads an image and its label map.

    Both are rotated by their EXIF orientation: an annotator sees them so, and mmsegmentation reads images so by
    default (OpenCV applies the tag). An image that has its label map's size only without the rotation is not rotated.

    Returns:
        The RGB image, or pixels [H, W, C] of bands; and [H, W] uint8 of its size, as `read_label` returns it.

    Raises:
        UserError: a file cannot be read, the sizes differ, or a value is out of range.
    """
    if isinstance(reading, BandReading):
        classes = read_label(label, coding, colours)
        bands = reading.fitting(image, HeightWidth(*classes.shape))
        require_same_size(image, size_of(bands), label, HeightWidth(*classes.shape))
        return bands, classes
    stored, classes = read_image(image, reading.white, clip=reading.clip), read_label(label, coding, colours)
    size, picture = HeightWidth(*classes.shape), upright(stored)
    if _size_of(picture) != size and _size_of(stored) == size:
        picture = stored
    require_same_size(image, _size_of(picture), label, size)
    return picture, classes


def read_label(path: str | Path, coding: Coding, colours: ColourTable | None = None) -> np.ndarray:
    """Reads a label map: classes 0..C-1, 255 ignored.

    Returns:
        [H, W] uint8. Of a palette image the index is read, not the colour.

    Raises:
        UserError: the file cannot be read, has colours, or holds a value out of range.
    """
    values = read_map(path, colours).values
    wrong = coding.unexpected(values_in(values))
    if wrong:
        raise UserError(wrong_value(path, wrong[0], coding))
    return coding.labels(values)


def wrong_value(path: str | Path, value: int, coding: Coding, more: int = 0) -> str:
    """Returns the error for a value that is not a class, in a file and in `more` other files."""
    shifted = not (coding.values or coding.reduce_zero_label) and value == coding.num_classes
    hint = ", or add --data.reduce_zero_label true if 0 is unlabelled and the classes start at 1" if shifted else ""
    others = f" (and in {more:,} more)" if more else ""
    return f"{path}: label value {value}{others}, expected {coding.describe()}; mend the file{hint}"


def read_map(path: str | Path, colours: ColourTable | None = None) -> LabelMap:
    """Reads the integers of a label map, rotated by its EXIF orientation.

    Raises:
        UserError: the file cannot be read, has colours, or has more than one page.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(path) as image:
                mode, pages, kind = image.mode, int(getattr(image, "n_frames", 1)), image.format
                turned = upright(image)
                seen = mode != "RGBA" or image.getchannel("A").getextrema() == (255, 255)
                values = np.asarray(turned if colours is None else turned.convert("RGB"))
                palette = np.array(image.getpalette("RGB") or [], np.uint8).reshape(-1, 3) if mode == "P" else None
    except (FileNotFoundError, PermissionError) as error:
        raise UserError(f"{path}: cannot be opened ({error.strerror}); restore it or list the data again") from None
    except Exception as error:  # decoders raise any type for damaged files
        empty = Path(path).is_file() and Path(path).stat().st_size == 0
        reason = "empty" if empty else " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"{path}: cannot be read as a label map ({reason}); {MEND}") from None
    if kind in ("JPEG", "MPO"):  # whatever its name ends in
        raise UserError(f"{path}: a label map as JPEG, which changes its values; save label maps as PNG")
    if colours is not None and pages == 1:
        if mode not in COLOURED:
            raise UserError(f"{path}: a label map of mode {mode}, expected 8-bit colours, as {colours.path} has them")
        if not seen:
            raise UserError(f"{path}: a label map with transparent pixels; save it as RGB without transparency")
        return LabelMap(colours.classes(values, path), None)
    if mode not in INDEXED:
        mend = "save it with 8 or 16 bits" if mode == "F" else "give the colours of the classes by --data.colours FILE"
        advice = f"expected one channel of class numbers; {mend}"
        raise UserError(f"{path}: a label map of mode {mode}, {advice}")
    if pages > 1:
        advice = "expected one page of class numbers; save all classes as numbers in one"
        raise UserError(f"{path}: a label map of {pages} pages, {advice}")
    return LabelMap(values.astype(np.uint8) if values.dtype == bool else values, palette)


def sizes(path: str | Path, reading: AnyReading = UPRIGHT) -> tuple[HeightWidth, HeightWidth]:
    """Returns the size of a readable image file after its EXIF rotation, and the size it is stored in."""
    if isinstance(reading, BandReading):
        return reading.sizes(path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with Image.open(path) as image:
            stored = _size_of(image)
            return (HeightWidth(stored.width, stored.height) if _orientation(image) >= 5 else stored), stored


def values_in(values: np.ndarray) -> np.ndarray:
    """Returns the sorted distinct integers of [H, W]; for 8 bits 20 times as fast as np.unique."""
    if values.dtype == np.uint8:
        return np.flatnonzero(np.bincount(values.ravel(), minlength=256))
    return np.unique(values)


def require_same_size(image: str | Path, size: HeightWidth, label: str | Path, label_size: HeightWidth) -> None:
    """Refuses a label map of another size than its image.

    Raises:
        UserError: names both files, and both sizes as width x height.
    """
    if size == label_size:
        return
    (height, width), name = label_size, Path(image).name
    turned = "one of them lies on its side; " if size == (width, height) else ""
    found = f"{width} x {height} pixels, its image {name} has {size.width} x {size.height}"
    raise UserError(f"{label}: {found}; {turned}make them equal")


def _size_of(image: Image.Image) -> HeightWidth:
    return HeightWidth(image.height, image.width)


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(EXIF_ORIENTATION, 1))
    except Exception:  # broken EXIF data are ignored, as in `upright`
        return 1
