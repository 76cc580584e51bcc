"""Detections of fixed number from the box head's output for all proposals."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from maekit.detection.graph.suppression import kept_scores
from maekit.detection.mask_rcnn.boxes import BoxCoder, clipped_each


class FixedDetections(NamedTuple):
    """The detections of B images by falling score, in pixels of the model's input; zeros where there are fewer than D.

    Attributes:
        count: int64 [B], how many there are.
        boxes: float32 [B, D, 4], x0 y0 x1 y1.
        scores: float32 [B, D].
        labels: int64 [B, D].
    """

    count: Tensor  # type: ignore[assignment]  # hides tuple.count
    boxes: Tensor
    scores: Tensor
    labels: Tensor


def fixed_detections(
    scores: Tensor,
    deltas: Tensor,
    proposals: Tensor,
    found: Tensor,
    sizes: Tensor,
    *,
    min_score: float,
    nms_iou: float,
    count: int,
    coder: BoxCoder,
    reach: int,
) -> FixedDetections:
    """Chooses detections as `select` does, in shapes that do not depend on values.

    Args:
        scores: float32 [B, P, C + 1], the probability of each class, the last one background's.
        deltas: [B, P, C * 4], or [B, P, 4] for all classes together.
        proposals: float32 [B, P, 4].
        found: bool [B, P], which proposals there are.
        sizes: int64 [B, 2], height and width of the pictures.
        min_score, nms_iou, count, coder: see `select`.
        reach: side of the images in pixels.
    """
    batch, num_proposals, num_classes = scores.shape[0], scores.shape[1], scores.shape[2] - 1
    each = deltas.float().view(batch, num_proposals, deltas.shape[2] // 4, 4)  # [B, P, C or 1, 4]
    boxes = coder.decode(each, proposals[:, :, None].expand(-1, -1, each.shape[2], -1))
    finite = boxes.isfinite().all(-1)
    boxes = torch.where(finite[..., None], clipped_each(boxes, sizes[:, None, None]), 0.0)
    boxes = boxes.expand(-1, -1, num_classes, -1).reshape(batch, num_proposals * num_classes, 4)
    usable = (scores[..., :-1] > min_score) & finite & found[..., None]
    flat = scores[..., :-1].reshape(-1)
    index = usable.reshape(-1).nonzero()[:, 0]
    cells = _cells(batch, num_proposals, num_classes, boxes.device)
    left = kept_scores(boxes.flatten(0, 1), flat, index, cells, nms_iou, reach).view(batch, -1)
    best, places = left.topk(min(count, left.shape[1]), 1)
    there = best > -math.inf
    chosen = boxes.gather(1, places[..., None].expand(-1, -1, 4))
    return FixedDetections(
        there.sum(1),
        torch.where(there[..., None], chosen, 0.0),
        torch.where(there, best, 0.0),
        torch.where(there, places % num_classes, 0),
    )


def _cells(batch: int, num_proposals: int, num_classes: int, device: torch.device) -> Tensor:
    """Returns int64 [B * P * C, 2]: a square of cells for the classes of each image, the images below each other."""
    columns = math.isqrt(num_classes - 1) + 1
    rows = -(-num_classes // columns)
    label = torch.arange(num_classes, device=device)
    own = torch.stack((label % columns, label.div(columns, rounding_mode="floor")), -1)
    down = torch.arange(batch, device=device) * rows
    image = torch.stack((torch.zeros_like(down), down), -1)
    return (image[:, None, None] + own).expand(-1, num_proposals, -1, -1).reshape(-1, 2)
