"""Finds the images that an annotation file lists, even if their names on disk are written in another way.

The file may come from another machine or tool: absolute names, backslashes, percent signs, web addresses, other
Unicode forms or case, folders too many or too few. Only this module joins a folder with a listed name.
"""

import os
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

from maekit.data.folders.listing import files_in
from maekit.data.folders.splits import split_of
from maekit.detection.data.coco.values import Tally

MAX_SUB_FOLDERS, SAMPLE = 100, 200
OWN_NAMES = "write the files' own names into the list"
UPLOAD_PREFIX = re.compile(r"[0-9a-f]{8}-(?=.)")  # label-studio puts it before the name of an uploaded file
DRIVE = re.compile(r"[A-Za-z]:(?=[\\/])")


class Resolved(NamedTuple):
    """Where the listed images are.

    Attributes:
        names: of each image relative to the folder; the listed name if it was not found.
        absent: places of the images that were not found.
        near: images found under another name than the listed one.
        hint: where the first absent image may be and what to do; empty, or begins with a semicolon.
    """

    names: list[str]
    absent: list[int]
    near: Tally
    hint: str


class Disk:
    """The names in folders, each folder listed once."""

    def __init__(self) -> None:
        self.listed: dict[str, set[str]] = {}
        self._alike: dict[str, dict[str, str | None]] = {}

    def names(self, folder: str) -> set[str]:
        """Returns the names in a folder, an empty set if it does not exist."""
        if folder not in self.listed:
            try:
                self.listed[folder] = files_in(Path(folder))
            except ValueError:  # a null byte
                self.listed[folder] = set()
        return self.listed[folder]

    def has(self, folder: str, name: str) -> bool:
        """Returns whether a file has exactly this name."""
        head, last = os.path.split(join(folder, name))
        return last not in ("", ".", "..") and last in self.names(head)

    def near(self, folder: str, name: str) -> str | None:
        """Returns the path of the only file with the same name but for case and Unicode form, None without one."""
        path, parts = folder, name.split("/")
        if parts[-1] == "..":
            return None
        for part in parts:
            found = part if part == ".." or part in self.names(path) else self._like(path, part)
            if found is None:
                return None
            path = join(path, found)
        return path

    def _like(self, folder: str, name: str) -> str | None:
        if folder not in self._alike:
            alike: dict[str, str | None] = {}
            for there in self.names(folder):
                alike[_key(there)] = None if _key(there) in alike else there
            self._alike[folder] = alike
        return self._alike[folder].get(_key(name))


def join(folder: str | Path, name: str) -> str:
    """Returns the path of a listed name: an absolute one stays as it is."""
    return os.path.join(folder, name)  # noqa: PTH118 - Path is ten times as slow, and there are 100,000 names


def resolve(
    listed: Sequence[str], folder: Path, others: Sequence[Path] = (), disk: Disk | None = None, *, below: bool = True
) -> Resolved:
    """Finds the images of a list.

    A file of exactly the listed name comes first, then the nearest name, unless two listed names would get the same
    file.

    Args:
        listed: names as the annotation file has them.
        folder: that they should be relative to.
        others: more folders that they may be relative to.
        disk: folders that have been listed already; None to list all.
        below: look also in the folders inside `folder`, but those of splits.
    """
    disk = disk or Disk()
    bases = list(dict.fromkeys(map(str, (folder, folder.parent, *others))))
    names, missing, found = list(listed), [], {}
    for index, name in enumerate(listed):
        if not disk.has(bases[0], name):
            missing.append(index)
    for index in missing:
        path = _nearest(disk, bases, listed[index]) or (_below(disk, bases[0], listed[index]) if below else None)
        if path is not None:
            found[index] = path
    clash = _clashes(listed, bases[0], found)
    near, prefix = Tally(), f"{bases[0]}/"
    for index, path in found.items():
        if path not in clash:
            names[index] = path.removeprefix(prefix)
            near.add(f"{listed[index]!r} as {names[index]!r}")
    absent = [index for index in missing if found.get(index) is None or found[index] in clash]
    hint = _hint(disk, bases[0], listed[absent[0]], found.get(absent[0])) if absent else ""
    return Resolved(names, absent, near, hint)


def best_folder(listed: Sequence[str], folders: Sequence[Path], others: Sequence[Path], disk: Disk) -> Path:
    """Returns the folder that holds most of a sample of the listed images, the first of those that hold as many.

    An image under its listed name counts for more than one under another name.
    """
    sample = listed[:: max(1, len(listed) // SAMPLE)]

    def lacks(folder: Path) -> tuple[int, int]:
        found = resolve(sample, folder, others, disk, below=False)
        return len(found.absent), found.near.count

    return folders[0] if len(folders) == 1 else min(folders, key=lacks)


def _nearest(disk: Disk, bases: Sequence[str], name: str) -> str | None:
    for spelling in _spellings(name):
        for base in bases:
            path = disk.near(base, spelling)
            if path is not None:
                return path
    return None


def _below(disk: Disk, folder: str, name: str) -> str | None:
    """Returns the only file of this name in the folders in a folder, those of other splits left out."""
    last = re.split(r"[\\/]", name)[-1]
    names = [sub for sub in sorted(disk.names(folder)) if "." not in sub and split_of(sub) is None]
    found = [path for sub in names[:MAX_SUB_FOLDERS] if last and (path := disk.near(join(folder, sub), last))]
    return found[0] if len(found) == 1 else None


def _spellings(name: str) -> Iterator[str]:
    """Yields the relative paths that a name may mean: the whole one first, then without its first folders."""
    served = re.search(r"[?&]d=([^&]+)", name)  # label-studio's /data/local-files/?d=folder/x.jpg
    plain = urlsplit(name).path if re.match(r"[a-z][a-z0-9+.-]*://", name, re.IGNORECASE) else name
    plain = DRIVE.sub("", plain).replace("\\", "/")
    forms = [plain, unquote(plain), *([unquote(served[1])] if served else [])]
    for form in dict.fromkeys(forms):
        parts = [part for part in form.split("/") if part not in ("", ".")]
        yield from ("/".join(parts[start:]) for start in range(len(parts)))
        if parts and UPLOAD_PREFIX.match(parts[-1]):
            yield UPLOAD_PREFIX.sub("", parts[-1], count=1)


def _clashes(listed: Sequence[str], folder: str, found: dict[int, str]) -> set[str]:
    """Returns the files that two different listed names would get."""
    if not found:
        return set()
    owners: dict[str, set[str]] = defaultdict(set)
    for index, name in enumerate(listed):
        owners[found.get(index) or join(folder, name)].add(name)
    return {path for path, names in owners.items() if len(names) > 1}


def _hint(disk: Disk, folder: str, name: str, taken: str | None) -> str:
    if taken is not None:
        return f"; {taken} has the nearest name, but another listed image has it too; {OWN_NAMES}"
    last = re.split(r"[\\/]", name)[-1]
    stem = _key(last.rpartition(".")[0] or last)
    same = sorted(there for there in disk.names(folder) if _key(there.rpartition(".")[0]) == stem)
    if same:
        return f"; did you mean {same[0]!r}? {OWN_NAMES}"
    inner = [join(folder, sub) for sub in sorted(disk.names(folder)) if "." not in sub][:MAX_SUB_FOLDERS]
    other = next((sub for sub in inner if last and disk.near(sub, last)), None)
    return f"; it is in {other}, give that folder by --data.train_images or --data.val_images" if other else ""


def _key(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()
