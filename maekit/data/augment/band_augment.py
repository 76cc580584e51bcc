"""The operations of timm's RandAugment that move pixels, for pictures of any channels and values.

The others (posterize, solarize, colour, equalize, ...) are for 8-bit RGB. Where one is drawn the picture stays as it
is, so that it is moved as often and as far as an RGB one.
"""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from maekit.data.augment.rand_augment import TimmPolicy, timm_policy
from maekit.system.light_imports import import_alone
from maekit.system.size import HeightWidth

Map = tuple[float, float, float, float, float, float]
"""(a, b, c, d, e, f): the pixel at x, y of the result is that at a x + b y + c, d x + e y + f of the picture."""


class BandRandAugment:
    """Draws the moves of a policy, to be applied to normalised pictures in one step.

    Args:
        policy: as `rand-m9-mstd0.5-inc1`.

    Attributes:
        left_out: names of the policy's operations that do nothing here.

    Raises:
        UserError: timm does not know the policy.
    """

    def __init__(self, policy: str) -> None:
        auto_augment: Any = import_alone("timm.data.auto_augment")

        moves: dict[object, Callable[..., Map]] = {
            auto_augment.rotate: _rotate,
            auto_augment.shear_x: _shear_x,
            auto_augment.shear_y: _shear_y,
            auto_augment.translate_x_rel: _translate_x,
            auto_augment.translate_y_rel: _translate_y,
        }
        self.policy: TimmPolicy = timm_policy(policy, (0,))
        left_out = []
        for operation in self.policy.ops:
            move = moves.get(operation.aug_fn)
            operation.aug_fn = _Move(move)
            if move is None:
                left_out.append(operation.name.removesuffix("Increasing"))
        self.left_out = tuple(dict.fromkeys(left_out))

    def __call__(self, image: Tensor) -> Tensor:
        """Returns a normalised picture [C, H, W], moved; uncovered pixels are 0, the mean."""
        size = HeightWidth(image.shape[1], image.shape[2])
        _, moved = self.policy((size, torch.eye(3, dtype=torch.float64)))
        return image if torch.equal(moved, torch.eye(3, dtype=torch.float64)) else warp(image, moved)


class _Move:
    """Stands in for an operation of timm's, which hands on (size, map) as if it were the image."""

    def __init__(self, move: Callable[..., Map] | None) -> None:
        self.move = move

    def __call__(self, state: tuple[HeightWidth, Tensor], *arguments: float, **_: object) -> tuple[HeightWidth, Tensor]:
        if self.move is None:
            return state
        size, before = state
        step = torch.tensor([*self.move(size, *arguments), 0, 0, 1], dtype=torch.float64).view(3, 3)
        return size, before @ step


def _rotate(size: HeightWidth, degrees: float) -> Map:
    """Counter-clockwise about the middle, as Pillow's `rotate`."""
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    x, y = size.width / 2, size.height / 2
    return cos, -sin, x - cos * x + sin * y, sin, cos, y - sin * x - cos * y


def _shear_x(size: HeightWidth, factor: float) -> Map:
    return 1, factor, 0, 0, 1, 0


def _shear_y(size: HeightWidth, factor: float) -> Map:
    return 1, 0, 0, factor, 1, 0


def _translate_x(size: HeightWidth, share: float) -> Map:
    return 1, 0, share * size.width, 0, 1, 0


def _translate_y(size: HeightWidth, share: float) -> Map:
    return 1, 0, 0, 0, 1, share * size.height


def warp(image: Tensor, map: Tensor) -> Tensor:
    """Returns [C, H, W] float32: at each pixel the picture where the map [3, 3] sends it, bicubic; 0 outside.

    Pixels are where Pillow's AFFINE transform has them: the first one's centre lies at 0.5, 0.5.
    """
    height, width = image.shape[1:]
    y, x = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    points = torch.stack([x, y, torch.ones_like(x)]).double().view(3, -1)
    source_x, source_y = (map[:2] @ points).view(2, height, width)
    places = torch.stack([2 * source_x / width - 1, 2 * source_y / height - 1], dim=2).to(image.dtype)
    moved = F.grid_sample(image[None], places[None], "bicubic", "border", align_corners=False)[0]
    inside = (source_x >= 0) & (source_x < width) & (source_y >= 0) & (source_y < height)
    return torch.where(inside, moved, 0.0)
