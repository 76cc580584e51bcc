"""Which patches an encoder sees: random, block-wise and grid-wise masks, each with an exact number of patches."""

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from maekit.errors import UserError

Kind = Literal["random", "block", "grid"]
Grid = tuple[int, int]

GRID_RATIO = 0.75  # one patch of each 2 x 2 is kept
BLOCK_SHARE = 16 / 196  # the smallest block's share of the patches; BEiT (arXiv 2106.08254): 16 of 14 x 14
BLOCK_ASPECT = 0.3  # and the smallest height / width of a block; the largest is its inverse


class Masking(NamedTuple):
    """Which patches of each image are seen and which are hidden, the same number in every image.

    Attributes:
        visible: [B, K] int64, the patches that are seen, in the order they are given to the encoder.
        hidden: [B, N - K] int64, the others.
        restore: [B, N] int64, the place of each patch in `visible` followed by `hidden`.
        masked: [B, N] bool, whether a patch is hidden.
    """

    visible: Tensor
    hidden: Tensor
    restore: Tensor
    masked: Tensor


def num_visible(num_patches: int, mask_ratio: float) -> int:
    """Returns int(N x (1 - ratio)), as facebookresearch/mae @ efb2a80 counts.

    Raises:
        UserError: the ratio is not between 0 and 1, or leaves no patch to see or none to predict.
    """
    if not 0 < mask_ratio < 1:
        raise UserError(
            f"got a mask_ratio of {mask_ratio}, expected above 0 and below 1 (the paper: 0.75); set --model.mask_ratio"
        )
    count = int(num_patches * (1 - mask_ratio))
    if count in (0, num_patches):
        lack = "see" if count == 0 else "predict"
        raise UserError(
            f"got a mask_ratio of {mask_ratio} for {num_patches} patches, which leaves none to {lack}; set another "
            "--model.mask_ratio, or larger images"
        )
    return count


def mask_by_noise(noise: Tensor, mask_ratio: float) -> Masking:
    """Keeps the patches of lowest noise [B, N], those of each image in the order of their noise.

    Source: facebookresearch/mae @ efb2a80 models_mae.py.
    """
    count = num_visible(noise.shape[1], mask_ratio)
    order = noise.argsort(dim=1)
    restore = order.argsort(dim=1)
    return Masking(order[:, :count], order[:, count:], restore, restore >= count)


def draw_noise(kind: Kind, batch: int, grid: Grid, mask_ratio: float, device: torch.device | str = "cpu") -> Tensor:
    """Draws noise [B, N] for `mask_by_noise`, from torch's generator of the device (of the CPU for blocks and grids).

    Args:
        kind: `random`: every patch alike; `block`: rectangles are hidden, as in BEiT; `grid`: one patch of each 2 x 2
            is kept, the same one in a whole image and drawn for each image.
        batch: B, images.
        grid: patches (h, w) of an image, N = h * w.
        mask_ratio: share of the patches to be hidden.
        device: where the noise is wanted.

    Raises:
        UserError: a grid-wise mask of another ratio than 0.75, or of an odd number of rows or columns.
    """
    check_masking(kind, grid, mask_ratio)
    if kind == "random":
        return torch.rand(batch, grid[0] * grid[1], device=device)
    draw = _grid_noise if kind == "grid" else _block_noise
    return torch.stack([draw(grid, mask_ratio, None) for _ in range(batch)]).to(device)


def fixed_noise(kind: Kind, seeds: Sequence[int], grid: Grid, mask_ratio: float) -> Tensor:
    """Returns noise [B, N] on the CPU that depends on each image's seed alone: the masks of an evaluation."""
    check_masking(kind, grid, mask_ratio)
    draw = {"random": _random_noise, "grid": _grid_noise, "block": _block_noise}[kind]
    return torch.stack([draw(grid, mask_ratio, torch.Generator().manual_seed(max(seed, 0))) for seed in seeds])


def check_masking(kind: Kind, grid: Grid, mask_ratio: float) -> None:
    """Refuses a ratio that leaves nothing to see or to predict, and grid-wise masks that do not divide."""
    num_visible(grid[0] * grid[1], mask_ratio)
    if kind == "grid" and (mask_ratio != GRID_RATIO or grid[0] % 2 or grid[1] % 2):
        raise UserError(
            f"got masking grid with a mask_ratio of {mask_ratio} on {grid[0]}x{grid[1]} patches, expected {GRID_RATIO} "
            "and even numbers: it keeps one patch of each 2x2; set --model.masking random, or change the ratio or size"
        )


def _random_noise(grid: Grid, mask_ratio: float, generator: torch.Generator | None) -> Tensor:
    return torch.rand(grid[0] * grid[1], generator=generator)


def _grid_noise(grid: Grid, mask_ratio: float, generator: torch.Generator | None) -> Tensor:
    kept = int(torch.randint(4, (), generator=generator))
    hidden = torch.ones(grid)
    hidden[kept // 2 :: 2, kept % 2 :: 2] = 0
    return hidden.flatten() + torch.rand(hidden.numel(), generator=generator)


def _block_noise(grid: Grid, mask_ratio: float, generator: torch.Generator | None) -> Tensor:
    """Lays blocks until enough is covered; of the last one, some at random stay visible where it covers too much."""
    patches = grid[0] * grid[1]
    wanted = patches - num_visible(patches, mask_ratio)
    level = torch.zeros(grid)
    while (covered := int((level > 0).sum())) < wanted:
        level[level > 0] = 2
        rows, columns = _draw_block(grid, wanted - covered, generator)
        level[rows, columns] = level[rows, columns].clamp(min=1)
    return level.flatten() + torch.rand(patches, generator=generator)


def _draw_block(grid: Grid, largest: int, generator: torch.Generator | None) -> tuple[slice, slice]:
    """A rectangle of random place, area (up to `largest` patches where that is not too small) and aspect."""
    draw = torch.rand(4, generator=generator, dtype=torch.float64).tolist()
    smallest = max(BLOCK_SHARE * grid[0] * grid[1], 1.0)
    area = smallest + draw[0] * max(largest - smallest, 0.0)
    aspect = math.exp((2 * draw[1] - 1) * math.log(1 / BLOCK_ASPECT))
    sides = [round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))]
    height, width = (min(max(side, 1), whole) for side, whole in zip(sides, grid, strict=True))
    top, left = int(draw[2] * (grid[0] - height + 1)), int(draw[3] * (grid[1] - width + 1))
    return slice(top, top + height), slice(left, left + width)
