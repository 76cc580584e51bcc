"""Attention with a decomposed bias that makes its scores in tiles, for CPUs: nothing of size N x N is kept."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

# Scores at once: 0.5 MB of fp32, which stay in a core's cache between the products. Half and twice as many are as fast
# to 5 %, eight times as many take 1.2 times as long.
TILE = 2**17


def attend_in_tiles(q: Tensor, k: Tensor, v: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Returns softmax(q k^T + bias) v, where the bias of a query and the key at (y, x) is rows[y] + columns[x].

    Args:
        q: queries [B, heads, N, d], scaled already.
        k: keys, of that shape.
        v: values, of that shape.
        rows: [B, heads, N, h], with h * w = N, and keys row by row.
        columns: [B, heads, N, w].
    """
    flat = [tensor.flatten(0, 1).contiguous() for tensor in (q, k, v, rows, columns)]
    out: Tensor = _Tiled.apply(*flat)
    return out.view(q.shape)


class _Tiled(torch.autograd.Function):
    """The backward pass computes each tile again: two more products than with stored weights, but no memory traffic."""

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
        out = torch.empty_like(q)
        with torch.autocast(q.device.type, enabled=False):
            for head, part in _tiles(q):
                weights = _weights(q[head, part], k[head], rows[head, part], columns[head, part])
                out[head, part] = weights @ v[head]
        ctx.save_for_backward(q, k, v, rows, columns, out)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_out: Tensor) -> tuple[Tensor, ...]:
        q, k, v, rows, columns, out = ctx.saved_tensors
        grid = (rows.shape[2], columns.shape[2])
        d_out = d_out.contiguous()
        shift = (d_out * out).sum(-1, keepdim=True)
        d_q, d_rows, d_columns = (torch.empty_like(tensor) for tensor in (q, rows, columns))
        d_k, d_v = torch.zeros_like(k), torch.zeros_like(v)
        for head, part in _tiles(q):
            weights = _weights(q[head, part], k[head], rows[head, part], columns[head, part])
            d_v[head].baddbmm_(weights.transpose(1, 2), d_out[head, part])
            d_scores = (d_out[head, part] @ v[head].transpose(1, 2)).sub_(shift[head, part]).mul_(weights)
            d_q[head, part] = d_scores @ k[head]
            d_k[head].baddbmm_(d_scores.transpose(1, 2), q[head, part])
            by_place = d_scores.unflatten(2, grid)
            d_rows[head, part], d_columns[head, part] = by_place.sum(3), by_place.sum(2)
        return d_q, d_k, d_v, d_rows, d_columns


def _tiles(q: Tensor) -> list[tuple[slice, slice]]:
    """Cuts the scores of q [B * heads, N, d] into several heads' whole matrices, or into rows of one head's."""
    count, length, _ = q.shape
    heads, rows = max(TILE // length**2, 1), min(max(TILE // length, 1), length)
    starts = [(head, row) for head in range(0, count, heads) for row in range(0, length, rows)]
    return [(slice(head, head + heads), slice(row, row + rows)) for head, row in starts]


def _weights(q: Tensor, k: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """The attention weights of a tile, [heads, rows, N]."""
    bias = (rows[..., :, None] + columns[..., None, :]).flatten(2)
    return bias.baddbmm_(q, k.transpose(1, 2)).softmax(-1)
