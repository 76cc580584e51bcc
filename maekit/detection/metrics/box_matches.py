"""Which found boxes are right at each IoU, as COCO's evaluation matches them; and which class is taken for which."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from maekit.detection.metrics.coco_eval import SeenImage

IOUS = np.linspace(0.5, 0.95, 10)
MOST_FOUND = 100  # of a class in an image, the best
_FAR = 1 - 1e-10

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


class ClassMatches(NamedTuple):
    """The boxes of one class in all images, the surest first.

    Attributes:
        image: int64 [m], the place of each box's image.
        score: float [m].
        right: bool [10, m], whether each is right at each IoU.
        ignored: bool [10, m], whether each counts as neither right nor wrong: it lies on a crowd.
        objects: int64 [n], how many objects of the class each image has, crowds left out.
    """

    image: NDArray[np.int64]
    score: Floats
    right: Bools
    ignored: Bools
    objects: NDArray[np.int64]


class Boxes(NamedTuple):
    """Boxes x0 y0 x1 y1 [K, 4] with their labels [K], the scores of found ones or which annotated ones are crowds."""

    corners: Floats
    labels: NDArray[np.int64]
    scores: Floats
    crowd: Bools


def boxes_of(image: SeenImage, category_ids: Sequence[int]) -> tuple[Boxes, Boxes]:
    """Returns the found boxes of an image, and those of its annotations that have one of the classes."""
    label_of = {category: label for label, category in enumerate(category_ids)}
    known = [note for note in image.truth if note["category_id"] in label_of]
    corners = np.array([note["bbox"] for note in known], dtype=np.float64).reshape(-1, 4)
    corners[:, 2:] += corners[:, :2]
    labels = np.array([label_of[note["category_id"]] for note in known], dtype=np.int64)
    crowd = np.array([bool(note["iscrowd"]) for note in known], dtype=bool)
    truth = Boxes(corners, labels, np.ones(len(known)), crowd)
    own = np.asarray(image.found.boxes, dtype=np.float64).reshape(-1, 4)
    scores, found = np.asarray(image.found.scores, np.float64), np.asarray(image.found.labels, np.int64)
    return Boxes(own, found, scores, np.zeros(len(own), dtype=bool)), truth


def match_classes(images: Sequence[SeenImage], category_ids: Sequence[int]) -> list[ClassMatches]:
    """Returns the matches of each class, in label order."""
    parts: list[list[tuple[NDArray[np.int64], Floats, Bools, Bools]]] = [[] for _ in category_ids]
    objects = np.zeros((len(category_ids), len(images)), dtype=np.int64)
    for place, image in enumerate(images):
        found, truth = boxes_of(image, category_ids)
        objects[:, place] = np.bincount(truth.labels[~truth.crowd], minlength=len(category_ids))
        for label in np.unique(found.labels).tolist():
            own, theirs = found.labels == label, truth.labels == label
            order = np.argsort(-found.scores[own], kind="stable")[:MOST_FOUND]
            right, ignored = match(found.corners[own][order], truth.corners[theirs], truth.crowd[theirs])
            parts[label].append((np.full(len(order), place), found.scores[own][order], right, ignored))
    return [_joined(part, objects[label]) for label, part in enumerate(parts)]


def _joined(
    parts: Sequence[tuple[NDArray[np.int64], Floats, Bools, Bools]], objects: NDArray[np.int64]
) -> ClassMatches:
    none = np.zeros((len(IOUS), 0), dtype=bool)
    image, score, right, ignored = (
        np.concatenate([*column, empty], axis=-1)
        for column, empty in zip(
            zip(*parts, strict=True) if parts else [[]] * 4,
            (np.zeros(0, dtype=np.int64), np.zeros(0), none, none),
            strict=True,
        )
    )
    order = np.argsort(-score, kind="stable")
    return ClassMatches(image[order], score[order], right[:, order], ignored[:, order], objects)


def match(found: Floats, truth: Floats, crowd: Bools) -> tuple[Bools, Bools]:
    """Returns which of one class's boxes in an image are right, and which lie on a crowd, each [10, K] by IoU.

    Each object is given to the surest box that has the IoU, each box the free object of highest IoU, or a crowd where
    there is none. A crowd may be given to any number of boxes, and its IoU is the share of the box that it covers.

    Args:
        found: [K, 4], the surest first.
        truth: [G, 4].
        crowd: [G].
    """
    right = np.zeros((len(IOUS), len(found)), dtype=bool)
    ignored = np.zeros_like(right)
    if not len(truth):
        return right, ignored
    ious, least, levels = overlaps(found, truth, crowd), np.minimum(IOUS, _FAR), np.arange(len(IOUS))
    of_real, on_crowd = ious[:, ~crowd][:, ::-1], ious[:, crowd].max(1, initial=0.0)
    free = np.ones((len(IOUS), of_real.shape[1]), dtype=bool)
    for row in np.flatnonzero(ious.max(1) >= least[0]).tolist():
        hit = np.zeros(len(IOUS), dtype=bool)
        if len(free[0]):
            own = np.where(free, of_real[row], -1.0)
            best = own.argmax(1)  # of equal ones the last in the file, as COCO's loop has it: they are turned around
            hit = own[levels, best] >= least
            free[levels[hit], best[hit]] = False
        right[:, row], ignored[:, row] = hit, ~hit & (on_crowd[row] >= least)
    return right, ignored


def overlaps(found: Floats, truth: Floats, crowd: Bools) -> Floats:
    """Returns the IoU [K, G] of boxes; with a crowd the share of the found box that it covers."""
    corners = np.minimum(found[:, None, 2:], truth[None, :, 2:]) - np.maximum(found[:, None, :2], truth[None, :, :2])
    shared = corners.clip(0).prod(2)
    own, theirs = (found[:, 2:] - found[:, :2]).prod(1), (truth[:, 2:] - truth[:, :2]).prod(1)
    whole = np.where(crowd[None], own[:, None], own[:, None] + theirs[None] - shared)
    return np.where(whole > 0, shared / np.where(whole > 0, whole, 1), 0.0)


def confusion(images: Sequence[SeenImage], category_ids: Sequence[int], min_score: float) -> list[list[int]]:
    """Returns how many objects of each class were found as which, [C + 1][C + 1]: rows are true, columns predicted.

    The last row and column are the background: its column counts objects that were missed, its row boxes where there is
    no object. A box belongs to an object from an IoU of 0.5 on: first boxes of its own class, the surest first, then
    those of other classes, the highest IoU first. Boxes on a crowd of their class are not counted.

    Args:
        images: evaluated images.
        category_ids: COCO's id of each label.
        min_score: lowest score, 0 to 1, of a box that counts.
    """
    background = len(category_ids)
    counts = np.zeros((background + 1, background + 1), dtype=np.int64)
    for image in images:
        found, truth = boxes_of(image, category_ids)
        for true, predicted in _pairs(found, truth, min_score, background):
            counts[true, predicted] += 1
    rows: list[list[int]] = counts.tolist()
    return rows


def _pairs(found: Boxes, truth: Boxes, min_score: float, background: int) -> list[tuple[int, int]]:
    order = [row for row in np.argsort(-found.scores, kind="stable").tolist() if found.scores[row] >= min_score]
    ious, same = overlaps(found.corners, truth.corners, truth.crowd), found.labels[:, None] == truth.labels[None]
    free, pairs, left = ~truth.crowd, [], []
    for row in order:
        own = np.where(free & same[row], ious[row], 0.0)
        if len(own) and own.max() >= IOUS[0]:
            free[own.argmax()] = False
            pairs.append((int(found.labels[row]), int(found.labels[row])))
        elif not (ious[row, truth.crowd & same[row]] >= IOUS[0]).any():
            left.append(row)
    others = [(ious[row, column], row, column) for row in left for column in np.flatnonzero(free).tolist()]
    used: set[int] = set()
    for iou, row, column in sorted(others, key=lambda one: (-one[0], one[1], one[2])):
        if iou >= IOUS[0] and row not in used and free[column]:
            used.add(row)
            free[column] = False
            pairs.append((int(truth.labels[column]), int(found.labels[row])))
    pairs += [(background, int(found.labels[row])) for row in left if row not in used]
    return pairs + [(label, background) for label in truth.labels[free].tolist()]
