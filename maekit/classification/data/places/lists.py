"""The lists that come with Places: one image and its label a line."""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from maekit.data.folders.text import read_text
from maekit.errors import UserError

MAX_LABEL = 2**31 - 1


class LabelledNames(NamedTuple):
    """One list.

    Attributes:
        path: the file.
        names: the path of each line, without a leading slash.
        labels: [lines] int32, 0 or more.
    """

    path: Path
    names: list[str]
    labels: np.ndarray


def read_list(path: Path) -> LabelledNames:
    """Reads lines such as `/a/airfield/00000001.jpg 0`; a comma may stand for the space.

    Raises:
        UserError: the file is empty, cannot be read, or a line is not of this form.
    """
    lines = read_text(path).rstrip().split("\n")
    if lines == [""]:
        raise UserError(f"{path}: the list is empty; unpack it again")
    names, labels = [], []
    for index, line in enumerate(lines):
        name, _, label = line.rpartition(" ")
        if not name or name[-1] == "," or not label.isdecimal():
            name, label = _split_loosely(line, f"{path}:{index + 1}")
        names.append(name.removeprefix("/"))
        labels.append(label)
    return LabelledNames(path, names, np.array([min(int(label), MAX_LABEL) for label in labels], dtype=np.int32))


def _split_loosely(line: str, where: str) -> tuple[str, str]:
    name, _, label = " ".join(line.replace(",", " ").split()).rpartition(" ")
    if not name or not label.isdecimal():
        form = "expected a path and a label, as in a/abbey/1.jpg 0"
        raise UserError(f"{where}: got '{line[:80]}', {form}; unpack the list again")
    return name, label


def read_categories(path: Path) -> list[str]:
    """Reads `/a/airfield 0` and so on; returns `a/airfield`, ..., by label.

    Raises:
        UserError: a label is listed twice or is out of range.
    """
    listed = read_list(path)
    paths = [""] * len(listed.names)
    for index, (name, label) in enumerate(zip(listed.names, listed.labels.tolist(), strict=True)):
        if label >= len(paths) or paths[label]:
            fault = "is out of range" if label >= len(paths) else f"is that of '{paths[label]}' too"
            raise UserError(f"{path}:{index + 1}: label {label} {fault}, expected 0 to {len(paths) - 1}, each once")
        paths[label] = name
    return paths


def categories_of(listed: LabelledNames) -> list[str]:
    """Returns the folder of each label, for a release without a list of categories.

    Raises:
        UserError: a label in the range has no image, so its class has no name.
    """
    _, first = np.unique(listed.labels, return_index=True)
    folders = {int(listed.labels[index]): listed.names[index].rpartition("/")[0] for index in first}
    missing = next((label for label in range(len(folders)) if label not in folders), None)
    if missing is not None:
        raise UserError(
            f"{listed.path}: no image has label {missing}, but there are labels up to {max(folders)}; "
            "number the classes from 0 without gaps"
        )
    return [folders[label] for label in range(len(folders))]


def require_labels(listed: LabelledNames, categories: list[str], source: Path) -> None:
    """Refuses a label without a category, and a label of another class than the folder in the image's path.

    Args:
        listed: the list.
        categories: folder of each class, by label.
        source: the file that the categories come from.

    Raises:
        UserError: with the line's number.
    """
    labels = listed.labels.tolist()
    for index, (name, label) in enumerate(zip(listed.names, labels, strict=True)):
        if label >= len(categories):
            known = f"expected 0 to {len(categories) - 1}, as in {source.name}"
            raise UserError(f"{listed.path}:{index + 1}: label {label} of '{name}', {known}; use lists of one release")
        folder = name.rpartition("/")[0]
        if folder and folder != categories[label]:
            truth = f"label {label} is '{categories[label]}' in {source.name}"
            raise UserError(
                f"{listed.path}:{index + 1}: '{name}' has label {label}, but {truth}; use lists of one release"
            )


def readable(categories: list[str]) -> tuple[str, ...]:
    """Returns names for people: `a/apartment_building/outdoor` without its initial, if the names stay unique."""
    names = [name.partition("/")[2] if name[1:2] == "/" else name for name in categories]
    return tuple(names if len(set(names)) == len(names) else categories)
