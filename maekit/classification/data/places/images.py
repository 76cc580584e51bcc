"""Finds the copies of Places's images on disk, and says what to do if the wanted one is not there."""

from pathlib import Path
from typing import NamedTuple

from maekit.data.folders.layout import still_packed
from maekit.errors import UserError

# As the archives unpack; torchvision.datasets.Places365 appends "_standard" to the training folder.
COPIES = {
    "large": ("data_large_standard", "data_large", "val_large"),
    "small": ("data_256_standard", "data_256", "val_256"),
}
PLACES205_FOLDERS = ("data/vision/torralba/deeplearning/images256", "images256", "")


class Images(NamedTuple):
    """The folders that the names in the lists are relative to; `title` says which copy it is."""

    title: str
    train: Path
    val: Path


def copies_in(root: Path) -> list[str]:
    """Returns which of the two copies of Places365's images, `large` and `small`, have both their folders in `root`."""
    return [name for name in COPIES if all(path.is_dir() for path in _folders(root, name))]


def find_places365(root: Path, wanted: str | None) -> Images:
    """Returns the folders of one copy of Places365's images.

    Args:
        root: the data folder.
        wanted: `large` or `small`; None to take the only copy.

    Raises:
        UserError: the copy is not there, or both copies are there and `wanted` is None.
    """
    copies = copies_in(root)
    if wanted is None and len(copies) > 1:
        raise UserError(
            f"{root}: the images are there large and 256 px small; say which with --data.images large|small"
        )
    name = wanted or (copies or _partly_there(root))[0]
    train, val = _folders(root, name)
    for folder in (train, val):
        if not folder.is_dir():
            raise UserError(_no_folder(root, folder, wanted, copies))
    return Images(f"{name} images", train, val)


def find_places205(root: Path, wanted: str | None, first: str) -> Images:
    """Returns the folder of Places205's images.

    Args:
        root: the data folder.
        wanted: as `find_places365`; there are no large ones.
        first: the first image of a list.

    Raises:
        UserError: the images are not there.
    """
    if wanted == "large":
        raise UserError("data.images: got large, but Places205 was released in 256 px only; leave it out")
    top = first.split("/")[0]
    for folder in PLACES205_FOLDERS:
        if (root / folder / top).is_dir():
            return Images("small images", root / folder, root / folder)
    packed = still_packed(root, "*laces205*")
    where = f"{packed} is still packed; unpack it here" if packed else f"put its images into {root / 'images256'}"
    raise UserError(
        f"{root}: no folder of images with '{top}/' in {', '.join(PLACES205_FOLDERS[:2])} or itself; {where}"
    )


def _folders(root: Path, name: str) -> tuple[Path, Path]:
    renamed, unpacked, val = COPIES[name]
    return root / (unpacked if (root / unpacked).is_dir() and not (root / renamed).is_dir() else renamed), root / val


def _partly_there(root: Path) -> list[str]:
    """Returns the copies with at least one folder or archive, else the small one."""
    return [
        name
        for name in COPIES
        if any(path.is_dir() for path in _folders(root, name)) or still_packed(root, *_archives(name))
    ] or ["small"]


def _archives(name: str) -> tuple[str, str]:
    size = "256" if name == "small" else "large"
    return f"train_{size}_places365standard.*", f"val_{size}.*"


def _no_folder(root: Path, folder: Path, wanted: str | None, copies: list[str]) -> str:
    name = "large" if "large" in folder.name else "small"
    packed = still_packed(root, _archives(name)[folder.name.startswith("val")])
    if packed:
        advice = f"{packed} is still packed; unpack it here"
    elif wanted and copies:
        advice = f"use --data.images {copies[0]}, which is there"
    else:
        advice = "unpack the images here, or link their folder"
    return f"{folder}: no such folder of the {name} images; {advice}"
