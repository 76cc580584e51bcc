"""`maekit data check` of the robustness data sets."""

from collections.abc import Mapping
from pathlib import Path

from maekit.base.findings import Findings
from maekit.data.folders.check import check_files
from maekit.errors import UserError
from maekit.robustness.data.layout import find_sets
from maekit.robustness.data.read import Reading, absent, read_sets
from maekit.robustness.data.sets import CORRUPTED, SETS, cells, imagenet_synsets, published, title


def check_robustness(
    root: Path | None, given: Mapping[str, Path | None], *, classes: int | None, full: bool
) -> Findings:
    """Verifies layout, classes, counts of images and files of the data sets in a folder.

    Counts are compared with the published ones if the class folders are ImageNet's. A missing data set is no problem; a
    missing corruption or severity of ImageNet-C is one.

    Args:
        root: the folder that holds the data sets; None if each has its own.
        given: folders of single data sets, by name.
        classes: number of classes of the head to evaluate; None if it is not known.
        full: decode every file, see `check_files`.
    """
    findings = Findings()
    try:
        reading = read_sets(find_sets(root, given))
    except UserError as error:
        findings.problems.append(str(error))
        return findings
    there = {cells()[part.cell].name for part in reading.parts}
    for name in SETS:
        findings.facts.append(_counts(name, reading) if name in there else f"{title(name)}: not there")
    needed = len(set(reading.classes).union(*reading.candidates.values()))
    if classes is not None and classes < needed:
        findings.problems.append(
            f"the head has {classes:,} classes, the data needs {needed:,}; use weights of a model that has them"
        )
    if CORRUPTED in there:
        findings.problems += [
            f"{title(CORRUPTED)}: {what} is not there, so there is no mCE; unpack its archive"
            for what in absent(reading)
            if not what.startswith("ImageNet-")
        ]
    if set(reading.classes) <= set(imagenet_synsets()):
        findings.problems += _count_problems(reading)
    check_files([part.listing for part in reading.parts], full, findings)
    return findings


def _counts(name: str, reading: Reading) -> str:
    parts = [part for part in reading.parts if cells()[part.cell].name == name]
    images, classes = sum(len(part.listing) for part in parts), {c for part in parts for c in part.listing.classes}
    corruptions = {cells()[part.cell].corruption for part in parts}
    of = f" of {len(corruptions)} corruptions in {len(parts)} severities" if name == CORRUPTED else ""
    return f"{title(name)}: {images:,} images of {len(classes):,} classes{of}"


def _count_problems(reading: Reading) -> list[str]:
    """Returns a line for each part with another number of classes or images than published."""
    problems = []
    for part in reading.parts:
        cell, expected = cells()[part.cell], published(cells()[part.cell].name)
        where = title(cell.name) if not cell.corruption else f"{cell.corruption} {cell.severity}"
        for found, whole, what in (
            (len(part.listing.classes), expected.num_classes, "class folders"),
            (len(part.listing), expected.num_images, "images"),
        ):
            if found != whole:
                problems.append(f"{where}: {found:,} of {whole:,} published {what}; unpack {part.listing.root} again")
    return problems
