"""What the tokens of a block attend to, asked of the block's own attention, whatever its positions are."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from maekit.backbone.attention import Attention, Grid, Plain
from maekit.backbone.protocol import Backbone
from maekit.errors import UserError

_QUERIES = 512  # at a time, where all patches are asked


class View(NamedTuple):
    """Attention and patch features of one block.

    `attention` [B, heads, h, w] is from the class token to each patch, or without a class token the mean of what all
    patches attend to; `own` [B, heads] is to class token and registers; for each head they sum to one. `patches`
    [B, h*w, D] are the patch tokens after block and final norm.
    """

    attention: Tensor
    own: Tensor
    patches: Tensor


class Asked(NamedTuple):
    """What a block's position module was asked: queries and keys [B, heads, P + h*w, d], placed, on a grid (h, w)."""

    q: Tensor
    k: Tensor
    grid: Grid


def view_block(backbone: Backbone, images: Tensor, block: int) -> View:
    """Runs the backbone up to a block and returns what the class token, or else all patches, attend to in it.

    Args:
        backbone: in evaluation mode.
        images: [B, C, H, W], sides that are multiples of the patch, not necessarily equal.
        block: from 0.

    Raises:
        UserError: the block attends in windows, or its positions are for another grid.
    """
    attention = [module for module in backbone.modules() if isinstance(module, Attention)][block]
    with _asked(attention.position) as asked:
        tokens = backbone(images, num_blocks=block + 1).tokens
    grid, prefix = backbone.patch_grid(images), backbone.num_prefix
    if asked[0].grid != grid:
        raise UserError(f"block {block} attends in windows, expected to the whole image; give another with --block")
    of = slice(0, 1) if backbone.has_class_token else slice(prefix, None)
    row = mean_attention(attention.position, asked[0], of)
    return View(
        row[..., prefix:].reshape(*row.shape[:2], *grid), row[..., :prefix].sum(-1), backbone.patch_tokens(tokens)
    )


def mean_attention(position: nn.Module, asked: Asked, of: slice) -> Tensor:
    """Returns what some tokens attend to, on average: [B, heads, P + N] in float32 or more, each head summing to one.

    Attention by content alone is computed here. Any other module is asked for it: its answer to values that are 1 for
    one token and 0 for the others is the attention to that token, biases included.

    Args:
        position: the module that attends.
        asked: queries and keys.
        of: the tokens.
    """
    q, k = (part.to(torch.promote_types(part.dtype, torch.float32)) for part in asked[:2])
    length, width = k.shape[-2:]
    if isinstance(position, Plain):
        parts = torch.split(q[:, :, of], _QUERIES, dim=2)
        sums = [(part @ k.mT * width**-0.5).softmax(dim=-1).sum(dim=2) for part in parts]
        total: Tensor = torch.stack(sums).sum(dim=0) / sum(part.shape[2] for part in parts)
        return total
    found = []
    for first in range(0, length, width):
        values = torch.zeros_like(k)
        values[:, :, first : first + width] = torch.eye(width, dtype=k.dtype, device=k.device)[: length - first]
        found.append(position(q, k, values, asked.grid)[:, :, of].mean(dim=2))
    return torch.cat(found, dim=-1)[..., :length]


@contextmanager
def _asked(position: nn.Module) -> Iterator[list[Asked]]:
    """Notes what a position module is asked while the block runs."""
    seen: list[Asked] = []

    def note(module: nn.Module, given: tuple[Any, ...]) -> None:
        q, k, _, grid = given
        seen.append(Asked(q, k, grid))

    handle = position.register_forward_pre_hook(note)
    try:
        yield seen
    finally:
        handle.remove()
