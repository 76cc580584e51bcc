"""`maekit data check` of a data set that comes as lists of images: missing files, and errors in the lists."""

from collections import defaultdict
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np

from maekit.base.findings import Findings
from maekit.classification.data.check import Released, note_same_images
from maekit.classification.data.labelled_images import LabelledImages
from maekit.data.folders.check import ReadFile, check_files, class_problems
from maekit.data.folders.listing import SCAN_THREADS, Listing, files_in
from maekit.data.images.bands.read import read
from maekit.data.images.decode import UPRIGHT
from maekit.errors import UserError

MAX_NAMED = 3


class Lists(NamedTuple):
    """The two splits of a data set that comes as lists.

    Attributes:
        train: the training images.
        val: the validation images, with the same classes.
        names: one name a class for people, in label order.
        train_file: the list of `train`.
        val_file: the list of `val`.
        released: the numbers of the released data set of this form.
    """

    train: Listing
    val: Listing
    names: tuple[str, ...]
    train_file: Path
    val_file: Path
    released: Released


def check_lists(data: LabelledImages, lists: Lists, findings: Findings, *, classes: int | None, full: bool) -> None:
    """Counts the listed images, looks for each on disk and reads some; see `check_class_folders`.

    Args:
        data: the data set, which decides how pictures are read.
        lists: its lists.
        findings: facts and problems are added to it.
        classes: number of classes of the head to use; None if the head is sized from the data.
        full: decode every file.
    """
    train, val = lists.train, lists.val
    findings.facts.append(f"training: {len(train):,} images of {len(train.classes):,} classes")
    findings.facts.append(f"validation: {len(val):,} images")
    findings.problems += class_problems(train.classes, classes, lists.train_file) + _wrong_counts(lists)
    findings.problems += _in_both_splits(lists) + _classes_without_images(lists)
    present = []
    for listing, file in ((train, lists.train_file), (val, lists.val_file)):
        gone = missing_images(listing)
        if gone:
            count = f"{len(gone):,} of {len(listing):,} listed images"
            which = _first(listing.names[index] for index in gone)
            findings.problems.append(
                f"{file}: {count} are not in {listing.root} ({which}); unpack the images again, or list what there is"
            )
            kept = np.ones(len(listing), dtype=bool)
            kept[gone] = False
            listing = listing.take(np.flatnonzero(kept).tolist())
        present.append(listing)
    reading: ReadFile = read if data.asked_bands() else UPRIGHT  # of unclear bands all channels
    try:
        form = data.form_of(*present)
        findings.facts += form.notes
        reading = form.reading
    except UserError as error:
        findings.problems.append(str(error))
    check_files(present, full, findings, reading)
    note_same_images(present[0], present[1], findings, full=full)


def missing_images(listing: Listing) -> list[int]:
    """Returns the indices of the images that are not on disk; listing folders is faster than one stat a file."""
    images: dict[str, list[int]] = defaultdict(list)
    for index, name in enumerate(listing.names):
        images[name.rpartition("/")[0]].append(index)

    def absent(folder: str) -> list[int]:
        there = files_in(listing.root / folder)
        return [index for index in images[folder] if listing.names[index].rpartition("/")[2] not in there]

    with ThreadPoolExecutor(SCAN_THREADS) as pool:
        return sorted(index for found in pool.map(absent, images) for index in found)


def _first(names: Iterable[str]) -> str:
    """Returns the first three of many names for a message."""
    some = list(islice(names, MAX_NAMED + 1))
    return ", ".join(some[:MAX_NAMED]) + (", ..." if some[MAX_NAMED:] else "")


def _wrong_counts(lists: Lists) -> list[str]:
    """Returns a line for each split of another size than the released one, if the number of classes is the same."""
    released = lists.released
    if len(lists.train.classes) != released.num_classes:
        return []
    return [
        f"{file}: {found:,} {split} images, {released.title} has {whole:,}; download the list again"
        for found, whole, split, file in (
            (len(lists.train), released.num_train, "training", lists.train_file),
            (len(lists.val), released.num_val, "validation", lists.val_file),
        )
        if found != whole
    ]


def _in_both_splits(lists: Lists) -> list[str]:
    held_out = set(lists.val.paths())
    both = [name for name, path in zip(lists.train.names, lists.train.paths(), strict=True) if path in held_out]
    if not both:
        return []
    advice = f"also in {lists.train_file.name} (the first: {both[0]}); take them out of one list"
    return [f"{lists.val_file}: {len(both):,} validation images are {advice}"]


def _classes_without_images(lists: Lists) -> list[str]:
    counts = np.bincount(lists.train.labels, minlength=len(lists.train.classes))
    empty = np.flatnonzero(counts == 0)
    if not len(empty):
        return []
    which = _first(f"'{lists.names[label]}'" for label in empty)
    advice = "add some, or remove the classes"
    return [f"{lists.train_file}: {len(empty):,} classes have no training images ({which}); {advice}"]
