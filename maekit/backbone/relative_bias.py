"""Relative position as a bias on attention: one learned number for each head and each shift between two patches."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from maekit.backbone.attention import Grid
from maekit.errors import UserError
from maekit.system.tracing.sides import is_symbolic


class TableBias(nn.Module):
    """Attention with BEiT's relative position bias (arXiv 2106.08254), zero-initialised as MAE fine-tunes with it.

    `table` [(2h-1)(2w-1) + 3, heads] holds the biases of the shifts query - key, rows first, then three of the class
    token: as a query, as a key, with itself. The order is that of BEiT's and mmsegmentation's
    `relative_position_bias_table`, which therefore fits as it is.

    Args:
        num_heads: attention heads.
        grid: patches (h, w) that the table is for; another one is refused but under `on_any_grid`.
        num_prefix: tokens before the patches: the class token and the registers, which share the class token's biases.
    """

    def __init__(self, num_heads: int, grid: Grid, *, num_prefix: int) -> None:
        super().__init__()
        self.grid, self.num_prefix, self.any_grid = grid, num_prefix, False
        self.shifts = (2 * grid[0] - 1, 2 * grid[1] - 1)
        rows = self.shifts[0] * self.shifts[1] + 3 * (num_prefix > 0)
        self.table = nn.Parameter(torch.zeros(rows, num_heads))

    def forward(self, q: Tensor, k: Tensor, v: Tensor, grid: Grid) -> Tensor:
        """Returns what each query attends to, [B, heads, N, d], for q, k, v of that shape, N of `grid` (h, w)."""
        if not self.any_grid and grid != self.grid:
            raise UserError(
                f"got a patch grid of {grid[0]}x{grid[1]}, expected {self.grid[0]}x{self.grid[1]}, that of the "
                "relative position table; give images of that size, or evaluate in windows of it"
            )
        bias = self.bias(grid).to(q.dtype)
        # torch's fused CPU kernel gives a mask no gradient, and what it falls back to takes half as long again. While a
        # graph is exported, its output has other strides than that of the operators which ONNX has in its place.
        if (q.is_cpu and bias.requires_grad) or torch.compiler.is_exporting():
            scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-2, -1)
            out: Tensor = scores.add_(bias).softmax(-1) @ v
            return out
        # On a CPU a mask without the first axis is given to no fused kernel: 9.1 for 2.7 ms at 2 x 197 tokens of ViT-S.
        return F.scaled_dot_product_attention(q, k, v, attn_mask=bias[None])

    def bias(self, grid: Grid | None = None) -> Tensor:
        """Returns the biases [heads, N, N] of query and key, the prefix tokens (if any) first, on a grid (h, w).

        The default grid is the table's. On another one a shift has its own bias too, and a shift beyond the table's
        that of the farthest one along its axis.
        """
        h, w = grid or self.grid
        traced = is_symbolic(h, w)  # comparing a symbol with a number would bind a graph to one grid
        patches = self._clipped(h, w) if traced or (h, w) != self.grid else self._own()
        if not self.num_prefix:
            return patches
        as_query, as_key, alone = self.table[-3:, :, None, None].unbind(0)
        count = self.num_prefix
        top = torch.cat([alone.expand(-1, count, count), as_query.expand(-1, count, h * w)], dim=2)
        return torch.cat([top, torch.cat([as_key.expand(-1, h * w, count), patches], dim=2)], dim=1)

    def _own(self) -> Tensor:
        """Returns the biases [heads, h*w, h*w] of the patches of the table's grid.

        Patches of two rows have the same biases wherever the rows are as far apart, so one square of columns is made
        for each distance of rows, and squares are gathered: with gradients half the time of gathering single numbers.
        """
        (h, w), num_heads = self.grid, self.table.shape[1]
        # squares[head, r, j, l] is the bias of columns j and l, r - (h - 1) rows apart.
        squares = self._by_shift().flip(2).unfold(2, w, 1).flip(2).reshape(num_heads, self.shifts[0], w * w)
        row = torch.arange(h, device=self.table.device)
        apart = (row[:, None] - row[None, :] + h - 1).flatten()
        patches = squares.index_select(1, apart).view(num_heads, h, h, w, w).transpose(2, 3)
        return patches.reshape(num_heads, h * w, h * w)

    def _clipped(self, h: int, w: int) -> Tensor:
        """Returns the biases [heads, h*w, h*w] of the patches of another grid."""
        rows, columns = (self._apart(*sides) for sides in zip((h, w), self.grid, strict=True))
        by_row = self._by_shift().index_select(1, rows)
        patches = by_row.index_select(2, columns).view(-1, h, h, w, w).transpose(2, 3)
        return patches.reshape(-1, h * w, h * w)

    def _by_shift(self) -> Tensor:
        return self.table[: self.shifts[0] * self.shifts[1]].T.reshape(-1, *self.shifts)

    def _apart(self, side: int, own: int) -> Tensor:
        """Returns int64 [side * side]: for two places of an axis the place of their shift among the table's."""
        place = torch.arange(side, device=self.table.device)
        return ((place[:, None] - place[None, :]).clamp(1 - own, own - 1) + own - 1).flatten()


@contextmanager
def on_any_grid(model: nn.Module) -> Iterator[None]:
    """Lets all tables of a model be used on grids other than theirs while the block runs, see `TableBias.bias`."""
    tables = [module for module in model.modules() if isinstance(module, TableBias)]
    for table in tables:
        table.any_grid = True
    try:
        yield
    finally:
        for table in tables:
            table.any_grid = False
