"""Boxes of fixed shapes laid over the maps of a pyramid."""

from collections.abc import Sequence

import torch
from torch import Tensor

from maekit.detection.host import upload


def grid_anchors(maps: Sequence[Tensor], strides: Sequence[int], shapes: Tensor) -> list[Tensor]:
    """Lays each map's shapes on the top left corner of each of its pixels, as detectron2 does with offset 0.

    Args:
        maps: of [B, C, h, w].
        strides: pixels of the image from one of the map to the next.
        shapes: [maps, A, 4], see `anchor_shapes`.

    Returns:
        For each map [h * w * A, 4], x0 y0 x1 y1 in pixels, row by row, those of one place together; on its device.
    """
    anchors = []
    for image, stride, shape in zip(maps, strides, upload(shapes, maps[0].device), strict=True):
        rows, columns = (
            torch.arange(0, side * stride, stride, dtype=torch.float32, device=image.device)
            for side in image.shape[-2:]
        )
        y, x = torch.meshgrid(rows, columns, indexing="ij")
        corner = torch.stack((x, y, x, y), -1).view(-1, 1, 4)
        anchors.append((corner + shape).view(-1, 4))
    return anchors


def anchor_shapes(sizes: Sequence[float], ratios: Sequence[float]) -> Tensor:
    """Returns boxes around the origin, not rounded: float32 [sizes, ratios, 4]; on the CPU, as `sincos_pos_embed`.

    Args:
        sizes: square root of the area.
        ratios: height over width.
    """
    ratio = torch.tensor(ratios, dtype=torch.float64, device="cpu")
    width = (torch.tensor(sizes, dtype=torch.float64, device="cpu")[:, None] ** 2 / ratio).sqrt()
    height = ratio * width
    return torch.stack((-width, -height, width, height), -1).div_(2).float().to(torch.get_default_device())
