"""Lists the images in a tree of class folders: fast for millions of files, in a fixed order, small in memory."""

import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from hashlib import blake2b
from itertools import pairwise
from pathlib import Path

import numpy as np

from maekit.base.identity import Split, fingerprint
from maekit.data.folders.file_names import EXPECTED_IMAGES, LeftOut, is_array_name, is_image_name, is_passed_over
from maekit.errors import UserError

SCAN_THREADS = 8
ARCHIVES = (".zip", ".tar", ".tgz", ".gz", ".rar", ".7z")
FILE_NAMES = sys.getfilesystemencoding(), sys.getfilesystemencodeerrors()


class Names:
    """Many strings in two arrays, which forked workers share; a list would be copied as its objects are read."""

    def __init__(self, names: Iterable[str]) -> None:
        encoded = [name.encode(*FILE_NAMES) for name in names]  # as os.fsencode, four times as fast
        self._text = np.frombuffer(b"".join(encoded), dtype=np.uint8)
        self._ends = np.cumsum([0, *map(len, encoded)], dtype=np.int64)

    def __len__(self) -> int:
        return len(self._ends) - 1

    def __getitem__(self, index: int) -> str:
        if not 0 <= index < len(self):
            raise IndexError(f"{index} is not in 0..{len(self) - 1}")
        return os.fsdecode(self._text[self._ends[index] : self._ends[index + 1]].tobytes())

    def __iter__(self) -> Iterator[str]:
        return (self[index] for index in range(len(self)))

    def content(self) -> tuple[np.ndarray, np.ndarray]:
        """Returns all names' bytes, uint8, and their bounds, [number of names + 1] int64, to make a fingerprint of."""
        return self._text, self._ends


@dataclass(frozen=True, eq=False)
class Listing:
    """The images of one split.

    Attributes:
        root: the folder that `names` are relative to.
        classes: name of each class folder, in label order.
        names: relative path of each image.
        labels: [n] int32, the class of each image; or [n, L] uint8, 1 for each of L classes that it has, else 0; or
            [n, V] float32, values in the unit of the data.
        left_out: files and folders among the images that were not taken.
        weights: [n] float32, above 0, what each image counts; None where the data do not say.
    """

    root: Path
    classes: tuple[str, ...]
    names: Names
    labels: np.ndarray
    left_out: LeftOut = field(default_factory=LeftOut)
    weights: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.names)

    def label(self, index: int) -> int | np.ndarray:
        """Returns the class of one image, or its row of labels or values."""
        label = self.labels[index]
        return label if isinstance(label, np.ndarray) else int(label)

    def path(self, index: int) -> str:
        """Returns the path of one image."""
        return f"{self.root}/{self.names[index]}"

    def paths(self) -> Iterator[str]:
        """Returns the path of each image."""
        return (f"{self.root}/{name}" for name in self.names)

    def identity(self) -> Split:
        """Returns the number of images and a fingerprint of their names, labels and weights."""
        labels = self.labels.astype(np.int32) if self.labels.ndim == 1 else self.labels
        return Split(len(self), fingerprint(*self.names.content(), labels, *self._weights()))

    def lines(self) -> Iterator[str]:
        """Returns a text for each image with its path and label, whatever its place in the listing is."""
        return (f"{name} {self.labels[at].tolist()}" for at, name in enumerate(self.names))

    def _weights(self) -> list[np.ndarray]:
        return [] if self.weights is None else [self.weights]

    def take(self, indices: Sequence[int]) -> "Listing":
        """Returns the listing of some of the images."""
        names, places = Names(self.names[i] for i in indices), list(indices)
        weights = None if self.weights is None else self.weights[places]
        return Listing(self.root, self.classes, names, self.labels[places], self.left_out, weights)


def sub_folders(root: Path) -> tuple[str, ...]:
    """Returns the sorted names of the folders in a folder, without hidden ones and those of file systems.

    Raises:
        UserError: the folder cannot be listed.
    """
    try:
        with os.scandir(root) as entries:
            return tuple(sorted(entry.name for entry in entries if not is_passed_over(entry.name) and _is_dir(entry)))
    except OSError as error:
        raise _closed(error, root) from None


def image_names(folder: str | Path) -> list[str]:
    """Returns the images below a folder as sorted relative paths; see `scan_images`."""
    return scan_images(folder)[0]


def scan_images(folder: str | Path, prefix: str = "", *, arrays: bool = True) -> tuple[list[str], LeftOut]:
    """Lists the images below a folder at any depth, without hidden files and folders and those of file systems.

    Args:
        folder: the folder.
        prefix: put before each path.
        arrays: whether arrays (.npy) are its images where there is no other.

    Returns:
        The images as sorted relative paths, and what was left out.

    Raises:
        UserError: a folder cannot be listed.
    """
    found: list[str] = []
    left_out = LeftOut()
    _scan(str(folder), prefix, found, left_out, ())
    if arrays and not found:
        found = [name for name in left_out.files if is_array_name(name)]
        left_out.files = [name for name in left_out.files if not is_array_name(name)]
    return sorted(found), left_out


def _scan(folder: str, prefix: str, found: list[str], left_out: LeftOut, above: tuple[str, ...]) -> None:
    """Adds the images below one folder to `found`; `above` are the real paths of the folders that linked to it."""
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                name = entry.name
                if is_passed_over(name):
                    continue
                if _is_dir(entry):
                    way = (*above, os.path.realpath(folder)) if entry.is_symlink() else above
                    if entry.is_symlink() and _is_above(os.path.realpath(entry.path), way):
                        left_out.links.append(prefix + name)
                    else:
                        _scan(entry.path, f"{prefix}{name}/", found, left_out, way)
                elif is_image_name(name) and (entry.is_file() or entry.is_symlink()):
                    found.append(prefix + name)
                else:
                    left_out.files.append(prefix + name)
    except OSError as error:
        raise _closed(error, folder) from None


def _is_dir(entry: "os.DirEntry[str]") -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def _is_above(target: str, way: tuple[str, ...]) -> bool:
    """Whether a link's target is one of the folders on the way to it or above one, which would loop forever."""
    return any(f"{folder}/".startswith(f"{target.rstrip('/')}/") for folder in way)


def _closed(error: OSError, folder: str | Path) -> UserError:
    advice = "mend its permissions or links"
    return UserError(f"{error.filename or folder}: cannot be listed ({error.strerror}); {advice}")


def files_in(folder: Path) -> set[str]:
    """Returns the names in a folder, without dead links; none if there is no such folder."""
    try:
        with os.scandir(folder) as entries:
            return {entry.name for entry in entries if not entry.is_symlink() or Path(entry.path).exists()}
    except OSError:
        return set()


def list_classes(root: Path, classes: tuple[str, ...]) -> Listing:
    """Lists the images of each class folder; empty and missing folders are allowed, see `require_images`.

    Args:
        root: the folder of the class folders.
        classes: their names, in label order.

    Raises:
        UserError: a class folder cannot be read.
    """
    with ThreadPoolExecutor(SCAN_THREADS) as pool:
        scanned = list(pool.map(lambda name: _scan_class(root, name), classes))
    beside = sorted(name for name in files_in(root) if not is_passed_over(name))
    loose = [name for name in beside if is_image_name(name)]
    packed = [name for name in beside if name.lower().endswith(ARCHIVES)]  # perhaps a class that was not unpacked
    found = [images for images, _ in scanned]
    left_out = LeftOut.join([LeftOut(files=packed, loose=loose), *(left for _, left in scanned)])
    labels = np.repeat(np.arange(len(classes), dtype=np.int32), [len(images) for images in found])
    return Listing(root, classes, Names(name for images in found for name in images), labels, left_out)


def _scan_class(root: Path, name: str) -> tuple[list[str], LeftOut]:
    return scan_images(root / name, f"{name}/") if (root / name).is_dir() else ([], LeftOut())


def require_images(listing: Listing) -> None:
    """Refuses a class folder without images.

    Raises:
        UserError: with the first of them, and how many there are.
    """
    empty = np.flatnonzero(np.bincount(listing.labels, minlength=len(listing.classes)) == 0)
    if len(empty):
        more = f" and {len(empty) - 1} more" if len(empty) > 1 else ""
        where = listing.root / listing.classes[empty[0]]
        raise UserError(
            f"{where}: no images in this class folder{more}, {EXPECTED_IMAGES}; add images to it or remove the folder"
        )


def split(listing: Listing, fraction: float, seed: int) -> tuple[Listing, Listing]:
    """Sets aside a share of each class for validation; which images does not depend on the other classes.

    Each class's images are ranked by a hash of (seed, relative path) and the first ones are taken: at least one if the
    class has two or more images, and never all of them.

    Args:
        listing: all images, class after class.
        fraction: the share to set aside, above 0 and below 1.
        seed: chooses another share.

    Returns:
        The listings for training and for validation.

    Raises:
        UserError: no class has two images.
    """
    held_out = np.zeros(len(listing), dtype=bool)
    bounds = np.searchsorted(listing.labels, np.arange(len(listing.classes) + 1)).tolist()
    for start, stop in pairwise(bounds):
        ranked = sorted(range(start, stop), key=lambda index: _rank(seed, listing.names[index]))
        held_out[ranked[: min(max(round(fraction * len(ranked)), 1), len(ranked) - 1)]] = True
    if not held_out.any():
        advice = "add images, or a folder val with some"
        raise UserError(f"{listing.root}: one image a class, so none can be set aside for validation; {advice}")
    return listing.take(np.flatnonzero(~held_out).tolist()), listing.take(np.flatnonzero(held_out).tolist())


def _rank(seed: int, name: str) -> bytes:
    return blake2b(b"%d/%s" % (seed, os.fsencode(name)), digest_size=8).digest()
