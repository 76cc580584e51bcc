"""ImageNet's validation images as released: one flat folder, with their labels in a list beside it.

The list may be ILSVRC2012_validation_ground_truth.txt of the development kit (a class number a line, image 1 first;
the numbers' synsets are in its meta.mat, or in the later kits' map_clsloc.txt), the same list with synsets instead of
numbers, or Kaggle's LOC_val_solution.csv. The kit's numbers are not in label order: number 1 is a fox, label 0 a fish.
"""

import csv
import re
from pathlib import Path

import numpy as np

from maekit.data.folders.listing import Listing, Names
from maekit.data.folders.text import read_text
from maekit.errors import UserError

SOLUTION = "LOC_val_solution.csv"
LISTS = (
    "ILSVRC2012_validation_ground_truth.txt",
    "ILSVRC2015_clsloc_validation_ground_truth.txt",
    "imagenet_2012_validation_synset_labels.txt",
)
KIT_FOLDERS = ("", "data", "ILSVRC2012_devkit_t12/data", "devkit/data")
RAW_NAME = re.compile(r"ILSVRC2012_val_(\d{8})\.jpe?g", re.IGNORECASE)


def raw_images(val: Path) -> list[str]:
    """Returns the names of raw validation images directly in a folder, in order."""
    return sorted(path.name for path in val.iterdir() if RAW_NAME.fullmatch(path.name))


def list_raw_val(val: Path, images: list[str], classes: tuple[str, ...]) -> Listing:
    """Labels raw validation images by the ground-truth list near them.

    Args:
        val: the flat folder.
        images: names of the images in it.
        classes: synsets of the training split, in label order.

    Raises:
        UserError: there is no list, it cannot be read, is too short, or has a class that training has not.
    """
    source, truth = _read_truth(val)
    label_of = {synset: label for label, synset in enumerate(classes)}
    labels = np.empty(len(images), dtype=np.int32)
    for position, name in enumerate(images):
        match = RAW_NAME.fullmatch(name)
        synset = truth.get(int(match[1])) if match else None
        if synset is None:
            raise UserError(f"{source}: no label for {name}; use the complete list of the 50,000 validation images")
        if synset not in label_of:
            raise UserError(
                f"{source}: {name} is of class '{synset}', which the training split lacks; add train/{synset}/"
            )
        labels[position] = label_of[synset]
    return Listing(val, classes, Names(images), labels)


def _read_truth(val: Path) -> tuple[Path, dict[int, str]]:
    """Returns the file that was found and the synset of each image number."""
    folders = (val, *list(val.parents)[:4])
    for path in (folder / kit / name for folder in folders for kit in KIT_FOLDERS for name in (SOLUTION, *LISTS)):
        if path.is_file():
            return path, _read_solution(path) if path.name == SOLUTION else _read_list(path)
    raise UserError(
        f"{val}: raw validation images without their labels; put {LISTS[0]} and meta.mat (both in the development "
        f"kit's data folder) or {SOLUTION} into {val.parent}"
    )


def _read_solution(path: Path) -> dict[int, str]:
    try:
        table = csv.DictReader(read_text(path).split("\n"))
        rows = [(row["ImageId"], row["PredictionString"].split()[0]) for row in table]
        return {int(image.rsplit("_", 1)[1]): synset for image, synset in rows}
    except (KeyError, IndexError, ValueError, AttributeError):
        expected = "lines of ImageId,PredictionString such as ILSVRC2012_val_00048981,n03995372 85 1 499 272"
        raise UserError(f"{path}: not Kaggle's list, expected {expected}; download it again") from None


def _read_list(path: Path) -> dict[int, str]:
    entries = read_text(path).split()
    if all(entry.isdecimal() for entry in entries):
        synsets = _kit_synsets(path)
        try:
            entries = [synsets[int(entry)] for entry in entries]
        except KeyError as error:
            raise UserError(f"{path}: class number {error} is not in the kit's meta.mat; use both of one kit") from None
    return dict(enumerate(entries, start=1))


def _kit_synsets(path: Path) -> dict[int, str]:
    """Returns the synset of each class number of a development kit."""
    mapping, meta = path.with_name("map_clsloc.txt"), path.with_name("meta.mat")
    if mapping.is_file():
        rows = [line.split() for line in read_text(mapping).split("\n") if line.strip()]
        return {int(row[1]): row[0] for row in rows}
    if not meta.is_file():
        raise UserError(f"{path}: it holds class numbers, and meta.mat, which says what they mean, is not beside it")
    from scipy.io import loadmat  # type: ignore[import-untyped]  # slow to import, and only this list needs it

    try:
        synsets = loadmat(meta, squeeze_me=True)["synsets"]
        return {int(row["ILSVRC2012_ID"]): str(row["WNID"]) for row in synsets}
    except Exception as error:  # MATLAB files have no one error of their own
        reason = " ".join(str(error).split())
        raise UserError(f"{meta}: cannot be read ({reason}); unpack the development kit again") from None
