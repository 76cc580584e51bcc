"""What the maps of a pyramid show inside boxes."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from maekit.detection.host import upload
from maekit.detection.operators import roi_align

_SIDE, _LEVEL = 224, 4  # a box of 224 x 224 pixels is seen on the map of stride 2^4 (Lin et al., 1612.03144)


def pool_regions(maps: Sequence[Tensor], strides: Sequence[int], boxes: Sequence[Tensor], side: int) -> Tensor:
    """Pools each box from the map that fits its size, by RoIAlign with aligned corners, in float32.

    Args:
        maps: of [B, C, h, w], each half as large as the one before.
        strides: of the maps, powers of 2.
        boxes: B times [R_i, 4], x0 y0 x1 y1 in pixels of the image; in the host's memory, which decides how many are
            pooled from each map without waiting.
        side: cells a side; each is the mean of as many samples as it covers pixels of the map.

    Returns:
        [sum of R_i, C, side, side], of the maps' type.
    """
    image = torch.cat([box.new_full((len(box), 1), number) for number, box in enumerate(boxes)])
    regions = torch.cat([image, torch.cat(list(boxes))], 1).float()
    levels, device = map_of(regions[:, 1:], strides), maps[0].device
    pooled = maps[0].new_zeros(len(regions), maps[0].shape[1], side, side)
    with torch.autocast(device.type, enabled=False):  # in half precision a box would lie pixels elsewhere
        for level, (image, stride) in enumerate(zip(maps, strides, strict=True)):
            rows = (levels == level).nonzero()[:, 0]
            seen = roi_align(image.float(), upload(regions[rows], device), side, 1 / stride, 0, aligned=True)
            pooled.index_put_((upload(rows, device),), seen.to(pooled.dtype))
    return pooled


def map_of(boxes: Tensor, strides: Sequence[int]) -> Tensor:
    """Returns int64 [N], which map fits each of boxes [N, 4], 0 for that of strides[0]."""
    side = ((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])).sqrt()
    level = torch.floor(_LEVEL + torch.log2(side / _SIDE + 1e-8))
    first, last = int(math.log2(strides[0])), int(math.log2(strides[-1]))
    return level.clamp(first, last).long() - first
