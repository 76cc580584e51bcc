"""A look at images with COCO annotations before hours are spent on them."""

import random
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np

from maekit.data.check import FEW, class_problems, file_problem
from maekit.data.coco_collect import Tally
from maekit.data.coco_file import CocoFile, read_coco
from maekit.data.coco_layout import Part, absent_images, nothing_to_learn, other_categories, require_part
from maekit.data.det_dataset import read_sized
from maekit.data.findings import Findings
from maekit.data.loader import usable_cores
from maekit.data.seg_labels import mode_and_size
from maekit.errors import UserError

MAX_QUICK = 1_000, 2_000
MARGIN = 1.0  # pixels: what rounding puts a box beyond its image by, in COCO's own files too
LEAST_AREA = 1e-6  # square pixels
LEFT = "training leaves them out, evaluation counts them as they are"


def check_coco(parts: Sequence[Part], root: Path | None, *, classes: int | None, full: bool) -> Findings:
    """Verifies annotation files, that their images are there and of the size they say, boxes and shapes.

    Every annotation is looked at. The quick look reads 1,000 training and 2,000 validation images, chosen at random:
    the size, the beginning and the end of each. The full one decodes every image.

    Args:
        parts: both splits.
        root: the data folder, for hints; None where there is none.
        classes: of the head that is to be used; None where it is sized from the data.
        full: decode every file.
    """
    findings = Findings()
    files = [file for part in parts if (file := _read(part, root, findings))]
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
    findings.problems += filter(None, [nothing_to_learn(train), other_categories(train, val)])
    findings.problems += class_problems(tuple(train.categories.values()), classes)
    looks = [_look_at(file, most, full) for file, most in zip(files, MAX_QUICK, strict=True)]
    findings.problems += sorted(problem for found in looks for problem in found if problem)
    count, whole = sum(map(len, looks)), len(train) + len(val)
    partly = "" if full else ", their sizes, beginnings and ends; --full decodes all"
    findings.facts.append(f"files: {count:,} of {whole:,} images read{partly}")
    return findings


def file_problems(file: CocoFile) -> list[str]:
    """Returns one line for each kind of thing that is wrong with the entries of a file, and for absent images."""
    objects, remarks = file.objects, file.remarks
    boxes = objects.boxes
    sizes = file.sizes[objects.image]
    known = (objects.image >= 0) & np.isfinite(boxes).all(axis=1)
    beyond = (boxes[:, :2] < -MARGIN).any(axis=1) | (boxes[:, :2] + boxes[:, 2:] > sizes[:, ::-1] + MARGIN).any(axis=1)
    found = [
        ('annotations of images that are not in "images"', remarks.strangers, "they are left out"),
        ("annotation ids that are missing or not unique", remarks.same_ids, "all are numbered anew"),
        ("polygons of fewer than three points or half a point", remarks.short_polygons, "they are left out"),
        ("run lengths that do not add up to their image's size", remarks.bad_runs, "they are left out"),
        ("bboxes that are not four numbers", remarks.bad_boxes, "the shape's box is used"),
        ("annotations without a shape that can be used", remarks.shapeless, "they are left out"),
        ("boxes without width or height", _tally(file, known & (boxes[:, 2:] <= 0).any(axis=1)), LEFT),
        ("boxes that reach beyond their image", _tally(file, known & beyond), "shapes are cut to the image"),
        ("shapes without any area", _tally(file, objects.masked & (objects.covered() <= LEAST_AREA)), LEFT),
    ]
    absent = absent_images(file)
    lines = [
        f"{file.path}: {what}: {tally.count:,} (the first: {tally.first}); {then}; mend or remove them"
        for what, tally, then in found
        if tally.count
    ]
    return ([absent] if absent else []) + lines


def look(path: str, size: tuple[int, int], full: bool) -> str | None:
    """Returns what is wrong with one image of which height and width are known; it is decoded if `full`."""
    problem = file_problem(path, full)
    try:
        if not problem and mode_and_size(path)[1] != size[::-1]:
            read_sized(path, size)
    except UserError as error:
        return str(error)
    return problem


def _read(part: Part, root: Path | None, findings: Findings) -> CocoFile | None:
    try:
        require_part(part, root)
        return read_coco(part.json, part.images)
    except UserError as error:
        findings.problems += [str(error)] if str(error) not in findings.problems else []
        return None


def _tally(file: CocoFile, wrong: np.ndarray) -> Tally:
    tally, objects = Tally(), file.objects
    places = np.flatnonzero(wrong)
    for place in places[:1].tolist():
        tally.add(objects.where(place, file.image_ids))
    tally.count = len(places)
    return tally


def _look_at(file: CocoFile, most: int, full: bool) -> list[str | None]:
    """Reads images, a few in this process and many in as many as there are cores; absent ones are left out."""
    count = len(file) if full else min(len(file), most)
    chosen = sorted(random.Random(0).sample(range(len(file)), count))
    jobs = [(file.image(index), file.size(index), full) for index in chosen if Path(file.image(index)).exists()]
    if count <= FEW:
        return [look(*job) for job in jobs]
    with ProcessPoolExecutor(usable_cores()) as pool:
        return list(pool.map(look, *zip(*jobs, strict=True), chunksize=16))
