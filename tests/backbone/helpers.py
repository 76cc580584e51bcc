"""Bicubic resizing of a position table, written as matrices in float64: independent of torch's."""

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


def bicubic_matrix(old: int, new: int, more: float = 0.0) -> NDArray[np.float64]:
    """The [new, old] matrix of Keys' bicubic kernel (a = -0.75), half-pixel centres, borders repeated.

    Sampled as if there were `more` than `new` pixels.
    """

    def kernel(x: float) -> float:
        x = abs(x)
        if x <= 1:
            return 1.25 * x**3 - 2.25 * x**2 + 1
        return -0.75 * (x**3 - 5 * x**2 + 8 * x - 4) if x < 2 else 0.0

    matrix = np.zeros((new, old))
    for row in range(new):
        centre = (row + 0.5) * old / (new + more) - 0.5
        for tap in range(math.floor(centre) - 1, math.floor(centre) + 3):
            matrix[row, min(max(tap, 0), old - 1)] += kernel(centre - tap)
    return matrix


def resized_by_matrices(table: Tensor, old: tuple[int, int], new: tuple[int, int], prefix: int) -> Tensor:
    """`resize_pos_embed` in float64 numpy."""
    image = table[0, prefix:].double().numpy().reshape(*old, -1)
    rows, columns = bicubic_matrix(old[0], new[0]), bicubic_matrix(old[1], new[1])
    patches = np.einsum("yh,xw,hwd->yxd", rows, columns, image).reshape(new[0] * new[1], -1)
    return torch.cat([table[0, :prefix], torch.from_numpy(patches).float()])[None]
