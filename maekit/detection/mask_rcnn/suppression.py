"""Non-maximum suppression of many images and groups in one call."""

import math

import torch
from torch import Tensor

from maekit.detection.operators import nms

AT_ONCE = 2**16  # boxes that are compared with each other: the kernel keeps one bit for each pair, 0.5 GB


def suppress_together(boxes: Tensor, scores: Tensor, groups: Tensor, num_groups: int, iou: float) -> Tensor:
    """Returns which boxes are left, int64 [K], by falling score, after one call of torchvision's kernel.

    Each group has a cell of a square grid, as wide as the farthest corner of any box. 4 images of 5 levels make 5 x 5
    cells: their boxes move no further, and are rounded no more, than in detectron2, which puts the groups of one image
    on a diagonal. An accelerator's kernel makes the host wait once.

    Args:
        boxes: float32 [N, 4], N at most `AT_ONCE`, finite, no corner below 0; an empty one suppresses nothing.
        scores: float32 [N].
        groups: int64 [N], 0 to `num_groups` - 1: boxes of two groups never touch.
        num_groups: see above.
        iou: overlap above which the lesser of two goes.
    """
    if not len(boxes):
        return torch.zeros(0, dtype=torch.int64, device=boxes.device)
    columns = math.isqrt(num_groups - 1) + 1
    cell = torch.stack((groups % columns, groups.div(columns, rounding_mode="floor")), -1)
    kept: Tensor = nms(boxes + (cell * (boxes.max() + 1)).repeat(1, 2), scores, iou)
    return kept
