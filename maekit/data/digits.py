"""A small data set of real images in ImageNet's on-disk format, from scikit-learn's bundled handwritten digits."""

import shutil
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from maekit.data.folders.text import MAPPING
from maekit.errors import UserError
from maekit.system.files import cache_folder
from maekit.system.terminal import print_aside

IMAGE_SIZE = 32
JPEG_QUALITY = 95
VAL_PER_CLASS = 40
SPLIT_SEED = 0
DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
VERSION = 1


def digits_root() -> Path:
    """Returns the folder of the digits in ImageNet's format, which the first call makes (`$MAEKIT_CACHE/digits-v1`)."""
    return cached(f"digits-v{VERSION}", write_digits)


def cached(name: str, write: Callable[[Path], None]) -> Path:
    """Returns the folder `name` of the cache; the first call lets `write` fill it. Safe for several processes at once.

    Raises:
        UserError: the folder cannot be written.
    """
    folder = cache_folder() / name
    if not folder.is_dir():
        print_aside([f"makes the small data set {name}, once, in {folder.parent}"])
        _write_whole(folder, write)
    return folder


def make(folder: Path, write: Callable[[Path], None]) -> Path:
    """Lets `write` fill a folder of the user's, completely or not at all; returns its absolute path.

    Raises:
        UserError: the folder holds something or cannot be written.
    """
    folder = folder.expanduser().absolute()
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"{folder}: it exists and is not an empty folder; give a new one or remove it")
    _write_whole(folder, write)
    return folder


def make_digits(folder: Path) -> str:
    """Writes 1,397 training and 400 validation images of ten classes.

    The tree is ImageNet's, class names in Kaggle's file: `train/n00000003/n00000003_17.JPEG`,
    `val/n00000003/ILSVRC2012_val_00000017.JPEG`, `LOC_synset_mapping.txt` with `n00000003 three`. Images are 32 x 32
    RGB, enlarged from 8 x 8 grey ones; each digit is in one split only, 40 of each class in the second, at random.

    Args:
        folder: must not exist, or be empty.

    Returns:
        One line for the user with the numbers and the folder.

    Raises:
        UserError: as `make`.
    """
    return f"wrote 1,397 training and 400 validation images of 10 classes to {make(folder, write_digits)}"


def _write_whole(folder: Path, write: Callable[[Path], None]) -> None:
    """Writes the tree beside `folder` and renames it, so that it is never seen incomplete; a second copy is dropped."""
    part = folder.with_name(f".{folder.name}-{uuid.uuid4().hex[:8]}")
    try:
        part.mkdir(parents=True)
        write(part)
        try:
            part.rename(folder)
        except OSError:
            if not (folder.is_dir() and any(folder.iterdir())):
                raise
    except OSError as error:
        advice = "choose another folder (MAEKIT_CACHE for the smoke data), or make room"
        raise UserError(f"{folder}: cannot be written ({error.strerror}); {advice}") from None
    finally:
        shutil.rmtree(part, ignore_errors=True)


def write_digits(folder: Path) -> None:
    """Fills a folder with the tree that `make_digits` describes."""
    for digit in digits():
        split, stem = ("val", "ILSVRC2012_val_") if digit.in_val else ("train", f"n{digit.label:08}_")
        number = f"{digit.sample:08}" if digit.in_val else str(digit.sample)
        digit.save(folder / split / f"n{digit.label:08}" / f"{stem}{number}.JPEG")
    mapping = "".join(f"n{label:08} {name}\n" for label, name in enumerate(DIGITS))
    (folder / MAPPING).write_text(mapping, encoding="utf-8")


class Digit(NamedTuple):
    """One handwritten digit: its place in scikit-learn's list, its label 0..9, its split and its 8 x 8 grey pixels."""

    sample: int
    label: int
    in_val: bool
    pixels: np.ndarray

    def save(self, path: Path) -> None:
        """Writes it as a 32 x 32 RGB JPEG, making folders as needed."""
        path.parent.mkdir(parents=True, exist_ok=True)
        image = Image.fromarray(self.pixels).resize((IMAGE_SIZE, IMAGE_SIZE), Image.Resampling.BICUBIC)
        image.convert("RGB").save(path, "JPEG", quality=JPEG_QUALITY)


def digits() -> Iterator[Digit]:
    """Yields all 1,797 digits; 40 of each class, drawn with a fixed seed, are marked as validation."""
    from sklearn.datasets import load_digits  # slow to import, and needed only once on each machine

    pixels, labels = load_digits(return_X_y=True)
    images = np.round(pixels.reshape(-1, 8, 8) * (255 / 16)).astype(np.uint8)
    order = np.random.RandomState(SPLIT_SEED).permutation(len(labels))
    chosen = [order[labels[order] == label][:VAL_PER_CLASS] for label in range(len(DIGITS))]
    held_out = np.isin(np.arange(len(labels)), np.concatenate(chosen))
    for sample, (label, in_val) in enumerate(zip(labels.tolist(), held_out.tolist(), strict=True)):
        yield Digit(sample, label, in_val, images[sample])
