"""Selects the best boxes of the proposal head."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from maekit.detection.mask_rcnn.boxes import BoxCoder, clipped_each, not_empty
from maekit.detection.mask_rcnn.suppression import AT_ONCE, suppress_together
from maekit.detection.operators import batched_nms

Proposals = list[tuple[Tensor, Tensor]]


@torch.no_grad()
def best_proposals(
    anchors: Sequence[Tensor],
    logits: Sequence[Tensor],
    deltas: Sequence[Tensor],
    size: Tensor,
    *,
    pre_nms: int,
    post_nms: int,
    nms_iou: float,
    coder: BoxCoder,
) -> Proposals:
    """Chooses the proposals of each image, as detectron2 does.

    The `pre_nms` best of each map are decoded, clipped to the image without its padding, freed from those that are
    empty or not finite, suppressed map by map, and the `post_nms` best of all maps are kept.

    Args:
        anchors: of each map [N_i, 4].
        logits: of each map [B, N_i].
        deltas: of each map [B, N_i, 4].
        size: int64 [B, 2], height and width.
        pre_nms, post_nms: counts.
        nms_iou: overlap above which the lesser of two goes.
        coder: of deltas.

    Returns:
        For each image the boxes float32 [P, 4] and their logits float32 [P], falling. On an accelerator P does not
        depend on what was suppressed: empty boxes with logits of minus infinity follow.
    """
    boxes, scores, levels = candidates(anchors, logits, deltas, pre_nms, coder)
    usable = boxes.isfinite().all(-1) & scores.isfinite()
    boxes = clipped_each(boxes, size[:, None])
    usable &= not_empty(boxes)
    if boxes.device.type != "cpu" and boxes.shape[1] <= AT_ONCE:
        return best_together(boxes, scores, usable, levels, len(anchors), nms_iou, post_nms)
    images = zip(boxes, scores, usable, strict=True)
    return [_best_of_one(*image, levels, nms_iou, post_nms) for image in images]


def candidates(
    anchors: Sequence[Tensor], logits: Sequence[Tensor], deltas: Sequence[Tensor], count: int, coder: BoxCoder
) -> tuple[Tensor, Tensor, Tensor]:
    """Returns the `count` best boxes of each map [B, N, 4], their logits [B, N], and the maps' numbers [N]."""
    boxes, scores, levels = [], [], []
    for level, (anchor, logit, delta) in enumerate(zip(anchors, logits, deltas, strict=True)):
        score, index = logit.float().topk(min(count, logit.shape[1]), 1)
        delta = delta.gather(1, index[..., None].expand(-1, -1, 4)).float()
        boxes.append(coder.decode(delta, anchor[index]))
        scores.append(score)
        levels.append(torch.full_like(index[0], level))
    return torch.cat(boxes, 1), torch.cat(scores, 1), torch.cat(levels)


def _best_of_one(
    boxes: Tensor, scores: Tensor, usable: Tensor, levels: Tensor, nms_iou: float, count: int
) -> tuple[Tensor, Tensor]:
    """Returns the best `count` of one image's boxes [N, 4] after suppression within each of `levels` [N]."""
    boxes, scores, levels = boxes[usable], scores[usable], levels[usable]
    best = batched_nms(boxes, scores, levels, nms_iou)[:count]
    return boxes[best], scores[best]


def best_together(
    boxes: Tensor, scores: Tensor, usable: Tensor, levels: Tensor, num_levels: int, nms_iou: float, count: int
) -> Proposals:
    """Returns the best of each image's boxes [B, N, 4], in shapes that do not depend on values.

    The host waits once for each `AT_ONCE` boxes: 7 images of 1024 px.
    """
    boxes, scores = torch.where(usable[..., None], boxes, 0.0), torch.where(usable, scores, -math.inf)
    step = max(AT_ONCE // max(boxes.shape[1], 1), 1)
    parts = zip(torch.split(boxes, step), torch.split(scores, step), strict=True)
    left = torch.cat([_without_suppressed(*part, levels, num_levels, nms_iou) for part in parts])
    scores, best = left.topk(min(count, left.shape[1]), 1)
    chosen = boxes.gather(1, best[..., None].expand(-1, -1, 4))
    chosen = torch.where(scores[..., None].isfinite(), chosen, 0.0)
    return list(zip(chosen, scores, strict=True))


def _without_suppressed(boxes: Tensor, scores: Tensor, levels: Tensor, num_levels: int, nms_iou: float) -> Tensor:
    """Returns scores [B, N], minus infinity for boxes [B, N, 4] that are suppressed within their image and level."""
    image = torch.arange(len(boxes), device=boxes.device)[:, None]
    groups, flat = (image * num_levels + levels).flatten(), scores.flatten()
    kept = suppress_together(boxes.flatten(0, 1), flat, groups, len(boxes) * num_levels, nms_iou)
    return torch.full_like(flat, -math.inf).scatter_(0, kept, flat[kept]).view_as(scores)
