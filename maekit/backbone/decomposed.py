"""Relative position decomposed into rows and columns, as in MViTv2 and ViTDet: two small tables, no N x N biases."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from maekit.backbone.attention import Grid
from maekit.backbone.tiled import attend_in_tiles
from maekit.system.tracing.sides import is_symbolic, linear_weights


class Decomposed(nn.Module):
    """Attention whose scores have q . R_h + q . R_w added, of the unscaled query (arXiv 2112.01526, 2203.16527).

    `rel_pos_h` [2h - 1, d] and `rel_pos_w` [2w - 1, d] hold a vector for each shift query - key of rows and of columns,
    the most negative first; they begin at zero. On another grid than theirs they are interpolated linearly
    (align_corners False).

    Args:
        head_dim: d, the width of one head.
        grid: patches (h, w) that the tables are for: those of a window, or of the whole grid.
    """

    def __init__(self, head_dim: int, grid: Grid) -> None:
        super().__init__()
        self.rel_pos_h = nn.Parameter(torch.zeros(2 * grid[0] - 1, head_dim))
        self.rel_pos_w = nn.Parameter(torch.zeros(2 * grid[1] - 1, head_dim))

    def forward(self, q: Tensor, k: Tensor, v: Tensor, grid: Grid) -> Tensor:
        """Returns what each query attends to, [B, heads, N, d], for q, k, v of that shape, N = h * w patches."""
        rows, columns = self.biases(q, grid)
        q = q * q.shape[-1] ** -0.5
        # Seconds for one layer of ViT-B, forward and backward, fp32, one core of an AVX2 EPYC, medians:
        #                                                25 windows of 14x14    64x64
        #   in tiles                                     0.46                   5.1
        #   folded, fused kernel                         0.63                   12.7
        #   folded, written out                          0.66                   12.3
        #   bias added to N x N scores, as detectron2    0.75                   12.7
        #   (fused kernel without any position)          (0.34                  4.8)
        # and forward alone 0.16, 0.20, 0.29, 0.38 and 1.3, 3.8, 4.7, 7.3. Folding makes heads of 64 numbers 92 or 192
        # wide, which a CPU pays for; other devices, and compilers, are better off with the one kernel.
        if q.is_cpu and not torch.compiler.is_compiling():
            return attend_in_tiles(q, k, v, rows, columns)
        return attend_folded(q, k, v, rows, columns)

    def biases(self, q: Tensor, grid: Grid) -> tuple[Tensor, Tensor]:
        """Returns what is added to the scores of q [B, heads, N, d]: by the key's row [..., h], and column [..., w]."""
        (h, w), image = grid, q.view(*q.shape[:2], *grid, q.shape[-1])
        rows = torch.einsum("bnhwc,hkc->bnhwk", image, _by_shift(self.rel_pos_h, h))
        columns = torch.einsum("bnhwc,wkc->bnhwk", image, _by_shift(self.rel_pos_w, w))
        return rows.flatten(2, 3), columns.flatten(2, 3)


def attend_folded(q: Tensor, k: Tensor, v: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Does what `attend_in_tiles` does by attention without biases, for which every device has a fused kernel.

    (q | rows | columns) . (k | one-hot row | one-hot column) = q . k + bias; the values are padded to that width.
    """
    h, w = rows.shape[-1], columns.shape[-1]
    by_row = torch.eye(h, dtype=k.dtype, device=k.device).repeat_interleave(w, 0)
    by_column = torch.eye(w, dtype=k.dtype, device=k.device).repeat(h, 1)
    places = torch.cat([by_row, by_column], dim=1).expand(*k.shape[:2], -1, -1)
    # The kernels for GPUs want widths that are multiples of eight.
    spare = -(k.shape[-1] + h + w) % 8
    query = F.pad(torch.cat([q, rows, columns], dim=-1), (0, spare))
    key = F.pad(torch.cat([k, places], dim=-1), (0, spare))
    out = F.scaled_dot_product_attention(query, key, F.pad(v, (0, h + w + spare)), scale=1.0)
    return out[..., : v.shape[-1]]


def _by_shift(table: Tensor, side: int) -> Tensor:
    """Returns [side, side, d]: for each query and key place on an axis of `side` patches, the vector of their shift."""
    if is_symbolic(side):
        table = (linear_weights(table.shape[0], 2 * side - 1, table.device) @ table.float()).to(table.dtype)
    elif table.shape[0] != 2 * side - 1:
        resized = F.interpolate(table.float().T[None], size=2 * side - 1, mode="linear")
        table = resized[0].T.to(table.dtype)
    place = torch.arange(side, device=table.device)
    return table[place[:, None] - place[None, :] + side - 1]
