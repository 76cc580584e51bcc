"""The lists beside features: which image each row is, its class, and what was skipped."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from maekit.features.images import ImageFolder
from maekit.system.files import atomic_write

_TEXT = "utf-8", "surrogateescape"  # a name in no known encoding keeps its bytes


def write_lists(images: ImageFolder, output: Path, skipped: Sequence[tuple[int, str]]) -> None:
    """Writes files.txt, with classes labels.npy and classes.txt, and skipped.txt where there is something to say.

    Args:
        images: the folder.
        output: where to.
        skipped: index of and reason for each image without a row.
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
        write_lines(output / "skipped.txt", (f"{_one_line(name)}\t{reason}" for name, reason in reasons))


def write_lines(path: Path, lines: Iterable[str]) -> None:
    """Writes a text file, whole or not at all."""
    with atomic_write(path) as file:
        for line in lines:
            file.write(line.encode(*_TEXT) + b"\n")


def read_lines(path: Path) -> list[str]:
    """Returns the lines of such a file."""
    return path.read_bytes().decode(*_TEXT).split("\n")[:-1]


def _one_line(name: str) -> str:
    return name.replace("\n", "\\n")
