"""Reading one image with its label map, or saying in one line what is wrong with them."""

import warnings
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from maekit.data.images.decode import MEND, UPRIGHT, Reading, read_image, upright
from maekit.errors import UserError
from maekit.segmentation.data.labels.coding import IGNORED, Coding

__all__ = ["IGNORED", "Coding", "read_pair"]

EXIF_ORIENTATION = 0x0112
INDEXED = ("1", "L", "P", "I", "I;16", "I;16B", "I;16L")

Size = tuple[int, int]
"""Width and height in pixels."""


class LabelMap(NamedTuple):
    """What a file of labels holds.

    Attributes:
        values: [H, W] integers, upright.
        palette: [N, 3] uint8, the colour of each index of a palette image; None of any other.
    """

    values: np.ndarray
    palette: np.ndarray | None


def read_pair(
    image: str | Path, label: str | Path, coding: Coding, reading: Reading = UPRIGHT
) -> tuple[Image.Image, np.ndarray]:
    """Reads an image and its label map.

    Both are turned as their EXIF orientation says, which is how people see them when they draw a label map, and how
    mmsegmentation reads images by default (OpenCV obeys the tag). An image that has its label map's size only as
    stored is left as stored.

    Returns:
        The RGB image, and [H, W] uint8 of its size, as `read_label` returns it.

    Raises:
        UserError: a file cannot be read, they differ in size, or a value is out of range.
    """
    stored, classes = read_image(image, reading.white, clip=reading.clip), read_label(label, coding)
    size = classes.shape[1], classes.shape[0]
    picture = upright(stored)
    if picture.size != size and stored.size == size:
        picture = stored
    require_same_size(image, picture.size, label, size)
    return picture, classes


def read_label(path: str | Path, coding: Coding) -> np.ndarray:
    """Reads a label map: classes 0..C-1, 255 ignored.

    Returns:
        [H, W] uint8. Of a palette image the index is read, not the colour.

    Raises:
        UserError: the file cannot be read, has colours, or holds a value out of range.
    """
    values = read_map(path).values
    wrong = coding.unexpected(values_in(values))
    if wrong:
        raise UserError(wrong_value(path, wrong[0], coding))
    return coding.labels(values)


def wrong_value(path: str | Path, value: int, coding: Coding, more: int = 0) -> str:
    """Returns a line for a value that is no class, in a file and so many more."""
    shifted = not (coding.values or coding.reduce_zero_label) and value == coding.num_classes
    hint = ", or add --data.reduce_zero_label true if 0 is unlabelled and the classes start at 1" if shifted else ""
    others = f" (and in {more:,} more)" if more else ""
    return f"{path}: label value {value}{others}, expected {coding.describe()}; mend the file{hint}"


def read_map(path: str | Path) -> LabelMap:
    """Reads the integers a label map holds, turned as its EXIF orientation says.

    Raises:
        UserError: the file cannot be read, has colours, or has more than one page.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(path) as image:
                mode, pages = image.mode, int(getattr(image, "n_frames", 1))
                values = np.asarray(upright(image))
                palette = _palette(image) if mode == "P" else None
    except (FileNotFoundError, PermissionError) as error:
        raise UserError(f"{path}: cannot be opened ({error.strerror}); restore it or list the data again") from None
    except Exception as error:  # decoders of damaged files raise whatever they stumble over
        reason = "empty" if _is_empty(path) else " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"{path}: cannot be read as a label map ({reason}); {MEND}") from None
    if mode not in INDEXED:
        advice = "expected one channel of class numbers; convert colours to numbers and save as grey or palette PNG"
        raise UserError(f"{path}: a label map of mode {mode}, {advice}")
    if pages > 1:
        advice = "expected one page of class numbers; save all classes as numbers in one"
        raise UserError(f"{path}: a label map of {pages} pages, {advice}")
    return LabelMap(values.astype(np.uint8) if values.dtype == bool else values, palette)


def sizes(path: str | Path) -> tuple[Size, Size]:
    """Returns the size of an image file that is known to be one: turned as its EXIF orientation says, and as stored."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with Image.open(path) as image:
            stored = image.size
            return (stored[::-1] if _orientation(image) >= 5 else stored), stored


def values_in(values: np.ndarray) -> np.ndarray:
    """Returns the sorted different integers of [H, W]; for 8 bits 20 times as fast as np.unique."""
    if values.dtype == np.uint8:
        return np.flatnonzero(np.bincount(values.ravel(), minlength=256))
    return np.unique(values)


def require_same_size(image: str | Path, size: Size, label: str | Path, label_size: Size) -> None:
    """Refuses a label map of another size than its image, which is given upright.

    Raises:
        UserError: with both sizes.
    """
    if size == label_size:
        return
    (w, h), name = label_size, Path(image).name
    turned = "one of them lies on its side; " if size == (h, w) else ""
    raise UserError(f"{label}: {w} x {h} pixels, its image {name} has {size[0]} x {size[1]}; {turned}make them equal")


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(EXIF_ORIENTATION, 1))
    except Exception:  # broken EXIF data say nothing, as in `upright`
        return 1


def _palette(image: Image.Image) -> np.ndarray:
    return np.array(image.getpalette("RGB") or [], np.uint8).reshape(-1, 3)


def _is_empty(path: str | Path) -> bool:
    return Path(path).is_file() and Path(path).stat().st_size == 0
