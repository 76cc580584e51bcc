"""Resizing of position tables to a grid that is known only when an exported graph runs: as products with weights.

`F.interpolate` bakes a size into a graph, or becomes an operator whose cubic kernel differs between runtimes. Here the
weights [new, old] of each axis are computed in the graph from its side, by additions and multiplications alone.
"""

import torch
from torch import Tensor

from maekit.backbone.sizes import PositionResize
from maekit.system.tracing.sides import as_number

OFFSET = 0.1  # of a patch, by which the grid of `offset` is larger; facebookresearch/dinov2


def resize_by_weights(image: Tensor, new_grid: tuple[int, int], how: PositionResize) -> Tensor:
    """Returns maps [1, D, h, w] of another grid (h, w), float32; as `resize_pos_embed` does it, up to rounding."""
    old_grid = (image.shape[2], image.shape[3])
    weights = [cubic_weights(old, new, how, image.device) for old, new in zip(old_grid, new_grid, strict=True)]
    if how == "offset":  # which leaves the stored grid as it is, though its offset is not zero
        same = [as_number(new, image.device) == old for old, new in zip(old_grid, new_grid, strict=True)]
        plain = [cubic_weights(old, new, "plain", image.device) for old, new in zip(old_grid, new_grid, strict=True)]
        both = same[0] & same[1]
        weights = [torch.where(both, own, other) for own, other in zip(plain, weights, strict=True)]
    rows, columns = weights
    return rows @ image.float() @ columns.T


def cubic_weights(old: int, new: int, how: PositionResize, device: torch.device) -> Tensor:
    """Returns the weights [new, old], float32, by which numbers at `old` places of an axis give those at `new` ones.

    Bicubic with align_corners False: a kernel of -0.75 whose places beyond the ends are the ends, or for `antialias` of
    -0.5, as wide as the step where that is above one, and normalised to a sum of one.
    """
    side = as_number(new, device)
    step = old / (side + OFFSET if how == "offset" else side)
    centre = (torch.arange(new, device=device, dtype=torch.float32) + 0.5) * step
    if how == "antialias":
        places = torch.arange(old, device=device, dtype=torch.float32) + 0.5
        kernel = _cubic((places[None] - centre[:, None]) / step.clamp(min=1.0), -0.5)
        return kernel / kernel.sum(1, keepdim=True)
    places = torch.arange(-2, old + 2, device=device, dtype=torch.float32) + 0.5
    kernel = _cubic(places[None] - centre[:, None], -0.75)
    ends = torch.arange(-2, old + 2, device=device).clamp(0, old - 1)
    folded = torch.nn.functional.one_hot(ends, old).float()
    return kernel @ folded


def _cubic(distance: Tensor, a: float) -> Tensor:
    """The cubic convolution kernel (Keys 1981) of parameter `a`."""
    x = distance.abs()
    near = ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0
    far = ((a * x - 5.0 * a) * x + 8.0 * a) * x - 4.0 * a
    return torch.where(x <= 1.0, near, torch.where(x < 2.0, far, torch.zeros_like(x)))
