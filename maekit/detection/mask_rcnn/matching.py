"""Matches boxes with objects, and draws the ones to train on.

On a CPU, where nothing waits, draws are detectron2's own, so that a seed gives the same regions in both. On an
accelerator they have the same distribution and shapes that do not depend on values, so that the host reads nothing.
"""

import torch
from torch import Tensor

from maekit.detection.mask_rcnn.boxes import not_empty
from maekit.detection.mask_rcnn.types import IGNORED, Regions
from maekit.detection.operators import BalancedPositiveNegativeSampler, box_iou


@torch.no_grad()
def match(boxes: Tensor, true: Tensor, low: float, high: float, *, force: bool) -> tuple[Tensor, Tensor]:
    """Compares boxes [N, 4] with objects' boxes [K, 4].

    Args:
        boxes: x0 y0 x1 y1.
        true: x0 y0 x1 y1; K may be 0, and an empty box is no object.
        low: a box whose best overlap (IoU) is below this is background.
        high: one whose best overlap is this or more is an object; between the two it is neither.
        force: whether the boxes that overlap an object most are matched with it even below `high`.

    Returns:
        int64 [N]: 1 for an object, 0 for background, -1 for neither; and int64 [N]: the place of the object, else 0.
    """
    if not len(true) or not len(boxes):
        nothing = torch.zeros(len(boxes), dtype=torch.int64, device=boxes.device)
        return nothing, nothing
    whole = not_empty(true)[:, None]
    overlap = box_iou(true, boxes).nan_to_num_(0.0).masked_fill_(~whole, -1.0)
    best, objects = overlap.max(0)
    found = best >= high
    if force:
        most = overlap.amax(1, keepdim=True).masked_fill_(~whole, 2.0)  # which no overlap reaches
        found |= (overlap == most).any(0)
    kind = torch.where(found, 1, torch.where(best < low, 0, IGNORED))
    return kind, torch.where(kind == 1, objects, 0)


def draw(kind: Tensor, count: int, positive: float) -> tuple[Tensor, Tensor]:
    """Draws `count` of the boxes that are 1 or 0 in `kind` [N], with torch's generator of its device.

    Args:
        kind: 1 for an object, 0 for background, -1 for boxes that are never drawn.
        count: largest number of boxes.
        positive: share of them that are objects, at most; background fills up.

    Returns:
        Two bool [N]: which boxes are drawn as objects, and which as background.
    """
    if kind.device.type != "cpu":
        return shuffled_draw(kind, count, positive)
    objects, background = BalancedPositiveNegativeSampler(count, positive)([kind])
    return objects[0].bool(), background[0].bool()


def shuffled_draw(kind: Tensor, count: int, positive: float) -> tuple[Tensor, Tensor]:
    """Draws as `draw` does, by one permutation of all boxes, and reads nothing."""
    order = torch.randperm(len(kind), device=kind.device)
    shuffled = kind[order]
    objects = _first(shuffled == 1, int(count * positive))
    background = _first(shuffled == 0, count - objects.sum())
    back = torch.empty_like(order).scatter_(0, order, torch.arange(len(order), device=order.device))
    return objects[back], background[back]


def places(mask: Tensor, limit: int) -> tuple[Tensor, Tensor]:
    """Returns where bool [N] is true, rising.

    Args:
        mask: true at `limit` places at most.
        limit: see above.

    Returns:
        int64 [S] and bool [S], which of them are such places: on a CPU all, elsewhere S is the smaller of `limit` and N
        and what is too much is 0.
    """
    if mask.device.type != "cpu":
        return first_places(mask, limit)
    rows = mask.nonzero()[:, 0]
    return rows, torch.ones_like(rows, dtype=torch.bool)


def first_places(mask: Tensor, limit: int) -> tuple[Tensor, Tensor]:
    """Returns what `places` does, S being the smaller of `limit` and N, and reads nothing."""
    limit = min(limit, len(mask))
    number = torch.where(mask, mask.cumsum(0) - 1, limit).clamp(max=limit)
    rows = torch.zeros(limit + 1, dtype=torch.int64, device=mask.device)
    rows.scatter_(0, number, torch.arange(len(mask), device=mask.device))
    return rows[:limit], torch.arange(limit, device=mask.device) < mask.sum()


@torch.no_grad()
def draw_regions(
    proposals: Tensor, true: Tensor, labels: Tensor, *, num_classes: int, iou: float, count: int, positive: float
) -> Regions:
    """Draws regions of one image to train on, from proposals [P, 4] and the objects' own boxes [K, 4].

    Args:
        proposals: x0 y0 x1 y1; an empty one is none.
        true: the objects' boxes; an empty one is none.
        labels: int64 [K], their classes.
        num_classes: label of background.
        iou: overlap from which a region is the object.
        count, positive: see `draw`.

    Returns:
        On a CPU the regions alone; elsewhere their number depends on nothing that was drawn, and those of label
        `IGNORED` are none.
    """
    boxes = torch.cat([proposals, true])
    kind, objects = match(boxes, true, iou, iou, force=False)
    kind = kind.masked_fill(~not_empty(boxes), IGNORED)
    background = torch.full_like(kind, num_classes)
    classes = torch.where(kind == 1, labels[objects], background) if len(true) else background
    limits = int(count * positive), count
    drawn = [places(mask, limit) for mask, limit in zip(draw(kind, count, positive), limits, strict=True)]
    rows, used = (torch.cat(part) for part in zip(*drawn, strict=True))
    return Regions(boxes[rows], torch.where(used, classes[rows], IGNORED), objects[rows])


def _first(mask: Tensor, count: int | Tensor) -> Tensor:
    """Returns bool [N] with the first `count` of what is true in `mask` [N]."""
    return mask & (mask.cumsum(0) <= count)
