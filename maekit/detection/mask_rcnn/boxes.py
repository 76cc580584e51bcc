"""Boxes x0 y0 x1 y1, the image they are in, and offsets from one to another, as a network learns them."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from maekit.system.size import HeightWidth

_LARGEST = math.log(1000 / 16)  # of a logarithm of width or height, as in detectron2: no box becomes infinite


def clipped(boxes: Tensor, size: HeightWidth) -> Tensor:
    """Returns boxes [N, 4] with every corner moved inside an image of `size` pixels."""
    height, width = size
    return torch.stack(
        [side.clamp(0, limit) for side, limit in zip(boxes.unbind(-1), (width, height, width, height), strict=True)], -1
    )


def clipped_each(boxes: Tensor, sizes: Tensor) -> Tensor:
    """Returns boxes [..., 4] with every corner inside its own image; heights and widths are `sizes` [..., 2]."""
    height, width = sizes.to(boxes.dtype).unbind(-1)
    return boxes.clamp(min=0).minimum(torch.stack((width, height, width, height), -1))


def sizes_of(sizes: Tensor) -> list[HeightWidth]:
    """Returns the sizes in a tensor [B, 2] of heights and widths."""
    return [HeightWidth(height, width) for height, width in sizes.tolist()]


def not_empty(boxes: Tensor) -> Tensor:
    """Returns bool [...], which of boxes [..., 4] have width and height above 0."""
    return (boxes[..., 2] > boxes[..., 0]) & (boxes[..., 3] > boxes[..., 1])


def deltas_of(deltas: Tensor, rows: Tensor, labels: Tensor) -> Tensor:
    """Returns float32 [N, 4], the offsets of some rows [N] and their classes [N].

    Args:
        deltas: [R, C * 4], or [R, 4] for all classes together.
        rows, labels: int64 [N].
    """
    if deltas.shape[1] == 4:
        return deltas.float()[rows]
    return deltas.float().view(len(deltas), deltas.shape[1] // 4, 4)[rows, labels]


class BoxCoder(NamedTuple):
    """detectron2's Box2BoxTransform; all its numbers are Python's, so that no step copies them to an accelerator.

    torchvision's coder, whose numbers these are bit for bit, makes tensors of them there, each of which waits.

    Attributes:
        weights: factors of the offset in x and y and of the logarithms of width and height.
    """

    weights: tuple[float, float, float, float]

    def encode(self, goals: Tensor, boxes: Tensor) -> Tensor:
        """Returns the offsets [N, 4] that lead from boxes [N, 4], none empty, to goals [N, 4]."""
        x, y, width, height = _centre_and_size(boxes)
        goal_x, goal_y, goal_width, goal_height = _centre_and_size(goals)
        wx, wy, ww, wh = self.weights
        offsets = (
            wx * (goal_x - x) / width,
            wy * (goal_y - y) / height,
            ww * torch.log(goal_width / width),
            wh * torch.log(goal_height / height),
        )
        return torch.stack(offsets, -1)

    def decode(self, offsets: Tensor, boxes: Tensor) -> Tensor:
        """Returns the boxes [..., 4] to which offsets [..., 4] lead from boxes [..., 4]."""
        x, y, width, height = _centre_and_size(boxes.to(offsets.dtype))
        dx, dy, dw, dh = (part / weight for part, weight in zip(offsets.unbind(-1), self.weights, strict=True))
        x, y = dx * width + x, dy * height + y
        half_width = 0.5 * (torch.exp(dw.clamp(max=_LARGEST)) * width)
        half_height = 0.5 * (torch.exp(dh.clamp(max=_LARGEST)) * height)
        return torch.stack((x - half_width, y - half_height, x + half_width, y + half_height), -1)


def _centre_and_size(boxes: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    x0, y0, x1, y1 = boxes.unbind(-1)
    width, height = x1 - x0, y1 - y0
    return x0 + 0.5 * width, y0 + 0.5 * height, width, height
