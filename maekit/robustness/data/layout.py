"""Finds the class folders of the robustness data sets, however they were unpacked and spelt."""

import re
from collections.abc import Mapping
from pathlib import Path

from maekit.data.folders.layout import nearby_root, require_folder, still_packed
from maekit.data.folders.listing import sub_folders
from maekit.errors import UserError
from maekit.robustness.data.sets import CORRUPTED, SETS, WHOLE, alexnet_errors, archives, cells, title

SYNSET = re.compile(r"n\d{8}")
ARCHIVES = ("*.tar", "*.tar.gz", "*.tgz", "*.zip")
MAX_DEPTH = 2
SPELT = {
    "imagenet_a": ("imageneta", "ina"),
    "imagenet_r": ("imagenetr", "inr", "imagenetrendition"),
    "imagenet_sketch": ("sketch", "imagenetsketch", "insketch"),
    "imagenet_c": ("imagenetc", "inc"),
}
SHORT = {"elastic": "elastic_transform", "jpeg": "jpeg_compression"}
EXPECTED = "expected folders imagenet-a, imagenet-r, sketch or imagenet-c in it"


def find_sets(root: Path | None, given: Mapping[str, Path | None]) -> dict[str, Path]:
    """Returns the folder of each data set that is there, in the order of `SETS`.

    Args:
        root: holds folders named after the data sets; or None.
        given: folder of each data set with a flag of its own; it goes before the one in `root`.

    Raises:
        UserError: a folder is missing, nothing is found, or `root` is itself one of the data sets.
    """
    found = {} if root is None else _below(root)
    found |= {name: folder for name, folder in given.items() if folder is not None}
    for folder in found.values():
        require_folder(folder)
    return {name: found[name] for name in SETS if name in found}


def class_root(name: str, folder: Path) -> Path:
    """Returns the folder that holds the class folders of ImageNet-A, -R or -Sketch.

    That is `folder` itself, or the one of the data set's name in it, as ImageNet-Sketch's archive has it.

    Raises:
        UserError: there are no class folders, or those of ImageNet-C.
    """
    inside = sub_folders(folder)
    if not any(SYNSET.fullmatch(child) for child in inside):
        deeper = [child for child in inside if _plain(child) in SPELT[name]]
        if deeper:
            return class_root(name, folder / deeper[0])
        _refuse_nesting(name, folder, inside)
    return folder


def find_cells(folder: Path) -> dict[int, Path]:
    """Returns the folder of each severity of each of ImageNet-C's 15 corruptions that is there, by its cell's number.

    Corruptions lie in `folder`, or in folders named after the archives (`blur`, `noise`, ...).

    Raises:
        UserError: there is no corruption, or one has no severity or is there twice.
    """
    corruptions: dict[str, Path] = {}
    for corruption, path in _corruptions(folder, MAX_DEPTH):
        other = corruptions.setdefault(corruption, path)
        if other != path:
            raise UserError(f"{path}: {corruption} is also in {other}; remove one of the two")
    if not corruptions:
        _refuse_corrupted(folder, sub_folders(folder))
    found: dict[int, Path] = {}
    for number, cell in enumerate(cells()):
        if cell.corruption in corruptions:
            place = corruptions[cell.corruption] / str(cell.severity)
            found |= {number: place} if place.is_dir() else {}
    for corruption, path in corruptions.items():
        if not any(place.parent == path for place in found.values()):
            raise UserError(
                f"{path}: no folders 1 to 5 in it, expected {corruption}'s severities with class folders in them; "
                "unpack its archive again"
            )
    return found


def _below(root: Path) -> dict[str, Path]:
    """Finds the data sets in a folder by their names."""
    require_folder(root)
    found: dict[str, Path] = {}
    for child in sub_folders(root):
        for name in (name for name in SETS if _plain(child) in SPELT[name]):
            if name in found:
                raise UserError(f"{root}: both '{found[name].name}' and '{child}' are {title(name)}; remove one")
            found[name] = root / child
    if not found:
        raise UserError(f"{root}: {_why_empty(root)}")
    return found


def _why_empty(root: Path) -> str:
    """Returns what a folder without any data set is, and what to give instead."""
    if any(True for _ in _corruptions(root, 1)):
        above = f"or the folder above it as --data.root {root.parent}"
        return f"this is {title(CORRUPTED)} itself; give it as --data.imagenet_c {root}, {above}"
    if any(SYNSET.fullmatch(child) for child in sub_folders(root)):
        names = ", ".join(f"--data.{name}" for name in WHOLE)
        return f"these are the class folders of one data set; say which it is with one of {names}"
    packed = still_packed(root, *ARCHIVES)
    if packed:
        return f"{packed} is still packed and no data set is beside it; unpack it, {EXPECTED}"
    spellings = {name for names in SPELT.values() for name in names}
    near = nearby_root(root, lambda folder: any(_plain(child) in spellings for child in sub_folders(folder)))
    return f"no data set found, {EXPECTED}{f'; did you mean --data.root {near}?' if near else ''}"


def _corruptions(folder: Path, depth: int) -> list[tuple[str, Path]]:
    """Lists (corruption, folder) below a folder, at most `depth` folders of a known name deeper."""
    found = []
    for child in sub_folders(folder):
        plain = _plain(child)
        corruption = next((name for name in alexnet_errors() if _plain(name) == plain), SHORT.get(plain))
        if corruption:
            found.append((corruption, folder / child))
        elif depth and plain in (*archives(), *SPELT[CORRUPTED]):
            found += _corruptions(folder / child, depth - 1)
    return found


def _refuse_nesting(name: str, folder: Path, inside: tuple[str, ...]) -> None:
    """Refuses a folder that holds data sets or corruptions, or nothing; other folders are a user's own classes."""
    other = next((other for other in SETS for child in inside if _plain(child) in SPELT[other]), None)
    if other:
        raise UserError(f"{folder}: it holds {title(other)}, not class folders; give it as --data.root {folder}")
    if _corruptions(folder, 1):
        raise UserError(f"{folder}: these are {title(CORRUPTED)}'s corruptions; give it as --data.imagenet_c {folder}")
    if not inside:
        packed = still_packed(folder, *ARCHIVES)
        mend = f"{packed} is still packed; unpack it" if packed else "unpack the archive into it"
        raise UserError(f"{folder}: no class folders in it, expected those of {title(name)}; {mend}")


def _refuse_corrupted(folder: Path, inside: tuple[str, ...]) -> None:
    expected = "expected <corruption>/<severity 1 to 5>/<class>/"
    if "1" in inside or "5" in inside:
        mend = f"this is one corruption alone; give the folder above it: {folder.parent}"
    elif any(SYNSET.fullmatch(child) for child in inside):
        mend = f"it holds class folders; give the folder of {title(CORRUPTED)}, in which gaussian_noise, ... are"
    elif packed := still_packed(folder, *ARCHIVES):
        mend = f"{packed} is still packed; unpack it"
    else:
        mend = f"unpack {title(CORRUPTED)}'s archives ({', '.join(archives())}) into it"
    raise UserError(f"{folder}: none of {title(CORRUPTED)}'s 15 corruptions in it, {expected}; {mend}")


def _plain(name: str) -> str:
    """Returns a folder's name without case, spaces and punctuation."""
    return re.sub(r"[^a-z0-9]", "", name.lower())
