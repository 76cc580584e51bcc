"""Finds the files that a table names: whatever folder, separator, case or form of accents its paths have."""

import os
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from maekit.data.folders.file_names import is_image_name
from maekit.data.folders.listing import files_in
from maekit.errors import UserError, nearest

TRIED = 200  # rows by which the folder is chosen that the paths are relative to


class Found(NamedTuple):
    """The files of a table.

    Attributes:
        root: the folder that `names` are relative to.
        names: of each row the file's path below `root`.
        note: what was done to find them, for the user; empty if nothing.
    """

    root: Path
    names: list[str]
    note: str


def find_files(table: Path, paths: Sequence[str], folders: Sequence[Path]) -> Found:
    """Finds the file of each row.

    Args:
        table: for errors.
        paths: as the rows have them.
        folders: where relative paths may begin, the likeliest first; all paths begin in one of them.

    Raises:
        UserError: files are not there; with how many, the first, and the nearest name.
    """
    plain = [path.replace("\\", "/") for path in paths]
    if any(path.startswith("/") for path in plain):
        folders = [Path("/")]
        plain = [path if path.startswith("/") else str(table.parent / path) for path in plain]
        plain = [path.removeprefix("/") for path in plain]
    tried = plain[:: max(len(plain) // TRIED, 1)]
    scores = [sum(name is not None for name in _Disk(folder).find_all(tried)) for folder in folders]
    root = folders[scores.index(max(scores))]
    disk = _Disk(root)
    names = disk.find_all(plain)
    absent = [row for row, name in enumerate(names) if name is None]
    if absent:
        raise UserError(_absent(table, plain, absent, folders, disk))
    return Found(root, [name for name in names if name is not None], disk.note())


def _absent(table: Path, paths: Sequence[str], absent: Sequence[int], folders: Sequence[Path], disk: "_Disk") -> str:
    first = paths[absent[0]]
    near = nearest(first.rpartition("/")[2], disk.names_beside(first))
    where = " or ".join(dict.fromkeys(str(folder) for folder in folders))
    return (
        f"{table}: {len(absent):,} of {len(paths):,} paths are no file in {where}, the first '{first}' (row "
        f"{absent[0] + 2}){near}; give --data.root with the folder they begin in, or mend them"
    )


class _Disk:
    """The files below a folder, each folder listed once, when it is first asked for.

    Args:
        root: the folder.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._files: dict[str, set[str]] = {}
        self._alike: dict[str, dict[str, list[str]]] = {}
        self._how: Counter[str] = Counter()

    def find_all(self, paths: Iterable[str]) -> list[str | None]:
        """Returns the file of each path, below the root; None for one that is not there."""
        return [self._find(os.path.normpath(path)) for path in paths]

    def names_beside(self, path: str) -> list[str]:
        """Returns the names in the folder of a path."""
        return sorted(self._in(path.rpartition("/")[0]))

    def note(self) -> str:
        """Returns how many files were found under another name than the table has, and how."""
        return ", ".join(f"{count:,} paths {how}" for how, count in self._how.items())

    def _find(self, path: str) -> str | None:
        folder, _, name = path.rpartition("/")
        if name in self._in(folder):
            return path
        for how, key in (("without an ending", name), ("in another case or form of accents", _same(name))):
            fits = self._others(folder).get(f"{how}/{key}", [])
            if len(fits) == 1:
                self._how[how] += 1
                return f"{folder}/{fits[0]}" if folder else fits[0]
        return None

    def _in(self, folder: str) -> set[str]:
        if folder not in self._files:
            self._files[folder] = files_in(self.root / folder)
        return self._files[folder]

    def _others(self, folder: str) -> dict[str, list[str]]:
        """The images of a folder by what a table may call them instead."""
        if folder not in self._alike:
            known = self._alike[folder] = {}
            for name in filter(is_image_name, self._in(folder)):
                known.setdefault(f"without an ending/{name.rpartition('.')[0]}", []).append(name)
                known.setdefault(f"in another case or form of accents/{_same(name)}", []).append(name)
        return self._alike[folder]


def _same(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()
