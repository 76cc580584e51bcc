"""Checks of labelled images before hours are spent on them: layout, class count, files, images in both splits."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from maekit.base.findings import Findings
from maekit.data.folders.check import check_files, class_problems
from maekit.data.folders.duplicates import same_images
from maekit.data.folders.listing import Listing
from maekit.data.folders.splits import expected_names
from maekit.data.images.decode import UPRIGHT
from maekit.errors import UserError

if TYPE_CHECKING:
    from maekit.classification.data.labelled_images import LabelledImages

NO_VAL = f"validation: no folder {expected_names('val')}; data.val_fraction of each class will be set aside"
ReadTree = Callable[[Path], tuple[Listing, Listing | None]]
Lacking = Callable[[Listing, Listing | None], list[str]]


def check_class_folders(
    data: "LabelledImages", read_tree: ReadTree, lacking: Lacking, *, classes: int | None, full: bool
) -> Findings:
    """Verifies layout, class count and files.

    All files are listed. The quick look reads up to 10,000 of them, chosen at random: it decodes 2,000 and looks at the
    beginning and end of the others. The full one decodes all.

    Args:
        data: the data set, as a run would use it.
        read_tree: lists the splits, or raises a UserError for what is wrong with the layout.
        lacking: names what the splits should hold besides.
        classes: of the head that is to be used; None where it is sized from the data.
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
    findings.problems += class_problems(train.classes, classes) + lacking(train, val)
    check_pictures(data, train, val, findings, full=full)
    return findings


def check_pictures(
    data: "LabelledImages", train: Listing, val: Listing | None, findings: Findings, *, full: bool
) -> None:
    """Sets up a data set as a run does, reads its files, and looks for images that are in both splits.

    Args:
        data: the data set.
        train: its training images.
        val: its validation images, where they have a folder or list of their own.
        findings: what was found is added to it.
        full: decode every file and compare all files of the two splits.
    """
    reading = UPRIGHT
    try:
        data.setup()
        findings.facts += data.notes()
        reading = data.form().reading
    except UserError as error:
        findings.problems.append(str(error))
    parts = [part for part in (train, val) if part is not None]
    check_files(parts, full, findings, reading)
    if val is not None:
        note_same_images(train, val, findings, full=full)


def note_same_images(train: Listing, val: Listing, findings: Findings, *, full: bool) -> None:
    """Adds a fact if copies of images are in both splits, which may be meant; a file in both is told elsewhere."""
    mine = set(train.paths())
    line = same_images(sorted(mine), [path for path in val.paths() if path not in mine], full=full)
    findings.facts += [line] if line else []


def nested(train: Listing) -> list[str]:
    """Returns a line if images lie in folders below their class folder, where the upper folder is the class."""
    deep = [name for name in train.names if name.count("/") > 1]
    if not deep:
        return []
    top, below = deep[0].split("/")[:2]
    return [f"nested: {len(deep):,} images lie deeper, such as {deep[0]}; its class is '{top}', not '{below}'"]
