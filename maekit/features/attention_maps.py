"""What the class token attends to, written out from queries and keys, and the patches' features in three colours."""

from typing import NamedTuple

import torch
from torch import Tensor

from maekit.backbone.attention import Attention, Plain
from maekit.backbone.block import Block
from maekit.backbone.vit import ViT
from maekit.errors import UserError
from maekit.features.tokens import normalised, residual_stream

SPREAD = 2.5  # standard deviations from the mean that colours reach


class View(NamedTuple):
    """What one block makes of images.

    `attention` [B, heads, h, w] is the class token's to each patch and `own` [B, heads] its to itself: together they
    sum to one. `patches` [B, h*w, D] are the patch tokens after the block, through the final norm if there is one.
    """

    attention: Tensor
    own: Tensor
    patches: Tensor


def view_block(vit: ViT, images: Tensor, block: int) -> View:
    """Runs the ViT up to a block and returns what the class token attends to in it.

    Args:
        vit: with a class token, in evaluation mode.
        images: [B, 3, H, W], sides that are multiples of the patch, not necessarily equal.
        block: from 0.

    Raises:
        UserError: the block's attention is not by content alone, or the ViT has no class token.
    """
    module = vit.blocks[block]
    if not isinstance(module, Block) or not isinstance(module.attn.position, Plain) or vit.cls_token is None:
        raise UserError("attention maps need a plain ViT with a class token; this one has relative positions or none")
    tokens, grid = residual_stream(vit, images, block)
    row = class_attention(module.attn, module.norm1(tokens))
    patches = normalised(vit, module(tokens, grid))[:, vit.num_prefix :]
    return View(row[..., 1:].reshape(*row.shape[:2], *grid), row[..., 0], patches)


def class_attention(attention: Attention, tokens: Tensor) -> Tensor:
    """Returns softmax(q k^T / sqrt(d)) of the first token's query, [B, heads, 1 + N] float32.

    Args:
        attention: of a block.
        tokens: [B, 1 + N, D], normalised as the block does before it attends.
    """
    batch, length, width = tokens.shape
    qkv = attention.qkv(tokens).float().view(batch, length, 3, attention.num_heads, width // attention.num_heads)
    query, keys = qkv[:, 0, 0], qkv[:, :, 1]
    scores = torch.einsum("bhd,bnhd->bhn", query, keys) * query.shape[-1] ** -0.5
    shares: Tensor = scores.softmax(dim=-1)
    return shares


class PatchColours:
    """The first three principal components of patch features as red, green and blue.

    Features are added image by image, and only sums are kept. A component's sign is that of its largest number.
    """

    def __init__(self) -> None:
        self._count = 0
        self._sum = self._products = torch.zeros(())

    def add(self, patches: Tensor) -> None:
        """Takes in patch features [N, D]."""
        rows = patches.double()
        self._count += len(rows)
        self._sum = self._sum + rows.sum(dim=0)
        self._products = self._products + rows.T @ rows

    def colours(self, patches: Tensor) -> Tensor:
        """Returns [N, 3] float32 in 0..1 for patch features [N, D]: 0.5 is the mean of all features that were added."""
        mean = self._sum / self._count
        covariance = self._products / self._count - torch.outer(mean, mean)
        values, vectors = torch.linalg.eigh(covariance)
        axes, spread = vectors.flip(1)[:, :3], values.flip(0)[:3].clamp(min=0).sqrt()
        largest = axes.gather(0, axes.abs().argmax(dim=0, keepdim=True))
        scores = (patches.double() - mean) @ (axes * largest.sign())
        # Where nothing varies the quotient is rounding noise; it stays grey.
        steps = scores / (SPREAD * spread.clamp(min=1e-6 * float(mean.norm()) + 1e-12))
        colours: Tensor = ((steps + 1) / 2).clamp(0, 1).float()
        return colours
