"""Masks as COCO's compressed run lengths: the columns of a mask one after the other, as text."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from faster_coco_eval.core import mask as coco_mask  # type: ignore[import-untyped, unused-ignore]
from numpy.typing import NDArray
from torch import Tensor

from maekit.detection.data.annotation import PlainRle, Segmentation, TextRle
from maekit.detection.data.coco.rle import whole_counts
from maekit.detection.mask_rcnn.paste import paste_masks
from maekit.detection.mask_rcnn.types import Detections
from maekit.system.size import HeightWidth

_FARTHEST = 2**18


class CocoResults(NamedTuple):
    """The objects found in one image, in the pixels of its file.

    Attributes:
        boxes: float [K, 4], x0 y0 x1 y1.
        scores: float [K]. More than 100 of a class are cut to the 100 best by the evaluation itself.
        labels: integers [K], 0 to C-1.
        rles: K masks at the file's own size; None of a detector of boxes alone.
    """

    boxes: np.ndarray
    scores: np.ndarray
    labels: np.ndarray
    rles: list[TextRle] | None


def coco_results(found: Detections, size: HeightWidth, *, pixels_at_once: int = 2**26) -> CocoResults:
    """Returns a detector's output with masks of the whole image, where it has masks.

    Args:
        found: on any device.
        size: of the file.
        pixels_at_once: largest number of pixels of whole masks in memory, but at least those of one mask.
    """
    boxes, scores, labels = (column.detach().cpu().numpy() for column in (found.boxes, found.scores, found.labels))
    if found.masks is None:
        return CocoResults(boxes, scores, labels, None)
    step = max(1, pixels_at_once // (size.height * size.width))
    rles: list[TextRle] = []
    for start in range(0, len(found.boxes), step):
        part = slice(start, start + step)
        rles += encode_masks(paste_masks(found.masks[part], found.boxes[part], size))
    return CocoResults(boxes, scores, labels, rles)


def encode_masks(masks: Tensor | NDArray[np.bool_]) -> list[TextRle]:
    """Returns the run lengths of bool masks [K, h, w]."""
    array = masks.cpu().numpy() if isinstance(masks, Tensor) else masks
    if len(array) == 0:
        return []
    return [_as_text(rle) for rle in coco_mask.encode(np.asfortranarray(array.transpose(1, 2, 0)).view(np.uint8))]


def decode_masks(rles: Sequence[TextRle], size: HeightWidth) -> NDArray[np.bool_]:
    """Returns bool masks [K, h, w]."""
    if not rles:
        return np.zeros((0, *size), dtype=bool)
    masks: NDArray[np.bool_] = coco_mask.decode(list(rles)).transpose(2, 0, 1).astype(bool)
    return masks


def mask_areas(rles: Sequence[TextRle]) -> list[int]:
    """Returns the number of pixels of each mask."""
    return [int(area) for area in coco_mask.area(list(rles))] if rles else []


def truth_rle(segmentation: Segmentation | None, size: HeightWidth) -> TextRle:
    """Returns an annotation's `segmentation` (polygons, run lengths as numbers or as text) as run lengths.

    Polygons of fewer than three points have no area and are left out. If no polygon is left, or run lengths do not add
    up to the image, the mask is empty: the object still counts, but no predicted mask can match it.

    Args:
        segmentation: of the annotation, None if it is missing.
        size: of the image.
    """
    height, width = size
    polygons = []
    if isinstance(segmentation, dict):
        if _whole(segmentation, size):
            given = isinstance(segmentation["counts"], list)
            return _as_text(coco_mask.frPyObjects(segmentation, height, width) if given else segmentation)
    else:
        polygons = [list(map(float, polygon)) for polygon in segmentation or () if _encloses(polygon)]
    if not polygons:
        return encode_masks(np.zeros((1, height, width), dtype=bool))[0]
    return _as_text(coco_mask.merge(coco_mask.frPyObjects(polygons, height, width)))


def _whole(rle: PlainRle | TextRle, size: HeightWidth) -> bool:
    """Returns whether run lengths add up to the image: the evaluation, unchecked, would read beyond its memory."""
    try:
        return whole_counts(rle)[1] == size
    except ValueError:
        return False


def _encloses(polygon: Sequence[float]) -> bool:
    """Returns whether a polygon has three points or more, none so far away that its edges would fill the memory."""
    far = max((abs(side) if math.isfinite(side) else math.inf for side in polygon), default=math.inf)
    return len(polygon) >= 6 and len(polygon) % 2 == 0 and far < _FARTHEST


def _as_text(rle: Mapping[str, Any]) -> TextRle:
    """Returns run lengths of faster-coco-eval, whose counts are bytes, as JSON can hold them."""
    counts = rle["counts"]
    return {"size": list(rle["size"]), "counts": counts.decode() if isinstance(counts, bytes) else counts}
