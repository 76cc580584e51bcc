"""How well the objects of one image were found; both place and class must be right."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from maekit.detection.data.annotation import Annotation
from maekit.detection.metrics.coco_masks import CocoResults

Floats = NDArray[np.float64]
MIN_IOU = 0.5


class ImageCounts(NamedTuple):
    """Counts of the boxes of one image.

    Attributes:
        objects: annotated, without crowds.
        found: by the model, without those on a crowd of their class.
        right: found with an IoU of 0.5 or more to an object of the same class, each object once.
    """

    objects: int
    found: int
    right: int

    @property
    def f1(self) -> float:
        """The F1 score in percent, NaN without objects and found boxes."""
        both = self.objects + self.found
        return 200 * self.right / both if both else float("nan")


def image_counts(
    found: CocoResults, truth: Sequence[Annotation], category_ids: Sequence[int], min_score: float
) -> ImageCounts:
    """Counts the boxes of one image, in this process alone.

    Args:
        found: the objects that the model found.
        truth: its annotations, `bbox` x y width height.
        category_ids: COCO's id of each label. Annotations of other categories are not counted.
        min_score: the lowest score, 0 to 1, of a box that counts.
    """
    label_of = {category: label for label, category in enumerate(category_ids)}
    known = [note for note in truth if note["category_id"] in label_of]
    boxes = np.array([note["bbox"] for note in known], dtype=np.float64).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    labels = np.array([label_of[note["category_id"]] for note in known], dtype=np.int64)
    crowd = np.array([bool(note.get("iscrowd", 0)) for note in known], dtype=bool)
    order = [row for row in np.argsort(-found.scores, kind="stable").tolist() if found.scores[row] >= min_score]
    free, right, on_crowds = ~crowd, 0, 0
    for row in order:
        shared, own, theirs = _overlaps(np.asarray(found.boxes[row], dtype=np.float64), boxes)
        same = labels == found.labels[row]
        iou = np.where(free & same, shared / np.maximum(own + theirs - shared, 1e-12), 0.0)
        if len(iou) and iou.max() >= MIN_IOU:
            free[iou.argmax()] = False
            right += 1
        elif (shared[crowd & same] >= MIN_IOU * own).any():
            on_crowds += 1
    return ImageCounts(int((~crowd).sum()), len(order) - on_crowds, right)


def _overlaps(box: Floats, boxes: Floats) -> tuple[Floats, float, Floats]:
    """Returns the areas that a box shares with each of some boxes (x0 y0 x1 y1), its own area, and theirs."""
    sides = np.minimum(box[2:], boxes[:, 2:]) - np.maximum(box[:2], boxes[:, :2])
    return sides.clip(0).prod(axis=1), float((box[2:] - box[:2]).prod()), (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
