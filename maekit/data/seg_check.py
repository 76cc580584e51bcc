"""A look at images with label maps before hours are spent on them."""

import random
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from typing import NamedTuple

from maekit.data.check import FEW, class_problems, file_problem
from maekit.data.findings import Findings
from maekit.data.loader import usable_cores
from maekit.data.seg_labels import IGNORED, Coding, mode_and_size, read_label, require_same_size, values_in
from maekit.data.seg_layout import Paired, Pairs
from maekit.errors import UserError

MAX_QUICK = {"training": 1_000, "validation": 2_000}
MAX_NAMED = 5


class Look(NamedTuple):
    """What one pair showed: a problem, the classes in its label map, and whether that is a palette image."""

    problem: str | None
    classes: frozenset[int] = frozenset()
    palette: bool = False


def check_pairs(
    train: Paired,
    val: Paired,
    names: tuple[str, ...],
    coding: Coding,
    findings: Findings,
    *,
    classes: int | None,
    full: bool,
) -> None:
    """Adds what is there and what is wrong with it: pairs, class count, label values, sizes and unreadable files.

    All files are listed. The quick look reads 1,000 training and 2,000 validation pairs, chosen at random: each label
    map whole, of each image the size, the beginning and the end. The full one decodes every file.

    Args:
        train: pairs of the training split.
        val: pairs of the validation split.
        names: one a class, in label order.
        coding: of the label maps.
        findings: what is added to.
        classes: of the head that is to be used; None where it is sized from the data.
        full: decode every file.
    """
    findings.facts.append(f"training: {len(train.pairs):,} images of {len(names):,} classes")
    findings.facts.append(f"validation: {len(val.pairs):,} images")
    findings.facts.append(f"label maps: {coding.describe()}")
    findings.problems += class_problems(names, classes) + train.problems + val.problems
    looks = {name: _look_at(part.pairs, MAX_QUICK[name], coding, full) for name, part in _named(train, val)}
    seen = [look for found in looks.values() for look in found]
    findings.problems += sorted(look.problem for look in seen if look.problem)
    if any(look.palette for look in seen):
        findings.facts.append("label maps: palette PNG among them; the index of a colour is read, not the colour")
    for split, part in _named(train, val):
        if len(looks[split]) == len(part.pairs):  # of fewer, nothing follows
            findings.facts += _absent(split, names, [look for look in looks[split] if not look.problem])
    count, whole = len(seen), len(train.pairs) + len(val.pairs)
    partly = "" if full else ", the label maps whole; --full decodes all"
    findings.facts.append(f"files: {count:,} of {whole:,} pairs read{partly}")


def look(image: str, label: str, coding: Coding, full: bool) -> Look:
    """Reads one pair, its image whole if `full`, and returns what was found."""
    problem = file_problem(image, full)
    if problem:
        return Look(problem)
    try:
        values = read_label(label, coding)
        mode, label_size = mode_and_size(label)
        require_same_size(image, mode_and_size(image)[1], label, label_size)
    except UserError as error:
        return Look(str(error))
    return Look(None, frozenset(values_in(values).tolist()) - {IGNORED}, mode == "P")


def _named(train: Paired, val: Paired) -> tuple[tuple[str, Paired], ...]:
    return ("training", train), ("validation", val)


def _look_at(pairs: Pairs, most: int, coding: Coding, full: bool) -> list[Look]:
    """Reads pairs, a few in this process and many in as many as there are cores."""
    count = len(pairs) if full else min(len(pairs), most)
    chosen = sorted(random.Random(0).sample(range(len(pairs)), count))
    images, labels = [pairs.image(i) for i in chosen], [pairs.label(i) for i in chosen]
    one = partial(look, coding=coding, full=full)
    if count <= FEW:
        return list(map(one, images, labels))
    with ProcessPoolExecutor(usable_cores()) as pool:
        return list(pool.map(one, images, labels, chunksize=16))


def _absent(split: str, names: tuple[str, ...], looks: list[Look]) -> list[str]:
    """Returns a line for the classes that no label map shows: their IoU is undefined, and left out of the mean."""
    present = frozenset[int]().union(*(found.classes for found in looks))
    absent = [name for label, name in enumerate(names) if label not in present]
    if not absent:
        return []
    more = f" and {len(absent) - MAX_NAMED} more" if len(absent) > MAX_NAMED else ""
    return [f"{split}: no pixel of {', '.join(absent[:MAX_NAMED])}{more} in its {len(looks):,} label maps"]
