"""Boxes x0 y0 x1 y1 and the image they are in."""

import torch
from torch import Tensor


def clipped(boxes: Tensor, size: tuple[int, int]) -> Tensor:
    """Returns boxes [N, 4] with every corner moved inside an image of `size`, height and width in pixels."""
    height, width = size
    return torch.stack(
        [side.clamp(0, limit) for side, limit in zip(boxes.unbind(-1), (width, height, width, height), strict=True)], -1
    )


def not_empty(boxes: Tensor) -> Tensor:
    """Says which of boxes [N, 4] have width and height above 0: bool [N]."""
    return (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
