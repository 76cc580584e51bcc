"""Selects detections from the box head's output for all proposals."""

import torch
from torch import Tensor
from torchvision.models.detection._utils import BoxCoder
from torchvision.ops import batched_nms

from maekit.detection.mask_rcnn.boxes import clipped
from maekit.system.size import HeightWidth


def select(
    logits: Tensor,
    deltas: Tensor,
    proposals: Tensor,
    size: HeightWidth,
    *,
    min_score: float,
    nms_iou: float,
    count: int,
    coder: BoxCoder,
) -> tuple[Tensor, Tensor, Tensor]:
    """Chooses the detections of one image, as detectron2 does.

    Every class of every proposal whose probability is above `min_score` is decoded and clipped, suppressed class by
    class, and the `count` best are kept.

    Args:
        logits: [P, C + 1], the last one background's.
        deltas: [P, C * 4].
        proposals: [P, 4].
        size: of the image without its padding.
        min_score: see above.
        nms_iou: overlap above which the lesser of two boxes of one class goes.
        count: see above.
        coder: of deltas.

    Returns:
        Boxes float32 [K, 4], scores float32 [K], falling, and labels int64 [K].
    """
    scores = logits.float().softmax(-1)[:, :-1]
    rows, labels = (scores > min_score).nonzero(as_tuple=True)
    scores = scores[rows, labels]
    delta = deltas.float().view(len(logits), logits.shape[1] - 1, 4)[rows, labels]
    boxes = coder.decode_single(delta, proposals[rows])
    finite = boxes.isfinite().all(1)
    boxes, scores, labels = clipped(boxes[finite], size), scores[finite], labels[finite]
    best = batched_nms(boxes, scores, labels, nms_iou)[:count]
    return boxes[best], scores[best], labels[best]


def rescaled(boxes: Tensor, size: HeightWidth, original: HeightWidth) -> Tensor:
    """Returns boxes [K, 4] scaled from an image of `size` to one of `original`, and clipped to it."""
    y, x = original.height / size.height, original.width / size.width
    return clipped(boxes * torch.tensor([x, y, x, y], device=boxes.device), original)
