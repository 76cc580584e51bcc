"""Matches boxes with objects, and draws the ones to train on."""

import torch
from torch import Tensor
from torchvision.models.detection._utils import BalancedPositiveNegativeSampler, Matcher
from torchvision.ops import box_iou

from maekit.detection.mask_rcnn.types import Regions

IGNORED = -1


@torch.no_grad()
def match(boxes: Tensor, true: Tensor, low: float, high: float, *, force: bool) -> tuple[Tensor, Tensor]:
    """Compares boxes [N, 4] with objects' boxes [K, 4].

    Args:
        boxes: x0 y0 x1 y1.
        true: x0 y0 x1 y1; K may be 0.
        low: a box whose best overlap (IoU) is below this is background.
        high: one whose best overlap is this or more is an object; between the two it is neither.
        force: whether the boxes that overlap an object most are matched with it even below `high`.

    Returns:
        int64 [N]: 1 for an object, 0 for background, -1 for neither; and int64 [N]: the place of the object, else 0.
    """
    if not len(true) or not len(boxes):
        nothing = torch.zeros(len(boxes), dtype=torch.int64, device=boxes.device)
        return nothing, nothing
    overlap = box_iou(true, boxes).nan_to_num_(0.0)
    found = Matcher(high, low, allow_low_quality_matches=force)(overlap)
    kind = torch.where(found >= 0, 1, torch.where(found == Matcher.BELOW_LOW_THRESHOLD, 0, IGNORED))
    return kind, found.clamp(min=0)


def draw(kind: Tensor, count: int, positive: float) -> tuple[Tensor, Tensor]:
    """Draws `count` of the boxes that are 1 or 0 in `kind` [N], with torch's generator of its device.

    Args:
        kind: 1 for an object, 0 for background, -1 for boxes that are never drawn.
        count: largest number of boxes.
        positive: share of them that are objects, at most; background fills up.

    Returns:
        Two bool [N]: which boxes are drawn as objects, and which as background.
    """
    objects, background = BalancedPositiveNegativeSampler(count, positive)([kind])
    return objects[0].bool(), background[0].bool()


@torch.no_grad()
def draw_regions(
    proposals: Tensor, true: Tensor, labels: Tensor, *, num_classes: int, iou: float, count: int, positive: float
) -> Regions:
    """Draws regions of one image to train on, from proposals [P, 4] and the objects' own boxes [K, 4].

    Args:
        proposals: x0 y0 x1 y1.
        true: the objects' boxes.
        labels: int64 [K], their classes.
        num_classes: label of background.
        iou: overlap from which a region is the object.
        count, positive: see `draw`.
    """
    boxes = torch.cat([proposals, true])
    kind, objects = match(boxes, true, iou, iou, force=False)
    background = torch.full_like(kind, num_classes)
    classes = torch.where(kind == 1, labels[objects], background) if len(true) else background
    drawn = torch.cat([mask.nonzero()[:, 0] for mask in draw(kind, count, positive)])
    return Regions(boxes[drawn], classes[drawn], objects[drawn])
