"""The losses of the proposal, box and mask heads, in float32 and divided as detectron2 divides them."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from maekit.detection.host import upload
from maekit.detection.mask_rcnn.boxes import BoxCoder, deltas_of
from maekit.detection.mask_rcnn.matching import draw, match, places
from maekit.detection.mask_rcnn.types import Regions


def proposal_losses(
    anchors: Tensor,
    logits: Tensor,
    deltas: Tensor,
    true: Sequence[Tensor],
    *,
    iou: tuple[float, float],
    count: int,
    positive: float,
    coder: BoxCoder,
) -> tuple[Tensor, Tensor]:
    """Cross entropy of drawn anchors, and L1 of the boxes of those that are objects.

    Both are sums divided by `count` for each image, however many were drawn.

    Args:
        anchors: [N, 4], of all maps.
        logits: [B, N].
        deltas: [B, N, 4].
        true: B times the objects' boxes [K, 4]; an empty one is no object.
        iou: below the first an anchor is background, from the second on an object.
        count, positive: see `matching.draw`.
        coder: of deltas.
    """
    cls, loc = logits.new_zeros((), dtype=torch.float32), deltas.new_zeros((), dtype=torch.float32)
    for logit, delta, boxes in zip(logits.float(), deltas.float(), true, strict=True):
        kind, objects = match(anchors, boxes, *iou, force=True)
        drawn, background = draw(kind, count, positive)
        rows, used = places(drawn | background, count)
        weight, goal = used.float(), drawn[rows].float()
        cls = cls + F.binary_cross_entropy_with_logits(logit[rows], goal, weight, reduction="sum")
        rows, used = places(drawn, int(count * positive) if len(boxes) else 0)
        apart = (delta[rows] - coder.encode(boxes[objects[rows]], anchors[rows])).abs()
        loc = loc + torch.where(used[:, None], apart, 0.0).sum()
    total = count * len(true)
    return cls / total, loc / total


def region_losses(
    logits: Tensor, deltas: Tensor, regions: Sequence[Regions], true: Sequence[Tensor], coder: BoxCoder
) -> tuple[Tensor, Tensor]:
    """Mean cross entropy of all regions, and L1 of the objects' boxes divided by the number of all regions.

    Args:
        logits: [R, C + 1], the last one for background.
        deltas: [R, C * 4], or [R, 4] for all classes together.
        regions: those of each image, R in all, in the host's memory.
        true: the objects' boxes of each image, in the host's memory.
        coder: of deltas.
    """
    labels = torch.cat([region.labels for region in regions])
    num_regions, num_classes = max(len(labels), 1), logits.shape[1] - 1
    rows = (labels < num_classes).nonzero()[:, 0]
    goals = [
        coder.encode(boxes[region.objects[seen]], region.boxes[seen])
        for region, boxes in zip(regions, true, strict=True)
        for seen in [region.labels < num_classes]
    ]
    own, goal, row, label = (upload(part, logits.device) for part in (labels[rows], torch.cat(goals), rows, labels))
    cls = F.cross_entropy(logits.float(), label, reduction="sum") / num_regions
    predicted = deltas_of(deltas, row, own)
    return cls, (predicted - goal).abs().sum() / num_regions


def mask_loss(logits: Tensor, labels: Tensor, targets: Tensor) -> Tensor:
    """Mean cross entropy of the cells of each object's own class; 0 without objects.

    Args:
        logits: [R, C, M, M].
        labels: int64 [R], the classes.
        targets: bool [R, M, M].
    """
    own = logits.float()[torch.arange(len(labels), device=labels.device), labels]
    total = F.binary_cross_entropy_with_logits(own, targets.float(), reduction="sum")
    return total / max(targets.numel(), 1)
