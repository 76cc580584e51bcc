"""`maekit data check` of images with COCO annotations."""

import random
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np

from maekit.base.findings import Findings
from maekit.data.folders.check import FEW, class_problems, file_problem
from maekit.data.folders.shares import Share
from maekit.data.images.bands.flags import Asked
from maekit.data.images.bands.reading import BandReading
from maekit.data.images.decode import stored_size
from maekit.data.images.picture_form import White, choose_form
from maekit.data.images.reading_of import AnyReading
from maekit.data.loader import usable_cores
from maekit.detection.data.coco.boxes import beyond, compare_boxes
from maekit.detection.data.coco.dataset import AS_STORED, SWAPPED, read_sized
from maekit.detection.data.coco.file import CocoFile
from maekit.detection.data.coco.layout import Part, read_part
from maekit.detection.data.coco.remarks import (
    Masks,
    absent_images,
    nothing_to_evaluate,
    nothing_to_learn,
    other_categories,
    remarks,
    with_masks,
    wrong_boxes,
)
from maekit.detection.data.coco.shared_images import shared_images
from maekit.detection.data.coco.values import Tally
from maekit.errors import UserError
from maekit.system.progress import tracked
from maekit.system.size import HeightWidth

MAX_QUICK = 1_000, 2_000
LEAST_AREA = 1e-6  # square pixels
NO_AREA = "training leaves them out, evaluation counts them as they are"
TRUTH = "training uses the shape, evaluation the box as it is, which nothing can match"
NO_SHAPE = "training leaves them out, evaluation counts those with a box for box AP only"
MANY_APART, MANY_CROWDS = 0.1, 0.5  # shares of the objects from which it is a problem


def check_coco(
    parts: Sequence[Part],
    root: Path | None,
    *,
    classes: int | None,
    full: bool,
    white: White = "auto",
    share: Share | None = None,
    asked: Asked = Asked(),  # noqa: B008 - frozen
    masks: Masks = "auto",
) -> Findings:
    """Verifies annotation files, that their images are there and of the size they say, boxes and shapes.

    All annotations are checked. The quick check reads the size, the beginning and the end of 1,000 training and 2,000
    validation images chosen at random; the full one decodes every image.

    Args:
        parts: both splits.
        root: the data folder, for hints; None if the flags give whole paths.
        classes: of the head to be used; None if it is sized from the data.
        full: decode every file.
        white: value of the flag `--data.white`.
        share: says which images are one group.
        asked: the flags of bands.
        masks: value of the flag `--data.masks`.
    """
    findings = Findings()
    files = [file for part in parts if (file := _read(part, root, findings))]
    if len(files) == len(parts):
        files = list(with_masks(files[0], files[1], masks))
    for file in files:
        objects = len(file.objects)
        findings.facts.append(
            f"{file.path}: {len(file):,} images, {objects:,} objects of {len(file.categories)} classes"
        )
        findings.problems += file_problems(file)
    if len(files) < len(parts):
        return findings
    train, val = files
    findings.facts.append(f"training: {len(train.trainable()):,} of {len(train):,} images hold something to learn")
    findings.facts.append(f"validation: {int((np.diff(val.starts) == 0).sum()):,} of {len(val):,} images hold nothing")
    shared = _shared(train, val)
    findings.facts += [line for line in remarks(train, val) if not (shared and shared.startswith(line))]
    together = [nothing_to_learn(train), nothing_to_evaluate(val), other_categories(train, val)]
    findings.problems += filter(None, together)
    findings.problems += class_problems(tuple(train.categories.values()), classes, train.path)
    mixed = share.overlap(list(train.names), list(val.names)) if share else None
    findings.problems += [line for line in [shared, mixed, _crowds(train)] if line]
    reading = _reading(files, white, asked, root or train.path.parent, findings)
    if reading is None:
        return findings
    looks = [_look_at(file, most, full, reading) for file, most in zip(files, MAX_QUICK, strict=True)]
    for file, found in zip(files, looks, strict=True):
        findings.problems += _image_problems(file, found)
    count, whole = sum(map(len, looks)), len(train) + len(val)
    partly = "" if full else ", their sizes, beginnings and ends; --full decodes all"
    findings.facts.append(f"files: {count:,} of {whole:,} images read{partly}")
    return findings


def _reading(
    files: Sequence[CocoFile], white: White, asked: Asked, folder: Path, findings: Findings
) -> AnyReading | None:
    """Returns how fit would read the images, and adds the reason, or the problem, to the findings.

    None where it is unclear which bands they have.
    """
    try:
        form = choose_form([(len(file), file.image) for file in files], "upright", white, "", asked, folder)
    except UserError as error:
        findings.problems.append(str(error))
        return None if asked else AS_STORED
    findings.facts += form.notes
    return form.reading


def _image_problems(file: CocoFile, found: Sequence[str | None]) -> list[str]:
    """Returns what is wrong with the images that were read, with one line for all swapped sizes."""
    lines = sorted(line for line in found if line)
    swapped = [line for line in lines if SWAPPED in line]
    if not swapped:
        return lines
    line = f"{file.path}: {SWAPPED} in {len(swapped):,} of {len(found):,} images; swap them (the first: {swapped[0]})"
    return [line, *(line for line in lines if line not in swapped)]


def _shared(train: CocoFile, val: CocoFile) -> str | None:
    """Returns one line if both splits list the same files; copies are reported as a fact only."""
    shared = shared_images(train, val)
    return f"{shared.line()}; give each image to one split" if shared.same else None


def _crowds(train: CocoFile) -> str | None:
    """Returns one line if half of the training objects or more are crowds, which is hardly intended."""
    objects = train.objects
    crowds = int(objects.crowd.sum())
    if crowds < MANY_CROWDS * max(1, len(objects)):
        return None
    return (
        f"{train.path}: {crowds:,} of {len(objects):,} annotations are crowds (iscrowd 1), which training leaves out; "
        "set iscrowd 0 where they are single objects: CVAT and others export brush masks with iscrowd 1"
    )


def file_problems(file: CocoFile) -> list[str]:
    """Returns one line for each kind of problem with the entries of a file, and one for absent images."""
    objects, odd = file.objects, file.remarks
    boxes = objects.boxes
    known = (objects.image >= 0) & np.isfinite(boxes).all(axis=1)
    compared = compare_boxes(objects, file.sizes)
    found = [
        ('annotations of images that are not in "images"', odd.unlisted, "they are left out"),
        ("annotation ids that are missing or not unique", odd.same_ids, "all are numbered anew"),
        ("polygons of fewer than three points or half a point", odd.short_polygons, "they are left out"),
        ("run lengths that do not add up to their image's size", odd.bad_runs, "they are left out"),
        ("bboxes that are not four numbers", odd.bad_boxes, "the shape's box is used"),
        *_shapeless(file),
        ("boxes without width or height", _tally(file, known & (boxes[:, 2:] <= 0).any(axis=1)), TRUTH),
        (
            "boxes that reach beyond their image",
            _tally(file, beyond(objects, file.sizes)),
            "shapes are cut to the image",
        ),
        ("shapes that lie outside their image", _tally(file, compared.outside), NO_AREA),
        ("shapes without any area", _tally(file, objects.masked & (objects.covered() <= LEAST_AREA)), NO_AREA),
    ]
    if compared.form is None and compared.apart.sum() > MANY_APART * compared.with_both:
        then = "training uses the shapes, box AP the bboxes"
        found.append(("bboxes that are not around their shapes", _tally(file, compared.apart), then))
    first = [line for line in [absent_images(file), wrong_boxes(file)] if line]
    lines = [
        f"{file.path}: {what}: {tally.count:,} (the first: {tally.first}); {then}; mend or remove them"
        for what, tally, then in found
        if tally.count
    ]
    if file.found.repeated:
        names = f'{file.path}: names that stand more than once in "images": {file.found.repeated:,}'
        lines.append(f"{names}; list each image once, with all its annotations")
    return first + lines


def _shapeless(file: CocoFile) -> list[tuple[str, Tally, str]]:
    """Returns the kind of problem that annotations without a shape are; where boxes are learned, without a box too."""
    if file.masks:
        return [("annotations without a shape that can be used", file.remarks.shapeless, NO_SHAPE)]
    objects = file.objects
    without = (objects.image >= 0) & ~objects.masked & ~objects.boxed
    return [("annotations without a box or a shape that can be used", _tally(file, without), "they are left out")]


def look(path: str, size: HeightWidth, full: bool, reading: AnyReading = AS_STORED) -> str | None:
    """Returns what is wrong with one image that should have this size; it is decoded if `full`."""
    problem = file_problem(path, full, reading)
    try:
        stored = reading.sizes(path)[1] if isinstance(reading, BandReading) and not problem else None
        if not problem and (stored or stored_size(path)) != size:
            read_sized(path, size, reading)
    except UserError as error:
        return str(error)
    return problem


def _read(part: Part, root: Path | None, findings: Findings) -> CocoFile | None:
    """Reads one split and adds its problems to the findings, a line that both splits share only once."""
    try:
        file, problems = read_part(part, root)
    except UserError as error:
        file, problems = None, [str(error)]
    findings.problems += [line for line in problems if line not in findings.problems]
    return file


def _tally(file: CocoFile, wrong: np.ndarray) -> Tally:
    tally, objects = Tally(), file.objects
    places = np.flatnonzero(wrong)
    for place in places[:1].tolist():
        tally.add(objects.where(place, file.image_ids))
    tally.count = len(places)
    return tally


def _look_at(file: CocoFile, most: int, full: bool, reading: AnyReading) -> list[str | None]:
    """Checks a sample of the images that exist, in one process for each core if there are many."""
    count = len(file) if full else min(len(file), most)
    chosen = sorted(random.Random(0).sample(range(len(file)), count))
    there = [index for index in chosen if Path(file.image(index)).exists()]
    jobs = [(file.image(index), file.size(index), full, reading) for index in there]
    if count <= FEW:
        return [look(*job) for job in jobs]
    with ProcessPoolExecutor(usable_cores()) as pool:
        found = pool.map(look, *zip(*jobs, strict=True), chunksize=16)
        return list(tracked(found, "data check", len(jobs)))
