"""Boxes x0 y0 x1 y1 and the image they are in."""

import torch
from torch import Tensor

from maekit.system.size import HeightWidth


def clipped(boxes: Tensor, size: HeightWidth) -> Tensor:
    """Returns boxes [N, 4] with every corner moved inside an image of `size` pixels."""
    height, width = size
    return torch.stack(
        [side.clamp(0, limit) for side, limit in zip(boxes.unbind(-1), (width, height, width, height), strict=True)], -1
    )


def sizes_of(sizes: Tensor) -> list[HeightWidth]:
    """Returns the sizes in a tensor [B, 2] of heights and widths."""
    return [HeightWidth(height, width) for height, width in sizes.tolist()]


def not_empty(boxes: Tensor) -> Tensor:
    """Returns bool [N], which of boxes [N, 4] have width and height above 0."""
    return (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
