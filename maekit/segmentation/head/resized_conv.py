"""The convolution of a resized map, at the cost of the map before it was resized."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from maekit.system.size import HeightWidth
from maekit.system.tracing.sides import is_symbolic, linear_weights


def conv_of_resized(maps: Sequence[Tensor], weights: Sequence[Tensor], size: HeightWidth) -> Tensor:
    """Returns the sum of 3x3 convolutions, padded with zeros, of maps resized to one size; exact up to rounding.

    Resizing (bilinear, align_corners False) mixes pixels, and each of the nine taps of a convolution mixes channels, so
    the two commute: the taps' matrices are applied to the small map, and their results are resized, shifted and added.
    Those three are linear along rows and along columns, so one small matrix for each direction performs them.

    Args:
        maps: one [B, C_i, h_i, w_i] each.
        weights: one [O, C_i, 3, 3] for each map.
        size: H and W after resizing.

    Returns:
        [B, O, H, W].
    """
    total: Tensor | None = None
    for image, weight in zip(maps, weights, strict=True):
        tall = _taps_resized_along_rows(image, weight, size.height)
        columns = _resize_and_shift(image.shape[3], size.width, tall)
        columns = columns.permute(1, 2, 0).reshape(1, size.width, -1).expand(tall.shape[0], -1, -1)
        total = torch.bmm(columns, tall) if total is None else torch.baddbmm(total, columns, tall)
    assert total is not None
    return total.view(maps[0].shape[0], *size, -1).permute(0, 3, 1, 2)


def _taps_resized_along_rows(image: Tensor, weight: Tensor, height: int) -> Tensor:
    """Applies all taps to [B, C, h, w], and resizes, shifts and adds rows: [B * height, w * 3, O], 3 kernel columns."""
    batch, channels, old_height, width = image.shape
    pixels = image.permute(0, 2, 3, 1).reshape(-1, channels)
    rows = _resize_and_shift(old_height, height, image)
    tall: Tensor | None = None
    for row, taps in zip(rows, weight.permute(2, 1, 3, 0), strict=True):  # taps [C, 3, O]: one row of the kernel
        tapped = (pixels @ taps.reshape(channels, -1)).view(batch, old_height, -1)
        row = row.expand(batch, -1, -1)
        tall = torch.bmm(row, tapped) if tall is None else torch.baddbmm(tall, row, tapped)
    assert tall is not None
    return tall.view(batch * height, width * 3, -1)


def _resize_and_shift(old: int, new: int, like: Tensor) -> Tensor:
    """Returns matrices [3, new, old] that resize a line of `old` pixels and shift it by +1, 0, -1, padding with 0."""
    padded = F.pad(resize_matrix(old, new, like), (0, 0, 1, 1))
    return torch.stack([padded[shift : shift + new] for shift in range(3)])


def resize_matrix(old: int, new: int, like: Tensor) -> Tensor:
    """Returns the matrix [new, old] of a linear resize (align_corners False), of the type and device of `like`."""
    if is_symbolic(old, new):
        return linear_weights(old, new, like.device).to(like.dtype)
    lines = torch.eye(old, device=like.device, dtype=torch.promote_types(like.dtype, torch.float32))[None]
    return F.interpolate(lines, size=new, mode="linear", align_corners=False)[0].T.to(like.dtype)
