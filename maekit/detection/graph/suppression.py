"""Non-maximum suppression whose result has the shape of what it is given."""

import math

import torch
from torch import Tensor
from torchvision.ops import nms


def kept_scores(boxes: Tensor, scores: Tensor, index: Tensor, cells: Tensor, iou: float, reach: int) -> Tensor:
    """Returns the scores [N]; minus infinity for what is suppressed, and for what is not in `index`.

    torchvision's `nms` becomes ONNX's NonMaxSuppression, which knows one list of boxes. Boxes that must not meet are
    moved to cells of a grid, as torchvision's and detectron2's `batched_nms` do on a line: that rounds them by less
    than a hundredth of a pixel while they are compared, and not in the result.

    Args:
        boxes: float32 [N, 4], each corner from 0 to `reach`.
        scores: float32 [N].
        index: int64 [K], the boxes that take part.
        cells: int64 [N, 2], column and row; boxes of two cells never meet.
        iou: overlap above which the lesser of two goes.
        reach: the largest coordinate.
    """
    moved = boxes[index] + (cells[index] * (reach + 1)).to(boxes.dtype).repeat(1, 2)
    taking_part = scores[index]
    kept = nms(moved, taking_part, iou)
    return torch.full_like(scores, -math.inf).scatter(0, index[kept], taking_part[kept])
