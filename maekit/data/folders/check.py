"""`maekit data check`: reads the files of a data set, and compares its class names."""

import os
import random
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from PIL import Image

from maekit.base.findings import Findings
from maekit.data.folders.alike import same_names
from maekit.data.folders.listing import Listing
from maekit.data.images.decode import UPRIGHT
from maekit.data.loader import usable_cores
from maekit.errors import UserError
from maekit.system.progress import tracked

MAX_QUICK = 10_000
MAX_QUICK_DECODED = 2_000
FEW = 200
TAIL_BYTES = 64
ReadFile = Callable[[str], object]
LAST_BYTES = {"JPEG": b"\xff\xd9", "PNG": b"IEND"}


def file_problem(path: str, decode: bool, reading: ReadFile = UPRIGHT) -> str | None:
    """Returns one line if an image file cannot be read. Without `decode` only its beginning and end are looked at."""
    try:
        if decode or not _looks_whole(path):
            reading(path)
    except UserError as error:
        return str(error)
    return None


def _looks_whole(path: str) -> bool:
    """Whether a file begins as an image and ends as its format does; False also if only decoding can tell."""
    try:
        with Image.open(path) as image, Path(path).open("rb") as file:
            last = LAST_BYTES.get(image.format or "")
            file.seek(-min(TAIL_BYTES, Path(path).stat().st_size), os.SEEK_END)
            return last is not None and image.mode[0] not in "IF" and last in file.read()
    except Exception:  # decoding will raise it again, as one line
        return False


def class_problems(names: tuple[str, ...], head_classes: int | None, where: object) -> list[str]:
    """Returns a line if a head has another number of classes, and one for each pair of class names that mean the same.

    Args:
        names: of the classes; each pair that `same_names` finds stops a run too.
        head_classes: number of classes of the head to use; None for any.
        where: the names are from, for messages.
    """
    problems = []
    if head_classes is not None and head_classes != len(names):
        advice = "use this head's own data, or weights without a head (a new one is sized from the data)"
        problems.append(f"the head has {head_classes:,} classes, the data {len(names):,}; {advice}")
    return problems + same_names(names, where)


def check_files(splits: list[Listing], full: bool, findings: Findings, reading: ReadFile = UPRIGHT) -> None:
    """Reads up to 10,000 files, or all if `full`, in one process a core if there are many; adds facts and problems."""
    files = [(split, index) for split in splits for index in range(len(split))]
    chosen = files if full else random.Random(0).sample(files, min(len(files), MAX_QUICK))
    paths = [split.path(index) for split, index in chosen]
    decode = len(paths) if full else min(len(paths), MAX_QUICK_DECODED)
    jobs = [(path, rank < decode, reading) for rank, path in enumerate(paths)]
    findings.problems += sorted(filter(None, _run(jobs)))
    partly = "" if decode == len(files) else f", {decode:,} of them whole; --full decodes all"
    findings.facts.append(f"files: {len(paths):,} of {len(files):,} read{partly}")


def _run(jobs: list[tuple[str, bool, ReadFile]]) -> list[str | None]:
    if len(jobs) <= FEW:
        return [file_problem(*job) for job in jobs]
    with ProcessPoolExecutor(usable_cores()) as pool:
        found = pool.map(file_problem, *zip(*jobs, strict=True), chunksize=64)
        return list(tracked(found, "data check", len(jobs), "file"))
