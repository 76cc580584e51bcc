"""A look at a folder of class folders before hours are spent on it."""

import os
import random
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

from maekit.data.decode import UPRIGHT, Reading
from maekit.data.duplicates import same_images
from maekit.data.findings import Findings
from maekit.data.listing import Listing
from maekit.data.loader import usable_cores
from maekit.data.splits import expected_names
from maekit.errors import UserError

if TYPE_CHECKING:
    from maekit.data.labelled_images import LabelledImages

MAX_QUICK = 10_000
MAX_QUICK_DECODED = 2_000
FEW = 200
TAIL_BYTES = 64
LAST_BYTES = {"JPEG": b"\xff\xd9", "PNG": b"IEND"}
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


def file_problem(path: str, decode: bool, reading: Reading = UPRIGHT) -> str | None:
    """Returns one line if an image file cannot be read, after decoding it or a look at its beginning and end."""
    try:
        if decode or not _looks_whole(path):
            reading(path)
    except UserError as error:
        return str(error)
    return None


def _looks_whole(path: str) -> bool:
    """Says whether a file begins as an image and ends as its format does; False also where only decoding can tell."""
    try:
        with Image.open(path) as image, Path(path).open("rb") as file:
            last = LAST_BYTES.get(image.format or "")
            file.seek(-min(TAIL_BYTES, Path(path).stat().st_size), os.SEEK_END)
            return last is not None and image.mode[0] not in "IF" and last in file.read()
    except Exception:  # whatever it is, decoding will meet it again and say it in one line
        return False


def class_problems(names: tuple[str, ...], head_classes: int | None) -> list[str]:
    """Returns a line if a head has another number of classes, and one for each class name that another resembles."""
    problems = []
    if head_classes is not None and head_classes != len(names):
        advice = "use this head's own data, or weights without a head (a new one is sized from the data)"
        problems.append(f"the head has {head_classes:,} classes, the data {len(names):,}; {advice}")
    seen: dict[str, str] = {}
    for name in names:
        other = seen.setdefault(" ".join(name.casefold().split()), name)
        if other != name:
            problems.append(
                f"class folders '{other}' and '{name}' differ only in case or spaces; join them or rename one"
            )
    return problems


def check_files(splits: list[Listing], full: bool, findings: Findings, reading: Reading = UPRIGHT) -> None:
    """Reads files as `check_class_folders` says, a few in this process and many in as many as there are cores."""
    files = [(split, index) for split in splits for index in range(len(split))]
    chosen = files if full else random.Random(0).sample(files, min(len(files), MAX_QUICK))
    paths = [split.path(index) for split, index in chosen]
    decode = len(paths) if full else min(len(paths), MAX_QUICK_DECODED)
    jobs = [(path, rank < decode, reading) for rank, path in enumerate(paths)]
    findings.problems += sorted(filter(None, _run(jobs)))
    partly = "" if decode == len(files) else f", {decode:,} of them whole; --full decodes all"
    findings.facts.append(f"files: {len(paths):,} of {len(files):,} read{partly}")


def _run(jobs: list[tuple[str, bool, Reading]]) -> list[str | None]:
    if len(jobs) <= FEW:
        return [file_problem(*job) for job in jobs]
    with ProcessPoolExecutor(usable_cores()) as pool:
        return list(pool.map(file_problem, *zip(*jobs, strict=True), chunksize=64))
