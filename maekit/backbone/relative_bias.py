"""Relative position as a bias on attention: one learned number for each head and each shift between two patches."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from maekit.backbone.attention import Grid
from maekit.errors import UserError


class TableBias(nn.Module):
    """Attention with BEiT's relative position bias (arXiv 2106.08254), zero-initialised as MAE fine-tunes with it.

    `table` [(2h-1)(2w-1) + 3, heads] holds the biases of the shifts query - key, rows first, then three of the class
    token: as a query, as a key, with itself. The order is that of BEiT's and mmsegmentation's
    `relative_position_bias_table`, which therefore fits as it is.

    Args:
        num_heads: attention heads.
        grid: patches (h, w) that the table is for; no other grid can be attended to.
        num_prefix: tokens before the patches: the class token and the registers, which share the class token's biases.
    """

    def __init__(self, num_heads: int, grid: Grid, *, num_prefix: int) -> None:
        super().__init__()
        self.grid, self.num_prefix = grid, num_prefix
        self.shifts = (2 * grid[0] - 1, 2 * grid[1] - 1)
        rows = self.shifts[0] * self.shifts[1] + 3 * (num_prefix > 0)
        self.table = nn.Parameter(torch.zeros(rows, num_heads))

    def forward(self, q: Tensor, k: Tensor, v: Tensor, grid: Grid) -> Tensor:
        """Returns what each query attends to, [B, heads, N, d], for q, k, v of that shape on the table's own grid."""
        if grid != self.grid:
            raise UserError(
                f"got a patch grid of {grid[0]}x{grid[1]}, expected {self.grid[0]}x{self.grid[1]}, that of the "
                "relative position table; give images of that size, or evaluate in windows of it"
            )
        bias = self.bias().to(q.dtype)
        # torch's fused CPU kernel gives a mask no gradient, and what it falls back to takes half as long again. While a
        # graph is exported, its output has other strides than that of the operators which ONNX has in its place.
        if (q.is_cpu and bias.requires_grad) or torch.compiler.is_exporting():
            scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-2, -1)
            out: Tensor = scores.add_(bias).softmax(-1) @ v
            return out
        # On a CPU a mask without the first axis is given to no fused kernel: 9.1 for 2.7 ms at 2 x 197 tokens of ViT-S.
        return F.scaled_dot_product_attention(q, k, v, attn_mask=bias[None])

    def bias(self) -> Tensor:
        """Returns the biases [heads, N, N] of query and key, the prefix tokens (if any) first.

        Patches of two rows have the same biases wherever the rows are as far apart, so one square of columns is made
        for each distance of rows, and squares are gathered: with gradients half the time of gathering single numbers.
        """
        (h, w), num_heads = self.grid, self.table.shape[1]
        shifts = self.table[: self.shifts[0] * self.shifts[1]].T.reshape(num_heads, *self.shifts)
        # squares[head, r, j, l] is the bias of columns j and l, r - (h - 1) rows apart.
        squares = shifts.flip(2).unfold(2, w, 1).flip(2).reshape(num_heads, self.shifts[0], w * w)
        row = torch.arange(h, device=self.table.device)
        apart = (row[:, None] - row[None, :] + h - 1).flatten()
        patches = squares.index_select(1, apart).view(num_heads, h, h, w, w).transpose(2, 3)
        patches = patches.reshape(num_heads, h * w, h * w)
        if not self.num_prefix:
            return patches
        as_query, as_key, alone = self.table[-3:, :, None, None].unbind(0)
        count = self.num_prefix
        top = torch.cat([alone.expand(-1, count, count), as_query.expand(-1, count, h * w)], dim=2)
        return torch.cat([top, torch.cat([as_key.expand(-1, h * w, count), patches], dim=2)], dim=1)
