"""A small data set of real images in ImageNet's on-disk format, from scikit-learn's bundled handwritten digits."""

import os
import shutil
import sys
import uuid
from pathlib import Path

import numpy as np
from PIL import Image

from maekit.data.names import MAPPING
from maekit.errors import UserError

IMAGE_SIZE = 32
JPEG_QUALITY = 95
VAL_PER_CLASS = 40
SPLIT_SEED = 0
DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
VERSION = 1


def digits_root() -> Path:
    """Returns the folder of the made digits, which the first call makes.

    It is `$MAEKIT_CACHE/digits-v1`; without that variable, in the user's cache folder under `maekit`. Several processes
    may call this at once.

    Raises:
        UserError: the folder cannot be written.
    """
    folder = _cache() / f"digits-v{VERSION}"
    if not folder.is_dir():
        _write_whole(folder)
    return folder


def make_digits(folder: Path) -> str:
    """Writes 1,397 training and 400 validation images of ten classes (`make_digits` splits by digit sample).

    The tree is ImageNet's, class names in Kaggle's file: `train/n00000003/n00000003_17.JPEG`,
    `val/n00000003/ILSVRC2012_val_00000017.JPEG`, `LOC_synset_mapping.txt` with `n00000003 three`. Images are 32 x 32
    RGB, enlarged from 8 x 8 grey ones; each digit is in one split only, 40 of each class in the second, at random.

    Args:
        folder: must not exist, or be empty.

    Returns:
        One line that says what was made.

    Raises:
        UserError: the folder holds something or cannot be written.
    """
    folder = folder.expanduser().absolute()
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"{folder}: it exists and is not an empty folder; give a new one or remove it")
    _write_whole(folder)
    return f"wrote 1,397 training and 400 validation images of 10 classes to {folder}"


def _cache() -> Path:
    named = os.environ.get("MAEKIT_CACHE")
    if named:
        return Path(named).expanduser().absolute()
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "maekit"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "maekit"


def _write_whole(folder: Path) -> None:
    """Writes the tree beside `folder` and renames it, so that nobody sees half of it; a second writer's is dropped."""
    part = folder.with_name(f".{folder.name}-{uuid.uuid4().hex[:8]}")
    try:
        part.mkdir(parents=True)
        _write_digits(part)
        try:
            part.rename(folder)
        except OSError:
            if not (folder / MAPPING).is_file():
                raise
    except OSError as error:
        advice = "choose another folder (MAEKIT_CACHE for the smoke data), or make room"
        raise UserError(f"{folder}: cannot be written ({error.strerror}); {advice}") from None
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _write_digits(folder: Path) -> None:
    from sklearn.datasets import load_digits  # slow to import, and needed once a machine

    pixels, labels = load_digits(return_X_y=True)
    images = np.round(pixels.reshape(-1, 8, 8) * (255 / 16)).astype(np.uint8)
    for sample, (label, in_val) in enumerate(zip(labels.tolist(), _held_out(labels).tolist(), strict=True)):
        split, stem = ("val", f"ILSVRC2012_val_{sample:08}") if in_val else ("train", f"n{label:08}_{sample}")
        path = folder / split / f"n{label:08}" / f"{stem}.JPEG"
        path.parent.mkdir(parents=True, exist_ok=True)
        image = Image.fromarray(images[sample]).resize((IMAGE_SIZE, IMAGE_SIZE), Image.Resampling.BICUBIC)
        image.convert("RGB").save(path, "JPEG", quality=JPEG_QUALITY)
    mapping = "".join(f"n{label:08} {name}\n" for label, name in enumerate(DIGITS))
    (folder / MAPPING).write_text(mapping, encoding="utf-8")


def _held_out(labels: np.ndarray) -> np.ndarray:
    """Returns [samples] bool: 40 of each class, at random by a fixed seed."""
    order = np.random.RandomState(SPLIT_SEED).permutation(len(labels))
    chosen = [order[labels[order] == label][:VAL_PER_CLASS] for label in range(len(DIGITS))]
    return np.isin(np.arange(len(labels)), np.concatenate(chosen))
