"""`maekit data check` of labelled images: layout, class count, files, and images that are in both splits."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from maekit.base.findings import Findings
from maekit.classification.data.labelled_images import LabelledImages, Splits
from maekit.data.folders.check import ReadFile, check_files, class_problems
from maekit.data.folders.duplicates import in_two_classes, same_images
from maekit.data.folders.listing import Listing
from maekit.data.folders.splits import expected_names
from maekit.data.images.bands.read import read
from maekit.data.images.decode import UPRIGHT
from maekit.errors import UserError

NO_VAL = f"validation: no folder {expected_names('val')}; data.val_fraction of each class will be set aside"
ReadTree = Callable[[Path], tuple[Listing, Listing | None]]
Missing = Callable[[Listing, Listing | None], list[str]]


class Released(NamedTuple):
    """The numbers of a data set as it was released."""

    title: str
    num_classes: int
    num_train: int
    num_val: int

    def differences(self, train: Listing, val: Listing | None) -> list[str]:
        """Returns one line for each split of another size than the released one; none for other data."""
        if len(train.classes) != self.num_classes:
            return []
        counts = (("training", len(train), self.num_train), ("validation", len(val or ()), self.num_val))
        return [
            f"{found:,} {split} images, {self.title} has {whole:,}; unpack its archive again"
            for split, found, whole in counts
            if found != whole
        ]


def check_class_folders(
    data: LabelledImages, read_tree: ReadTree, missing: Missing, *, classes: int | None, full: bool
) -> Findings:
    """Verifies layout, class count and files.

    All files are listed. The quick check reads up to 10,000 of them, chosen at random: it decodes 2,000 and looks at
    the beginning and end of the others. The full check decodes all.

    Args:
        data: the data set, as a run would use it.
        read_tree: lists the splits, or raises a UserError for what is wrong with the layout.
        missing: returns one line for each thing that the published data set has and these splits do not.
        classes: number of classes of the head to use; None if the head is sized from the data.
        full: decode every file.
    """
    findings = Findings()
    try:
        train, val = read_tree(data.data_root())
    except UserError as error:
        findings.problems.append(str(error))
        return findings
    findings.facts.append(f"training: {len(train):,} images of {len(train.classes):,} classes")
    findings.facts.append(f"validation: {len(val):,} images" if val else NO_VAL)
    findings.facts += nested(train)
    findings.problems += class_problems(train.classes, classes, train.root) + missing(train, val)
    check_pictures(data, train, val, findings, full=full)
    return findings


def check_table(data: LabelledImages, read: Callable[[], Splits], *, classes: int | None, full: bool) -> Findings:
    """Verifies a table of images, the number of its classes or labels, and its files.

    Args:
        data: the data set, as a run would use it.
        read: reads the splits, or raises a UserError for what is wrong with the table.
        classes: number of classes of the head to use; None if the head is sized from the data.
        full: decode every file.
    """
    findings = Findings()
    try:
        train, val, names, origin = read()
    except UserError as error:
        findings.problems.append(str(error))
        return findings
    findings.facts += [f"training: {len(train):,} images", f"validation: {len(val):,} images", f"table: {origin}"]
    findings.problems += class_problems(names, classes if names else None, train.root)
    check_pictures(data, train, val, findings, full=full)
    return findings


def check_pictures(
    data: LabelledImages, train: Listing, val: Listing | None, findings: Findings, *, full: bool
) -> None:
    """Sets up a data set as a run does, reads its files, and looks for images that are in both splits.

    Args:
        data: the data set.
        train: its training images.
        val: its validation images; None if they are a share of the training images.
        findings: facts and problems are added to it.
        full: decode every file and compare all files of the two splits.
    """
    reading: ReadFile = read if data.asked_bands() else UPRIGHT  # of unclear bands all channels
    try:
        data.setup()
        findings.facts += data.notes()
        reading = data.form().reading
    except UserError as error:
        findings.problems += [str(error)] if str(error) not in findings.problems else []
    parts = [part for part in (train, val) if part is not None]
    check_files(parts, full, findings, reading)
    if val is not None:
        note_same_images(train, val, findings, full=full)
    elif not findings.problems:  # a share was set aside, where copies are on both sides as they fall
        line = same_images(data.train_files(), data.val_files(), full=full)
        findings.facts += [line] if line else []
    if len(train.classes) > 1 and train.labels.ndim == 1:
        line = in_two_classes(list(train.paths()), train.labels.tolist(), full=full)
        findings.facts += [line] if line else []


def note_same_images(train: Listing, val: Listing, findings: Findings, *, full: bool) -> None:
    """Adds a fact if files of the two splits have the same bytes, which may be intended; a shared path is no copy."""
    paths = set(train.paths())
    line = same_images(sorted(paths), [path for path in val.paths() if path not in paths], full=full)
    findings.facts += [line] if line else []


def nested(train: Listing) -> list[str]:
    """Returns a line if images lie in folders below their class folder: the upper folder is their class."""
    deep = [name for name in train.names if name.count("/") > 1]
    if not deep:
        return []
    top, below = deep[0].split("/")[:2]
    return [f"nested: {len(deep):,} images lie deeper, such as {deep[0]}; its class is '{top}', not '{below}'"]
