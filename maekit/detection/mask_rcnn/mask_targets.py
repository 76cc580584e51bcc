"""Draws the shape of an object inside a box, in cells."""

from collections.abc import Sequence

import numpy as np
import torch
from faster_coco_eval.core import mask as coco
from torch import Tensor

from maekit.detection.data.batch import InstanceMask
from maekit.detection.operators import roi_align


def mask_targets(masks: Sequence[InstanceMask], objects: Tensor, boxes: Tensor, side: int) -> Tensor:
    """Returns the targets of a mask head, as detectron2 draws them.

    Polygons are moved and scaled to the box and rasterised there by COCO's own rule; bitmaps are pooled by RoIAlign
    with aligned corners and hold where they cover at least half a cell.

    Args:
        masks: shapes of one image's objects, in its pixels.
        objects: int64 [R], which object each box is of, in the host's memory.
        boxes: float32 [R, 4], in the host's memory.
        side: M, cells a side.

    Returns:
        bool [R, M, M], in the host's memory.
    """
    targets = torch.zeros(len(boxes), side, side, dtype=torch.bool)
    own = objects.tolist()
    for row, number in enumerate(own):
        if masks[number].bitmap is None:
            targets[row] = torch.from_numpy(_rasterised(masks[number].polygons, boxes[row].numpy(), side))
    rows = [row for row, number in enumerate(own) if masks[number].bitmap is not None]
    if rows:
        targets[rows] = _pooled(masks, [own[row] for row in rows], boxes[rows], side)
    return targets


def _rasterised(polygons: Sequence[np.ndarray], box: np.ndarray, side: int) -> np.ndarray:
    """The union of polygons [x0, y0, x1, y1, ...] inside a float32 box, bool [side, side]."""
    scale = side / np.maximum(box[2:] - box[:2], np.float32(0.1))
    inside = [((points.reshape(-1, 2) - box[:2]) * scale).ravel().tolist() for points in polygons if len(points) >= 6]
    if not inside:
        return np.zeros((side, side), dtype=bool)
    runs = coco.merge(coco.frPyObjects(inside, side, side))
    return np.asarray(coco.decode(runs), dtype=bool)


def _pooled(masks: Sequence[InstanceMask], own: Sequence[int], boxes: Tensor, side: int) -> Tensor:
    """Bitmaps of the objects `own` [R] inside boxes [R, 4], each bitmap held once."""
    used = sorted(set(own))
    bitmaps = torch.stack([torch.from_numpy(np.asarray(masks[number].bitmap)).float() for number in used])
    image = torch.tensor([[used.index(number)] for number in own], dtype=boxes.dtype)
    covered: Tensor = roi_align(bitmaps[:, None], torch.cat([image, boxes], 1), side, 1.0, 0, aligned=True)[:, 0]
    return covered >= 0.5
