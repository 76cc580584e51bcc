"""Proposals of fixed number."""

import math

import torch
from torch import Tensor

from maekit.detection.graph.suppression import kept_scores
from maekit.detection.mask_rcnn.boxes import BoxCoder, clipped_each, not_empty
from maekit.detection.mask_rcnn.proposals import candidates
from maekit.detection.mask_rcnn.rpn import Predictions


def fixed_proposals(
    predictions: Predictions,
    sizes: Tensor,
    *,
    pre_nms: int,
    post_nms: int,
    nms_iou: float,
    coder: BoxCoder,
    reach: int,
) -> tuple[Tensor, Tensor]:
    """Chooses proposals as `best_proposals` does, in shapes that do not depend on values.

    Args:
        predictions: of the proposal head.
        sizes: int64 [B, 2], height and width of the pictures.
        pre_nms, post_nms, nms_iou, coder: see `best_proposals`.
        reach: side of the images in pixels.

    Returns:
        Boxes float32 [B, P, 4], the best first, zeros where there are fewer than P; and whether there is one, bool
        [B, P].
    """
    boxes, scores, _ = candidates(*predictions, pre_nms, coder)
    usable = boxes.isfinite().all(-1) & scores.isfinite()
    boxes = clipped_each(boxes, sizes[:, None])
    usable &= not_empty(boxes)
    boxes, scores = torch.where(usable[..., None], boxes, 0.0), torch.where(usable, scores, -math.inf)
    left = torch.cat(
        [_of_level(boxes[:, part], scores[:, part], nms_iou, reach) for part in _parts(predictions, pre_nms)], 1
    )
    best, places = left.topk(min(post_nms, left.shape[1]), 1)
    found = best > -math.inf
    chosen = boxes.gather(1, places[..., None].expand(-1, -1, 4))
    return torch.where(found[..., None], chosen, 0.0), found


def _parts(predictions: Predictions, pre_nms: int) -> list[slice]:
    """Returns where the candidates of each map are: a suppression of each needs fewer comparisons than one of all."""
    counts = [min(pre_nms, logits.shape[1]) for logits in predictions.logits]
    ends = [sum(counts[: place + 1]) for place in range(len(counts))]
    return [slice(end - count, end) for count, end in zip(counts, ends, strict=True)]


def _of_level(boxes: Tensor, scores: Tensor, iou: float, reach: int) -> Tensor:
    """Returns scores [B, n] of one map's boxes [B, n, 4], minus infinity for what is suppressed within its image."""
    image = torch.arange(boxes.shape[0], device=boxes.device)[:, None].expand(scores.shape).flatten()
    cells = torch.stack((torch.zeros_like(image), image), -1)
    every = torch.arange(image.shape[0], device=boxes.device)
    return kept_scores(boxes.flatten(0, 1), scores.flatten(), every, cells, iou, reach).view(scores.shape)
