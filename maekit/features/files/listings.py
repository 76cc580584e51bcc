"""Writes the text files beside features: each row's image and class, and which images were skipped."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from maekit.features.images import ImageFolder
from maekit.system.files import atomic_write

_TEXT = "utf-8", "surrogateescape"  # a name in no known encoding keeps its bytes


def write_lists(images: ImageFolder, output: Path, skipped: Sequence[tuple[int, str]]) -> None:
    """Writes files.txt, labels.npy and classes.txt if there are classes, skipped.txt if images were skipped.

    Args:
        images: the folder.
        output: an existing folder.
        skipped: number of and reason for each image without a row.
    """
    without = {index for index, _ in skipped}
    kept = [index for index in range(len(images)) if index not in without]
    write_lines(output / "files.txt", (images.names[index] for index in kept))
    if images.classes:
        with atomic_write(output / "labels.npy") as file:
            np.save(file, images.labels(kept))
        write_lines(output / "classes.txt", images.classes)
    reasons = [*((images.names[index], reason) for index, reason in skipped), *images.left_out.reasons()]
    if reasons:
        clean = ((name.replace("\n", "\\n"), reason) for name, reason in reasons)
        write_lines(output / "skipped.txt", (f"{name}\t{reason}" for name, reason in clean))


def write_lines(path: Path, lines: Iterable[str]) -> None:
    """Writes lines by `atomic_write`; file names in no known encoding keep their bytes."""
    with atomic_write(path) as file:
        for line in lines:
            file.write(line.encode(*_TEXT) + b"\n")


def read_lines(path: Path) -> list[str]:
    """Returns the lines of a file that `write_lines` wrote."""
    return path.read_bytes().decode(*_TEXT).split("\n")[:-1]
