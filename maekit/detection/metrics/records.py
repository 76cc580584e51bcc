"""What an evaluation found of each image with annotated objects."""

from collections.abc import Sequence

import numpy as np

from maekit.base.evaluation.image_records import Counts, Floats, ImageRecords
from maekit.detection.metrics.box_matches import IOUS, ClassMatches, confusion, match_classes
from maekit.detection.metrics.coco_eval import SeenImage

RECALLS = np.linspace(0, 1, 101)


class BoxRecords(ImageRecords):
    """The boxes of each image, and which of them are right.

    Args:
        images: of all processes, each once, by rising place.
        places: of each its place in the listing.
        category_ids: COCO's id of each label.
        min_score: lowest score, 0 to 1, of the boxes that `columns` counts.
    """

    def __init__(
        self, images: Sequence[SeenImage], places: Sequence[int], category_ids: Sequence[int], min_score: float
    ) -> None:
        self.places = np.array(places, dtype=np.int64)
        self.images, self.category_ids, self.min_score = images, category_ids, min_score
        self._matches: list[ClassMatches] | None = None

    @property
    def matches(self) -> list[ClassMatches]:
        """The matches of each class, found when they are first asked for."""
        if self._matches is None:
            self._matches = match_classes(self.images, self.category_ids)
        return self._matches

    def columns(self) -> dict[str, Sequence[object]]:
        """Returns of each image its objects, boxes, right, of a wrong class, missed, and spurious ones."""
        rows = []
        for image in self.images:
            counts = np.array(confusion([image], self.category_ids, self.min_score))
            right, missed, spurious = int(counts.trace()), int(counts[:, -1].sum()), int(counts[-1].sum())
            objects, found = int(counts[:-1].sum()), int(counts[:, :-1].sum())
            rows.append((image.image_id, objects, found, right, objects - missed - right, missed, spurious))
        names = ("image_id", "objects", "found", "right", "wrong_class", "missed", "spurious")
        return dict(zip(names, zip(*rows, strict=True) if rows else [()] * len(names), strict=True))

    def resampled(self, counts: Counts) -> dict[str, Floats]:
        """Returns COCO's AP and AP50 of boxes of any size, in percent."""
        aps: Floats = np.stack([average_precisions(one, counts) for one in self.matches])  # [C, R, 10]
        undefined = np.isnan(aps)  # at every IoU alike
        with np.errstate(invalid="ignore"):
            means: Floats = 100 * np.where(undefined, 0.0, aps).sum(0) / (~undefined).sum(0)
        return {"box_AP": means.mean(1), "box_AP50": means[:, 0]}

    @property
    def cost(self) -> int:
        """Two numbers a box, and several for each IoU at which it is right."""
        return sum(2 * len(one.image) + 8 * int(one.right.sum()) for one in self.matches) + len(self.places)


def average_precisions(one: ClassMatches, counts: Counts) -> Floats:
    """Returns a class's AP, 0..1, at each IoU: [R, 10], NaN where a choice [R, n] of the images has no object of it."""
    objects = (counts @ one.objects).astype(np.float64)
    values = np.zeros((len(counts), len(IOUS)))
    weights = counts[:, one.image]
    every = weights.cumsum(1)
    for level in np.flatnonzero(one.right.any(1)).tolist():
        at = np.flatnonzero(one.right[level])  # precision is highest right after a box that is right
        counted = (weights * ~one.ignored[level]).cumsum(1) if one.ignored[level].any() else every
        values[:, level] = _area(weights[:, at].cumsum(1), counted[:, at], objects)
    return np.where(objects[:, None] > 0, values, np.nan)


def _area(right: Counts, counted: Counts, objects: Floats) -> Floats:
    """Returns the mean precision [R] over COCO's 101 recalls, of each the best at that recall or a higher one.

    Args:
        right: [R, k] how many boxes are right up to each of those that are.
        counted: [R, k] how many boxes there are up to it.
        objects: [R] how many objects there are.
    """
    precision = right / np.maximum(counted, 1)
    best = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    reached = np.searchsorted(RECALLS, right / np.maximum(objects, 1)[:, None], side="right")
    first_here = np.diff(reached, axis=1, prepend=0)  # recalls that no box before has reached
    mean: Floats = (first_here * best).sum(1) / len(RECALLS)
    return mean
