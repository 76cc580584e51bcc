"""What the maps of a pyramid show inside boxes, for a fixed number of boxes."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torchvision.ops import roi_align

from maekit.detection.mask_rcnn.pooling import map_of

_NOWHERE = -1e4  # pixels: a region of one pixel there is all zeros


def pool_fixed(maps: Sequence[Tensor], strides: Sequence[int], boxes: Tensor, found: Tensor, side: int) -> Tensor:
    """Pools each box from the map that fits its size, as `pool_regions` does, in shapes that do not depend on values.

    Every box is pooled from every map, but from all maps but its own as a region far outside, which costs next to
    nothing and is zeros; the results are added.

    Args:
        maps: of [B, C, h, w], each half as large as the one before.
        strides: of the maps, powers of 2.
        boxes: float32 [B, R, 4], x0 y0 x1 y1 in pixels of the image.
        found: bool [B, R]; what is not there is zeros.
        side: cells a side.

    Returns:
        [B * R, C, side, side], of the maps' type.
    """
    levels = map_of(boxes.flatten(0, 1), strides)
    image = torch.arange(boxes.shape[0], device=boxes.device)[:, None].expand(found.shape).flatten()
    regions = torch.cat([image[:, None].to(boxes.dtype), boxes.flatten(0, 1)], 1)
    one = boxes.new_tensor([0.0, _NOWHERE, _NOWHERE, _NOWHERE + 1, _NOWHERE + 1])
    total: Tensor | None = None
    for level, (maps_of_level, stride) in enumerate(zip(maps, strides, strict=True)):
        own = (levels == level) & found.flatten()
        placed = torch.where(own[:, None], regions, one)
        seen = roi_align(maps_of_level.float(), placed, side, 1 / stride, 0, aligned=True)
        total = seen if total is None else total + seen
    assert total is not None
    return total.to(maps[0].dtype)
