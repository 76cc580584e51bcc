"""What was released as Places365-standard and Places205, how a folder shows which one it holds, and its two splits."""

from pathlib import Path
from typing import NamedTuple

from maekit.classification.data.check import Released
from maekit.classification.data.folders import ClassFolders
from maekit.classification.data.list_check import Lists
from maekit.classification.data.places.images import Images, find_places205, find_places365
from maekit.classification.data.places.lists import (
    categories_of,
    read_categories,
    read_list,
    readable,
    require_labels,
)
from maekit.data.folders.layout import nearby_root, still_packed
from maekit.data.folders.listing import Listing, Names, sub_folders
from maekit.errors import UserError


class Form(NamedTuple):
    """The files of one version; they lie in the data folder or in `folder` below it."""

    train: str
    val: str
    folder: str
    released: Released


# places2.csail.mit.edu and places.csail.mit.edu
FORMS = {
    "places365": Form(
        "places365_train_standard.txt",
        "places365_val.txt",
        "filelist_places365-standard",
        Released("Places365-standard", 365, 1_803_460, 36_500),
    ),
    "places205": Form(
        "train_places205.csv",
        "val_places205.csv",
        "trainvalsplit_places205",
        Released("Places205", 205, 2_448_873, 20_500),
    ),
}
CATEGORIES = "categories_places365.txt"
EXPECTED = (
    "places365_train_standard.txt and places365_val.txt, trainvalsplit_places205/, or class folders in train/ and val/"
)


def versions_in(root: Path) -> list[str]:
    """Returns the versions whose lists, one of the two at least, are in a folder."""
    return [name for name, form in FORMS.items() if any(path.is_file() for path in _files(root, form))]


def find_version(root: Path, wanted: str | None) -> str:
    """Returns the version whose lists are in a folder.

    Args:
        root: the data folder.
        wanted: `places365` or `places205`; None to take the only one in the folder.

    Raises:
        UserError: there are no lists of that version, or lists of both and `wanted` is None.
    """
    versions = versions_in(root)
    if any(root.name == FORMS[name].folder for name in versions) and not sub_folders(root):
        raise UserError(f"{root}: these are the lists alone; use --data.root {root.parent}")
    if wanted in versions or (wanted is None and len(versions) == 1):
        return wanted or versions[0]
    if wanted is None and versions:
        raise UserError(f"{root}: lists of {' and '.join(versions)}; say which with --data.version {versions[0]}")
    if versions:
        raise UserError(
            f"{root}: no {FORMS[str(wanted)].train}, but lists of {versions[0]}; use --data.version {versions[0]}"
        )
    packed = still_packed(root, "filelist_*", "trainvalsplit*", "places365standard*")
    if packed:
        raise UserError(f"{root}: no lists of images, and {packed} is still packed; unpack it here")
    right = nearby_root(root, lambda folder: versions_in(folder) or has_class_folders(folder))
    hint = f"use --data.root {right}" if right else f"expected {EXPECTED}"
    raise UserError(f"{root}: no lists of Places in it; {hint}")


def read_lists(root: Path, version: str, copy: str | None) -> tuple[Lists, Images]:
    """Reads the two lists of a version, and finds the images.

    Raises:
        UserError: a list is missing or faulty, the two do not agree, or there is no such folder of images.
    """
    form = FORMS[version]
    for path, other in zip(_files(root, form), reversed(_files(root, form)), strict=True):
        if not path.is_file():
            raise UserError(f"{path}: no such list beside {other.name}; unpack {form.folder} again")
    train, val = (read_list(path) for path in _files(root, form))
    source = train.path.with_name(CATEGORIES)
    if version == "places365" and source.is_file():
        categories = read_categories(source)
    else:
        source, categories = train.path, categories_of(train)
    for part in (train, val):
        require_labels(part, categories, source)
    images = find_places365(root, copy) if version == "places365" else find_places205(root, copy, train.names[0])
    names = readable(categories)
    train_images, val_images = (
        Listing(folder, names, Names(part.names), part.labels)
        for part, folder in ((train, images.train), (val, images.val))
    )
    lists = Lists(train_images, val_images, names, train.path, val.path, form.released)
    return lists, images


def has_class_folders(root: Path) -> bool:
    """Says whether there are class folders in train/."""
    return (root / "train").is_dir() and bool(sub_folders(root / "train"))


def read_class_folders(root: Path) -> tuple[Listing, Listing]:
    """Lists train/<class>/ and val/<class>/.

    Raises:
        UserError: as `ClassFolders.read_tree`, or there is no validation folder.
    """
    train, val = ClassFolders.read_tree(root)
    if val is None:
        raise UserError(f"{root}: class folders in train/ and no val/ beside it; add val/<class>/")
    return train, val


def _files(root: Path, form: Form) -> tuple[Path, Path]:
    below = root / form.folder
    folder = below if any((below / name).is_file() for name in (form.train, form.val)) else root
    return folder / form.train, folder / form.val
