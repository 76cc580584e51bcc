"""A look at images with label maps before hours are spent on them."""

import random
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from typing import NamedTuple

from maekit.base.findings import Findings
from maekit.data.folders.check import FEW, class_problems, file_problem
from maekit.data.folders.duplicates import same_images
from maekit.data.images.decode import Reading
from maekit.data.loader import usable_cores
from maekit.errors import UserError
from maekit.segmentation.data.labels.decision import Decision, decide
from maekit.segmentation.data.labels.evidence import Evidence, MapLook, look_at
from maekit.segmentation.data.labels.problems import absent, judge, wrong_values
from maekit.segmentation.data.labels.read import require_same_size, sizes
from maekit.segmentation.data.layout.layout import Paired, Pairs

MAX_QUICK = {"training": 1_000, "validation": 2_000}


class Known(NamedTuple):
    """What is known before any label map is read.

    Attributes:
        names: one a class, in label order.
        coding: of the label maps; None where they must show it.
        judged: classes and label maps without a counted pixel stop a training on these data.
        allow_empty: they do not, as asked.
        reading: what is white in images of more than 8 bits.
    """

    names: tuple[str, ...]
    coding: Decision | None
    judged: bool
    allow_empty: bool
    reading: Reading


class Look(NamedTuple):
    """What one pair showed: a problem, or what its label map holds."""

    problem: str | None
    label_map: MapLook | None = None


def check_pairs(
    train: Paired, val: Paired, known: Known, findings: Findings, *, classes: int | None, full: bool
) -> None:
    """Adds what is there and what is wrong with it: pairs, class count, label values, sizes and unreadable files.

    All files are listed. The quick look reads 1,000 training and 2,000 validation pairs, chosen at random: each label
    map whole, of each image the size, the beginning and the end. The full one decodes every file.

    Args:
        train: pairs of the training split.
        val: pairs of the validation split.
        known: names and coding.
        findings: what is added to.
        classes: of the head that is to be used; None where it is sized from the data.
        full: decode every file.
    """
    findings.facts.append(f"training: {len(train.pairs):,} images of {len(known.names):,} classes")
    findings.facts.append(f"validation: {len(val.pairs):,} images")
    findings.problems += class_problems(known.names, classes) + train.problems + val.problems
    looks = {name: _look_at(part.pairs, MAX_QUICK[name], full, known.reading) for name, part in _named(train, val)}
    seen = [look for found in looks.values() for look in found]
    findings.problems += sorted(look.problem for look in seen if look.problem)
    evidence = {
        name: Evidence(
            part.pairs.labels, [look.label_map for look in found if look.label_map], len(found) == len(part.pairs)
        )
        for (name, part), found in zip(_named(train, val), looks.values(), strict=True)
    }
    paths, held_out = train.pairs.image_paths(), val.pairs.image_paths()
    same = same_images(paths, held_out, full=full)
    if same and set(paths) & set(held_out):  # lists that share files, which nobody means; copies may be meant
        findings.problems.append(f"{same}; give each image to one split")
    elif same:
        findings.facts.append(same)
    _judge(known, evidence["training"], evidence["validation"], findings)
    count, whole = len(seen), len(train.pairs) + len(val.pairs)
    partly = "" if full else ", the label maps whole; --full decodes all"
    findings.facts.append(f"files: {count:,} of {whole:,} pairs read{partly}")


def look(image: str, label: str, full: bool, reading: Reading) -> Look:
    """Reads one pair, its image whole if `full`, and returns what was found."""
    problem = file_problem(image, full, reading)
    if problem:
        return Look(problem)
    try:
        label_map, label_size = look_at(label), sizes(label)[0]
        upright, stored = sizes(image)
        require_same_size(image, stored if stored == label_size else upright, label, label_size)
    except UserError as error:
        return Look(str(error))
    return Look(None, label_map)


def _judge(known: Known, train: Evidence, val: Evidence, findings: Findings) -> None:
    """Adds how the label maps count, and what is wrong with them under that coding."""
    if not train.looks:
        return  # none could be read, which is said
    try:
        coding, why = known.coding or decide(train, known.names)
    except UserError as error:
        findings.problems.append(str(error))
        return
    findings.facts.append(f"label maps: {coding.describe()}{f'; {why}' if why else ''}")
    if any(part.colours for part in (*train.looks, *val.looks)):
        findings.facts.append("label maps: palette images among them; the index of a colour is read, not the colour")
    if known.judged:
        problems, facts = judge(coding, known.names, train, val, allow_empty=known.allow_empty)
    else:
        problems = wrong_values(coding, train) + wrong_values(coding, val)
        facts = [*absent("training", coding, known.names, train), *absent("validation", coding, known.names, val)]
    findings.problems += problems
    findings.facts += facts


def _named(train: Paired, val: Paired) -> tuple[tuple[str, Paired], ...]:
    return ("training", train), ("validation", val)


def _look_at(pairs: Pairs, most: int, full: bool, reading: Reading) -> list[Look]:
    """Reads pairs, a few in this process and many in as many as there are cores."""
    count = len(pairs) if full else min(len(pairs), most)
    chosen = sorted(random.Random(0).sample(range(len(pairs)), count))
    images, labels = [pairs.image(i) for i in chosen], [pairs.label(i) for i in chosen]
    one = partial(look, full=full, reading=reading)
    if count <= FEW:
        return list(map(one, images, labels))
    with ProcessPoolExecutor(usable_cores()) as pool:
        return list(pool.map(one, images, labels, chunksize=16))
