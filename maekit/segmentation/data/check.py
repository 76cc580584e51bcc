"""Checks images with label maps: `maekit data check` for segmentation."""

import random
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from typing import NamedTuple

from maekit.base.findings import Findings
from maekit.data.folders.check import FEW, class_problems, file_problem
from maekit.data.folders.duplicates import same_images
from maekit.data.images.reading_of import AnyReading
from maekit.data.loader import usable_cores
from maekit.errors import UserError
from maekit.segmentation.data.colours import ColourTable
from maekit.segmentation.data.labels.decision import decide
from maekit.segmentation.data.labels.evidence import Evidence, MapLook, look_at
from maekit.segmentation.data.labels.label_maps import LabelMaps
from maekit.segmentation.data.labels.problems import absent, judge, wrong_values
from maekit.segmentation.data.labels.read import require_same_size, sizes
from maekit.segmentation.data.layout.layout import Pairs
from maekit.system.progress import tracked

MAX_QUICK = {"training": 1_000, "validation": 2_000}  # pairs that the check reads without --full


class Look(NamedTuple):
    """The result of reading one pair: a problem, or the content of its label map."""

    problem: str | None
    label_map: MapLook | None = None


def check_pairs(maps: LabelMaps, reading: AnyReading, findings: Findings, *, classes: int | None, full: bool) -> None:
    """Adds to the findings: counts, class count, label values, sizes and unreadable files.

    All files are listed. The quick check reads 1,000 training and 2,000 validation pairs, chosen at random: each label
    map whole, and of each image the size, the beginning and the end. The full check decodes every file.

    Args:
        maps: pairs of both splits, class names, and the coding where it is given.
        reading: which value is white in images of more than 8 bits, or which bands are read.
        findings: added to.
        classes: number of classes of the head that is to be used; None where it is sized from the data.
        full: decode every file.
    """
    splits = {"training": maps.tree.train, "validation": maps.tree.val}
    train, val = splits.values()
    findings.facts.append(f"training: {len(train.pairs):,} images of {len(maps.tree.names):,} classes")
    findings.facts.append(f"validation: {len(val.pairs):,} images")
    findings.problems += class_problems(maps.tree.names, classes, train.pairs.labels) + train.problems + val.problems
    looks = {name: _look_at(part.pairs, MAX_QUICK[name], full, reading) for name, part in splits.items()}
    all_looks = [look for found in looks.values() for look in found]
    findings.problems += sorted(look.problem for look in all_looks if look.problem)
    evidence = []
    for name, part in splits.items():
        label_maps = [look.label_map for look in looks[name] if look.label_map]
        evidence.append(Evidence(part.pairs.labels, label_maps, whole=len(looks[name]) == len(part.pairs)))
    paths, held_out = train.pairs.image_paths(), val.pairs.image_paths()
    same = same_images(paths, held_out, full=full)
    if same and set(paths) & set(held_out):  # the splits share files, which is a mistake; copies may be intended
        findings.problems.append(f"{same}; give each image to one split")
    elif same:
        findings.facts.append(same)
    _judge(maps, evidence[0], evidence[1], findings)
    partly = "" if full else ", the label maps whole; --full decodes all"
    findings.facts.append(f"files: {len(all_looks):,} of {len(train.pairs) + len(val.pairs):,} pairs read{partly}")


def look(image: str, label: str, full: bool, reading: AnyReading, colours: ColourTable | None = None) -> Look:
    """Reads one pair, and its whole image if `full`."""
    problem = file_problem(image, full, reading)
    if problem:
        return Look(problem)
    try:
        label_map, label_size = look_at(label, colours), sizes(label)[0]
        upright, stored = sizes(image, reading)
        require_same_size(image, stored if stored == label_size else upright, label, label_size)
    except UserError as error:
        return Look(str(error))
    return Look(None, label_map)


def _judge(maps: LabelMaps, train: Evidence, val: Evidence, findings: Findings) -> None:
    """Adds the coding of the label maps, and what is wrong with them under it."""
    if not train.looks:
        return  # no training label map could be read, which is reported already
    names = maps.tree.names
    try:
        coding, why = maps.given or decide(train, names)
    except UserError as error:
        findings.problems.append(str(error))
        return
    findings.facts.append(f"label maps: {coding.describe()}{f'; {why}' if why else ''}")
    if any(part.colours for part in (*train.looks, *val.looks)):
        findings.facts.append("label maps: palette images among them; the index of a colour is read, not the colour")
    if maps.tree.published:  # part of it may be at hand: absent classes are no problem
        problems = wrong_values(coding, train) + wrong_values(coding, val)
        notes = [*absent("training", coding, names, train), *absent("validation", coding, names, val)]
    else:
        problems, notes = judge(coding, names, train, val, allow_empty=maps.allow_empty)
    findings.problems += problems
    findings.facts += notes


def _look_at(pairs: Pairs, most: int, full: bool, reading: AnyReading) -> list[Look]:
    """Reads up to `most` pairs, or all if `full`: a few in this process, many in one process a core."""
    count = len(pairs) if full else min(len(pairs), most)
    chosen = sorted(random.Random(0).sample(range(len(pairs)), count))
    images, labels = [pairs.image(i) for i in chosen], [pairs.label(i) for i in chosen]
    one = partial(look, full=full, reading=reading, colours=pairs.colours)
    if count <= FEW:
        return list(map(one, images, labels))
    with ProcessPoolExecutor(usable_cores()) as pool:
        return list(tracked(pool.map(one, images, labels, chunksize=16), "data check", count, "pair"))
