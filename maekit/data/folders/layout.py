"""Finds the splits and class folders in a data folder; the errors say which folder to give instead."""

import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from maekit.data.folders.listing import image_names, sub_folders
from maekit.data.folders.other_forms import refuse_masks, refuse_other_form
from maekit.data.folders.splits import SPLIT_NAMES, find_split, split_of, splits_among
from maekit.errors import UserError, nearest

EXPECTED = "expected train/<class>/ and val/<class>/ in it, or class folders of images"
MAX_INSIDE, MAX_ABOVE = 100, 5


class Layout(NamedTuple):
    """The folders of the splits.

    Attributes:
        train: folder of the training images.
        val: folder of the validation images; None if a share of the training images is to be used.
        passed_over: names of the other folders beside `train`, such as those of a test split.
    """

    train: Path
    val: Path | None
    passed_over: tuple[str, ...] = ()


def find_layout(root: Path) -> Layout:
    """Finds the splits: `root/train` with or without `root/val`, or `root` itself; see `splits` for other names.

    A folder `train` without sub-folders, beside class folders, is a class of trains.

    Raises:
        UserError: `root` is missing, is a file, holds no class folders, is itself one split of two, or holds class
            folders and a validation or test split side by side.
    """
    require_folder(root)
    folders = sub_folders(root)
    train = next((name for name in splits_among(folders, "train") if sub_folders(root / name)), None)
    if train:
        val = next(iter(splits_among(folders, "val")), None)
        others = tuple(name for name in folders if name not in (train, val))
        return Layout(root / train, root / val if val else None, others)
    if _is_one_split(root, folders):
        raise UserError(
            f"{root}: this is the training split alone; give the folder above it: --data.root {root.parent}"
        )
    refuse_other_form(root, folders)
    splits = [name for name in folders if split_of(name)]
    classes = [name for name in folders if name not in splits]
    if splits and not classes:
        raise UserError(f"{root}: it has {', '.join(splits)} and no class folders in train/; {EXPECTED}")
    beside = [name for name in splits if split_of(name) != "train"]
    if beside:
        advice = f"move '{classes[0]}' and the other class folders into {root / 'train'}"
        raise UserError(f"{root / beside[0]}: named as a split, beside class folders; {advice}, or rename it")
    return Layout(root, None)


def _is_one_split(root: Path, folders: tuple[str, ...]) -> bool:
    """Whether a folder is the training split with its validation split beside it."""
    val = find_split(root.parent, "val") if split_of(root.name) == "train" else None
    published = root.name == "train" and val is not None and val.name in SPLIT_NAMES["val"][:3]
    return published or (val is not None and not set(folders).isdisjoint(sub_folders(val)))


def require_folder(root: Path) -> None:
    """Refuses a data folder that is missing or is a file.

    Raises:
        UserError: with the nearest name there is.
    """
    if not root.is_dir():
        raise UserError(missing(root))


def nearby_root(root: Path, holds: Callable[[Path], object]) -> Path | None:
    """Returns the folder in or above `root` that holds a data set, for the error of a wrong `--data.root`.

    Args:
        root: the folder that was given.
        holds: returns something true for a right folder.
    """

    def right(folder: Path) -> bool:
        try:
            return bool(holds(folder))
        except (OSError, UserError):  # a folder without read permission
            return False

    inside = [root / name for name in sub_folders(root)[:MAX_INSIDE]]
    return next((folder for folder in (*inside, *list(root.parents)[:MAX_ABOVE]) if right(folder)), None)


def still_packed(folder: Path, *patterns: str) -> str | None:
    """Returns the name of the first archive in a folder that matches one of the glob `patterns`."""
    found = [path.name for pattern in patterns for path in sorted(folder.glob(pattern))]
    return next((name for name in found if name.endswith((".tar", ".tar.gz", ".tgz", ".zip"))), None)


def class_folders(folder: Path) -> tuple[str, ...]:
    """Returns the class folders in label order, which is their names' sorted order, as in torchvision's ImageFolder.

    Raises:
        UserError: there are fewer than two.
    """
    classes = sub_folders(folder)
    if not classes:
        loose = " (but images)" if image_names(folder) else ""
        raise UserError(f"{folder}: no class folders in it{loose}, {EXPECTED}")
    refuse_masks(folder, classes)
    if len(classes) == 1:
        raise UserError(f"{folder}: one class only ('{classes[0]}'), expected two or more; {_one_class_hint(folder)}")
    return classes


def same_classes(val: Path, classes: tuple[str, ...]) -> None:
    """Refuses a validation split with a class folder that the training split does not have; it may have fewer.

    Raises:
        UserError: with such a class, or if there is no class folder.
    """
    found = sub_folders(val)
    if not found:
        raise UserError(f"{val}: no class folders in it, expected those of the training split ('{classes[0]}', ...)")
    for name in found:
        if name not in classes:
            plain = unicodedata.normalize("NFC", name)
            alike = any(unicodedata.normalize("NFC", known) == plain for known in classes)
            form = " (but one whose accents are encoded otherwise, NFC against NFD)"
            hint = form if alike else nearest(name, classes)
            raise UserError(
                f"{val / name}: the training split has no class '{name}'{hint}; rename or remove the folder"
            )


def _one_class_hint(folder: Path) -> str:
    only = sub_folders(folder)[0]
    deeper = len(sub_folders(folder / only)) > 1
    return f"did you mean --data.root {folder / only}?" if deeper else "put each class into a folder of its own"


def missing(root: Path) -> str:
    """Returns what is wrong with a root that is no folder, and what there is beside it."""
    if root.exists():
        return f"{root}: this is a file, expected a folder; unpack it if it is an archive, and give the folder"
    parent = next(folder for folder in root.absolute().parents if folder.is_dir())
    name = root.absolute().relative_to(parent).parts[0]
    return f"{root}: no such folder ({parent} has no '{name}'{nearest(name, sub_folders(parent))}); give --data.root"
