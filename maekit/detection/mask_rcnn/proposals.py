"""Selects the best boxes of the proposal head."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torchvision.models.detection._utils import BoxCoder
from torchvision.ops import batched_nms

from maekit.detection.mask_rcnn.boxes import clipped, not_empty, sizes_of
from maekit.system.size import HeightWidth


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
) -> list[tuple[Tensor, Tensor]]:
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
        For each image the boxes float32 [P, 4] and their logits float32 [P], falling.
    """
    boxes, scores, levels = [], [], []
    for level, (anchor, logit, delta) in enumerate(zip(anchors, logits, deltas, strict=True)):
        score, index = logit.float().topk(min(pre_nms, logit.shape[1]), 1)
        delta = delta.gather(1, index[..., None].expand(-1, -1, 4)).float()
        boxes.append(coder.decode_single(delta.flatten(0, 1), anchor[index].flatten(0, 1)).view_as(delta))
        scores.append(score)
        levels.append(torch.full_like(index[0], level))
    images = zip(torch.cat(boxes, 1), torch.cat(scores, 1), sizes_of(size), strict=True)
    of_level = torch.cat(levels)
    return [_suppressed(*image, of_level, nms_iou, post_nms) for image in images]


def _suppressed(
    boxes: Tensor, scores: Tensor, size: HeightWidth, levels: Tensor, nms_iou: float, count: int
) -> tuple[Tensor, Tensor]:
    """Returns the best `count` of one image's boxes [N, 4] after suppression within each of `levels` [N]."""
    finite = boxes.isfinite().all(1) & scores.isfinite()
    boxes = clipped(boxes, size)
    kept = finite & not_empty(boxes)
    boxes, scores, levels = boxes[kept], scores[kept], levels[kept]
    best = batched_nms(boxes, scores, levels, nms_iou)[:count]
    return boxes[best], scores[best]
