"""Which files are images by their names, and a record of the files that a listing left out."""

import warnings
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from importlib.util import find_spec
from itertools import chain

from PIL import features

MAX_NAMED, MAX_SUFFIXES = 3, 5
HEIC_SUFFIXES = (".heic", ".heif", ".hif")
_ALWAYS = (
    *(".apng", ".bmp", ".dib", ".gif", ".jfif", ".jpe", ".jpeg", ".jpg", ".mpo", ".pbm", ".pgm", ".png", ".pnm"),
    *(".ppm", ".qoi", ".tga", ".tif", ".tiff", ".webp"),
)
_JPEG_2000 = (".j2c", ".j2k", ".jp2", ".jpc", ".jpf", ".jpx")
# Files and folders of file systems and programs; names that begin with a dot are skipped everywhere.
SYSTEM_NAMES = frozenset(
    (
        *("#recycle", "#snapshot", "$recycle.bin", "@eadir", "@recently-snapshot", "@recycle", "@tmp", "__macosx"),
        *("__pycache__", "desktop.ini", "ehthumbs.db", "found.000", "icon\r", "lost+found", "network trash folder"),
        *("recycler", "system volume information", "temporary items", "thumbs.db"),
    )
)


def _readable() -> tuple[str, ...]:
    """Returns the suffixes that the installed Pillow can read; HEIC too if the extra is installed."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a Pillow older than a format does not know its name
        more = (*(_JPEG_2000 if features.check("jpg_2000") else ()), *((".avif",) if features.check("avif") else ()))
    heic = HEIC_SUFFIXES if find_spec("pillow_heif") else ()
    return tuple(sorted((*_ALWAYS, *more, *heic)))


IMAGE_SUFFIXES = _readable()
_SUFFIXES = frozenset(IMAGE_SUFFIXES)
_ARRAY = ".npy"
EXPECTED_IMAGES = "expected image files (.jpg, .png, .tif, .webp, ...)"


def suffix(name: str) -> str:
    """Returns the suffix of a file's name with its dot, in lower case; empty without one. `.name` has none."""
    dot = name.rfind(".")
    return name[dot:].lower() if dot > 0 else ""


def is_image_name(name: str) -> bool:
    """Whether a file's suffix is that of an image format that can be read here."""
    return suffix(name) in _SUFFIXES


def is_array_name(name: str) -> bool:
    """Whether a file is NumPy's by its name: an image where a folder has none of other formats."""
    return suffix(name) == _ARRAY


def is_passed_over(name: str) -> bool:
    """Whether a file or folder is hidden or made by a file system, so that it belongs to no data set."""
    return name[:1] == "." or name.casefold() in SYSTEM_NAMES


@dataclass
class LeftOut:
    """The files and folders that a listing found and did not take.

    Attributes:
        files: relative paths of files with another suffix than an image's, and of pipes and devices.
        links: relative paths of links to a folder above themselves.
        folders: names of folders beside the split, such as a test split's.
        loose: names of images beside class folders.
    """

    files: list[str] = field(default_factory=list)
    links: list[str] = field(default_factory=list)
    folders: list[str] = field(default_factory=list)
    loose: list[str] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.files or self.links or self.folders or self.loose)

    @staticmethod
    def join(parts: "Iterable[LeftOut]") -> "LeftOut":
        """Returns all that several listings left out."""
        lists = zip(*((part.files, part.links, part.folders, part.loose) for part in parts), strict=True)
        return LeftOut(*(list(chain(*each)) for each in lists))

    def words(self) -> str:
        """Returns the folders and the number of files by suffix, as `left out: folder test, 3 .txt`; empty for none."""
        counts = Counter(_kind(name.rpartition("/")[2]) for name in self.files)
        parts = [f"folder {name}" for name in self.folders[:MAX_NAMED]]
        parts += [f"{len(self.folders) - MAX_NAMED} more folders"] if self.folders[MAX_NAMED:] else []
        parts += [f"{len(self.loose):,} images beside the class folders ({self.loose[0]})"] if self.loose else []
        parts += [f"{count:,} {ending}{_advice(ending)}" for ending, count in counts.most_common(MAX_SUFFIXES)]
        more = sum(count for _, count in counts.most_common()[MAX_SUFFIXES:])
        parts += [f"{more:,} other files"] if more else []
        parts += [f"{len(self.links):,} links to a folder above ({self.links[0]})"] if self.links else []
        return f"left out: {', '.join(parts)}" if parts else ""

    def reasons(self) -> list[tuple[str, str]]:
        """Returns each relative path and why it was left out, sorted."""
        reasons = [(name, _reason(name.rpartition("/")[2])) for name in self.files]
        reasons += [(name, "a link to a folder that it lies in") for name in self.links]
        return sorted(reasons + [(name, "it lies beside the class folders") for name in self.loose])


def _advice(ending: str) -> str:
    return " (read with pip install 'maekit[heic]')" if ending in HEIC_SUFFIXES else ""


def _kind(name: str) -> str:
    return "pipe or device" if is_image_name(name) else suffix(name) or "without a suffix"


def _reason(name: str) -> str:
    if is_image_name(name):  # images that are files are taken
        return "a pipe or a device"
    ending = suffix(name)
    return f"its name ends in {ending}{_advice(ending)}" if ending else "its name has no suffix"
