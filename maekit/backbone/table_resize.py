"""Tables of relative position biases for another patch grid, as BEiT's fine-tuning resizes them."""

import torch
from torch import Tensor

from maekit.backbone.attention import Grid

_LEAST, _MOST, _CLOSE = 1.01, 1.5, 1e-6  # the ratios that are tried; microsoft/unilm beit/run_class_finetuning.py


def resize_bias_table(table: Tensor, old_grid: Grid, new_grid: Grid) -> Tensor:
    """Returns a table [(2h-1)(2w-1) + R, heads] of `old_grid` (h, w) for `new_grid`, in its dtype.

    The shifts of the old table are laid over those of the new one in steps that grow geometrically from 1, so that
    near shifts keep their biases and far ones are stretched; between them a bicubic spline, computed in float64. The R
    rows after the shifts (of the class token) are kept. The same grid gives the table itself.
    Source: microsoft/unilm @ 2312c6f beit/run_class_finetuning.py, for square grids, and microsoft/SimMIM @ 0e71746
    utils.py; here each axis has steps of its own, as in timm. Theirs is FITPACK's spline in float32.
    """
    if old_grid == new_grid:
        return table
    old, new = ((2 * grid[0] - 1, 2 * grid[1] - 1) for grid in (old_grid, new_grid))
    count = old[0] * old[1]
    shifts = table[:count].double().T.reshape(-1, *old)
    rows, columns = (_along(*lengths).to(table.device) for lengths in zip(old, new, strict=True))
    resized = (rows @ shifts @ columns.T).flatten(1).T.to(table.dtype)
    return torch.cat([resized, table[count:]])


def _along(old: int, new: int) -> Tensor:
    """The weights [new, old] by which numbers at the old shifts of one axis give those at the new ones."""
    if old == new:
        return torch.eye(old, dtype=torch.float64)
    ratio, steps = _ratio(old // 2, new // 2), torch.arange(old // 2, dtype=torch.float64)
    places = torch.cumsum(ratio**steps, 0)
    at = torch.cat([-places.flip(0), torch.zeros(1, dtype=torch.float64), places])
    return _spline(at, torch.arange(-(new // 2), new // 2 + 1, dtype=torch.float64))


def _ratio(old: int, new: int) -> float:
    """The ratio of a geometric progression from 1 whose first `old` members sum to `new`, between 1.01 and 1.5."""
    low, high = _LEAST, _MOST
    while high - low > _CLOSE:
        middle = (low + high) / 2
        low, high = (low, middle) if (1 - middle**old) / (1 - middle) > new else (middle, high)
    return middle


def _spline(at: Tensor, wanted: Tensor) -> Tensor:
    """The weights [wanted, at] of the interpolating cubic spline without knots at the second places from the ends.

    It is written in truncated powers, over as much as one; fewer than four places give the polynomial through them,
    and beyond the ends the value is that of the end. `at` rises.
    """
    scale = at[-1].clamp(min=1.0)

    def powers(x: Tensor) -> Tensor:
        x, knots = x / scale, at[2:-2] / scale
        return torch.cat([x[:, None] ** torch.arange(min(4, len(at))), (x[:, None] - knots).clamp(min=0) ** 3], 1)

    weights: Tensor = torch.linalg.solve(powers(at).T, powers(wanted.clamp(at[0], at[-1])).T).T
    return weights
