"""A look at a data set that comes as lists of images: what is not on disk, and what the lists get wrong."""

from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from maekit.base.findings import Findings
from maekit.classification.data.check import note_same_images
from maekit.data.folders.check import check_files, class_problems
from maekit.data.folders.listing import SCAN_THREADS, Listing, files_in
from maekit.data.images.decode import UPRIGHT
from maekit.errors import UserError

if TYPE_CHECKING:
    from maekit.classification.data.labelled_images import LabelledImages

MAX_NAMED = 3


class Released(NamedTuple):
    """The numbers of a data set as it was released."""

    title: str
    num_classes: int
    num_train: int
    num_val: int


class Lists(NamedTuple):
    """Two splits as their lists give them.

    Attributes:
        train: the training images.
        val: the validation images, with the same classes.
        names: one name a class for people, in label order.
        train_file: what lists `train`.
        val_file: what lists `val`.
        released: the numbers of the released data set of this form.
    """

    train: Listing
    val: Listing
    names: tuple[str, ...]
    train_file: Path
    val_file: Path
    released: Released


def check_lists(data: "LabelledImages", lists: Lists, findings: Findings, *, classes: int | None, full: bool) -> None:
    """Counts what is listed, looks for every image on disk and reads some; see `check_class_folders`.

    Args:
        data: the data set, which says how pictures are read.
        lists: what was read.
        findings: what was found is added to it.
        classes: of the head that is to be used; None where it is sized from the data.
        full: decode every file.
    """
    train, val = lists.train, lists.val
    findings.facts.append(f"training: {len(train):,} images of {len(train.classes):,} classes")
    findings.facts.append(f"validation: {len(val):,} images")
    findings.problems += class_problems(train.classes, classes) + list(_wrong_counts(lists)) + list(_leaks(lists))
    findings.problems += list(_untaught(lists))
    present = []
    for listing, file in ((train, lists.train_file), (val, lists.val_file)):
        gone = missing_images(listing)
        findings.problems += [_missing_line(listing, gone, file)] if gone else []
        present.append(_without(listing, gone))
    reading = UPRIGHT
    try:
        form = data.form_of(*present)
        findings.facts += form.notes
        reading = form.reading
    except UserError as error:
        findings.problems.append(str(error))
    check_files(present, full, findings, reading)
    note_same_images(present[0], present[1], findings, full=full)


def missing_images(listing: Listing) -> list[int]:
    """Returns the indices of the images that are not on disk; listing folders beats asking file by file."""
    images: dict[str, list[int]] = defaultdict(list)
    for index, name in enumerate(listing.names):
        images[name.rpartition("/")[0]].append(index)

    def absent(folder: str) -> list[int]:
        there = files_in(listing.root / folder)
        return [index for index in images[folder] if listing.names[index].rpartition("/")[2] not in there]

    with ThreadPoolExecutor(SCAN_THREADS) as pool:
        return sorted(index for found in pool.map(absent, images) for index in found)


def _missing_line(listing: Listing, gone: list[int], file: Path) -> str:
    which = ", ".join(listing.names[index] for index in gone[:MAX_NAMED]) + (", ..." if gone[MAX_NAMED:] else "")
    count = f"{len(gone):,} of {len(listing):,} listed images"
    return f"{file}: {count} are not in {listing.root} ({which}); unpack the images again, or list what there is"


def _without(listing: Listing, gone: list[int]) -> Listing:
    if not gone:
        return listing
    kept = np.ones(len(listing), dtype=bool)
    kept[gone] = False
    return listing.take(np.flatnonzero(kept).tolist())


def _wrong_counts(lists: Lists) -> Iterator[str]:
    """Yields a line for each split of another size than the released one, if the number of classes is the same."""
    released = lists.released
    if len(lists.train.classes) != released.num_classes:
        return
    for found, whole, split, file in (
        (len(lists.train), released.num_train, "training", lists.train_file),
        (len(lists.val), released.num_val, "validation", lists.val_file),
    ):
        if found != whole:
            yield f"{file}: {found:,} {split} images, {released.title} has {whole:,}; download the list again"


def _leaks(lists: Lists) -> Iterator[str]:
    """Yields a line if images are in both splits."""
    held_out = {f"{lists.val.root}/{name}" for name in lists.val.names}
    both = [name for name in lists.train.names if f"{lists.train.root}/{name}" in held_out]
    if both:
        advice = f"also in {lists.train_file.name} (the first: {both[0]}); take them out of one list"
        yield f"{lists.val_file}: {len(both):,} validation images are {advice}"


def _untaught(lists: Lists) -> Iterator[str]:
    """Yields a line if there are classes without training images."""
    counts = np.bincount(lists.train.labels, minlength=len(lists.train.classes))
    empty = [lists.names[label] for label in np.flatnonzero(counts == 0)]
    if empty:
        which = ", ".join(f"'{name}'" for name in empty[:MAX_NAMED]) + (", ..." if empty[MAX_NAMED:] else "")
        advice = "add some, or remove the classes"
        yield f"{lists.train_file}: {len(empty):,} classes have no training images ({which}); {advice}"
