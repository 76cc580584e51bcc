"""Rotary positions of patches: angles by which pairs of channels of q and k are turned, as DINOv3 has them."""

import math
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from maekit.backbone.sizes import Size


class Drawn(NamedTuple):
    """What is drawn for the coordinates of a training step: (coordinate + shift) * scale, each [2] for y and x."""

    shift: Tensor
    scale: Tensor


class Rotary:
    """The angles of patches on a grid: arXiv 2508.10104; facebookresearch/dinov3, layers/rope_position_encoding.py.

    The centre of a patch lies in [-1, 1] on each axis, whatever the image's size and ratio. Of a head's d channels,
    pairs (c, c + d / 2) are turned by 2 pi y / period for the first d / 4 values of c, and by x for the next; the
    periods are base^(2 i / (d / 2)) for i < d / 4. There is no parameter and no state.

    Args:
        size: of a ViT with rotary positions.
    """

    def __init__(self, size: Size) -> None:
        self.head_dim, self.base = size.embed_dim // size.num_heads, size.rotary_base
        self.shift, self.jitter, self.rescale = size.rotary_shift, size.rotary_jitter, size.rotary_rescale

    def table(
        self, grid: tuple[int, int], num_prefix: int, like: Tensor, drawn: Drawn | None, *, window: int = 0
    ) -> Tensor:
        """Returns what `rotate` takes for the tokens of a grid, [P + h*w, 2, d], in float32 or more.

        Args:
            grid: patches (h, w).
            num_prefix: tokens before the patches, which are not turned.
            like: a tensor of the device and type of the tokens.
            drawn: of `draw`, in training; None for none.
            window: side of windows to which the grid is padded at the bottom and on the right; coordinates go on beyond
                1 there. 0 for none.
        """
        dtype = torch.promote_types(like.dtype, torch.float32)
        sides = [-(-side // window) * window if window else side for side in grid]
        axes = [
            (2 * torch.arange(side, device=like.device, dtype=dtype) + 1) / of - 1
            for side, of in zip(sides, grid, strict=True)
        ]
        if drawn is not None:
            axes = [(axis + drawn.shift[i]) * drawn.scale[i] for i, axis in enumerate(axes)]
        rows, columns = (axis[:, None] * self._frequencies(like.device, dtype) for axis in axes)
        shape = (rows.shape[0], columns.shape[0], rows.shape[1])
        angles = torch.cat([rows[:, None].expand(shape), columns[None].expand(shape)], dim=-1).flatten(0, 1)
        angles = F.pad(angles, (0, 0, num_prefix, 0))
        cos, sin = angles.cos(), angles.sin()
        return torch.stack([torch.cat([cos, cos], dim=-1), torch.cat([-sin, sin], dim=-1)], dim=1)

    def draw(self, like: Tensor) -> Drawn:
        """Draws a training step's augmentation from the device's generator, in the order of DINOv3's code."""
        dtype = torch.promote_types(like.dtype, torch.float32)
        shift, scale = like.new_zeros(2, dtype=dtype), like.new_ones(2, dtype=dtype)
        if self.shift:
            shift = torch.empty_like(shift).uniform_(-self.shift, self.shift)
        for bound, count in ((self.jitter, 2), (self.rescale, 1)):
            if bound != 1:
                limit = math.log(bound)
                scale = scale * scale.new_empty(count).uniform_(-limit, limit).exp()
        return Drawn(shift, scale)

    def _frequencies(self, device: torch.device, dtype: torch.dtype) -> Tensor:
        steps = torch.arange(self.head_dim // 4, device=device, dtype=dtype) / (self.head_dim // 4)
        return 2 * math.pi * self.base**-steps


def rotate(tokens: Tensor, table: Tensor) -> Tensor:
    """Returns queries and keys turned by their angles, in their type; computed in the table's.

    Args:
        tokens: [B, N, 2, heads, d], queries and keys.
        table: [N, 2, d], or of each image apart [B, N, 2, d]: cosines, and sines with the sign of their half.
    """
    cos, sin = (part[..., None, None, :] for part in table.unbind(-2))
    if torch.compiler.is_compiling():  # which makes one kernel of it
        return (tokens * cos + tokens.roll(tokens.shape[-1] // 2, -1) * sin).to(tokens.dtype)
    turned: Tensor = _Turned.apply(tokens, cos, sin)
    return turned


class _Turned(torch.autograd.Function):
    """Turns without a copy of the halves: 0.55 of the time (2 x 201 tokens of ViT-S, one core). Back is the inverse."""

    @staticmethod
    def forward(ctx: Any, tokens: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        ctx.save_for_backward(cos, sin)
        return _turned(tokens, cos, sin, 1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_out: Tensor) -> tuple[Tensor, None, None]:
        cos, sin = ctx.saved_tensors
        return _turned(d_out, cos, sin, -1), None, None


def _turned(tokens: Tensor, cos: Tensor, sin: Tensor, sign: int) -> Tensor:
    first, second = slice(None, tokens.shape[-1] // 2), slice(tokens.shape[-1] // 2, None)
    out = tokens * cos
    for here, there in ((first, second), (second, first)):
        out[..., here].addcmul_(tokens[..., there], sin[..., here], value=sign)
    return out.to(tokens.dtype)
