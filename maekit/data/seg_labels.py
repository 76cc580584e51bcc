"""Reading one image with its label map, or saying in one line what is wrong with them."""

import warnings
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from maekit.data.decode import MEND, read_image
from maekit.errors import UserError

IGNORED = 255
EXIF_ORIENTATION = 0x0112
INDEXED = ("1", "L", "P", "I", "I;16", "I;16B", "I;16L")


class Coding(NamedTuple):
    """How label maps count.

    Attributes:
        num_classes: 2 to 254.
        reduce_zero_label: 0 is unlabelled and the classes start at 1, as in ADE20K; else they start at 0.
    """

    num_classes: int
    reduce_zero_label: bool

    @property
    def highest(self) -> int:
        """The highest value of a class."""
        return self.num_classes if self.reduce_zero_label else self.num_classes - 1

    def describe(self) -> str:
        """Returns words for the values a file may hold."""
        classes = f"1 to {self.highest} the classes" if self.reduce_zero_label else f"0 to {self.highest} the classes"
        return f"{'0 unlabelled, ' if self.reduce_zero_label else ''}{classes}, {IGNORED} ignored"


def read_pair(image: str | Path, label: str | Path, coding: Coding) -> tuple[Image.Image, np.ndarray]:
    """Reads an image and its label map.

    Returns:
        The RGB image, and [H, W] uint8 of its size, as `read_label` returns it.

    Raises:
        UserError: a file cannot be read, they differ in size, or a value is out of range.
    """
    picture, classes = read_image(image), read_label(label, coding)
    require_same_size(image, picture.size, label, (classes.shape[1], classes.shape[0]))
    return picture, classes


def read_label(path: str | Path, coding: Coding) -> np.ndarray:
    """Reads a label map: classes 0..C-1, 255 ignored.

    Returns:
        [H, W] uint8. Of a palette image the index is read, not the colour.

    Raises:
        UserError: the file cannot be read, has colours, or holds a value out of range.
    """
    values = read_values(path)
    present = values_in(values)
    wrong = present[(present < 0) | (present > coding.highest) & (present != IGNORED)]
    if len(wrong):
        hint = "" if coding.reduce_zero_label or wrong[0] > coding.num_classes else _shifted()
        raise UserError(f"{path}: label value {wrong[0]}, expected {coding.describe()}; mend the file{hint}")
    if not coding.reduce_zero_label:
        return values.astype(np.uint8)
    table = np.arange(256, dtype=np.uint8) - np.uint8(1)  # 0 becomes 255
    table[IGNORED] = IGNORED
    return np.asarray(table[values])


def read_values(path: str | Path) -> np.ndarray:
    """Returns [H, W] of the integers a label map holds.

    Raises:
        UserError: the file cannot be read, or has colours.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(path) as image:
                mode, values = image.mode, np.asarray(image)
    except (FileNotFoundError, PermissionError) as error:
        raise UserError(f"{path}: cannot be opened ({error.strerror}); restore it or list the data again") from None
    except Exception as error:  # decoders of damaged files raise whatever they stumble over
        reason = "empty" if _is_empty(path) else " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"{path}: cannot be read as a label map ({reason}); {MEND}") from None
    if mode not in INDEXED:
        advice = "expected one channel of class numbers; convert colours to numbers and save as grey or palette PNG"
        raise UserError(f"{path}: a label map of mode {mode}, {advice}")
    return values.astype(np.uint8) if values.dtype == bool else values


def mode_and_size(path: str | Path) -> tuple[str, tuple[int, int]]:
    """Returns Pillow's mode, and width and height, of an image file that is known to be one."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with Image.open(path) as image:
            return image.mode, image.size


def values_in(values: np.ndarray) -> np.ndarray:
    """Returns the sorted different integers of [H, W]; for 8 bits 20 times as fast as np.unique."""
    if values.dtype == np.uint8:
        return np.flatnonzero(np.bincount(values.ravel(), minlength=256))
    return np.unique(values)


def require_same_size(image: str | Path, size: tuple[int, int], label: str | Path, label_size: tuple[int, int]) -> None:
    """Refuses a label map of another size than its image; both are width and height.

    Raises:
        UserError: with both sizes.
    """
    if size == label_size:
        return
    w, h = label_size
    advice = f"save {image} turned as its EXIF orientation says" if _turned(image, size, (w, h)) else "make them equal"
    raise UserError(f"{label}: {w} x {h} pixels, its image {Path(image).name} has {size[0]} x {size[1]}; {advice}")


def _turned(image: str | Path, size: tuple[int, int], label_size: tuple[int, int]) -> bool:
    if size != label_size[::-1]:
        return False
    # Pillow's size and ours leave the tag alone, as the published numbers did; who drew the label map saw it obeyed.
    with Image.open(image) as opened:
        return int(opened.getexif().get(EXIF_ORIENTATION, 1)) >= 5


def _shifted() -> str:
    return ", or add --data.reduce_zero_label true if 0 is unlabelled and the classes start at 1"


def _is_empty(path: str | Path) -> bool:
    return Path(path).is_file() and Path(path).stat().st_size == 0
