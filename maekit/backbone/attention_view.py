"""Computes the attention map of the class token in a block from queries and keys."""

from typing import NamedTuple

import torch
from torch import Tensor

from maekit.backbone.attention import Attention, Plain
from maekit.backbone.block import Block
from maekit.backbone.vit import ViT
from maekit.errors import UserError


class View(NamedTuple):
    """Attention of the class token and patch features of one block.

    `attention` [B, heads, h, w] is from the class token to each patch, `own` [B, heads] to itself and the registers;
    for each head they sum to one. `patches` [B, h*w, D] are the patch tokens after block and final norm.
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
    tokens, grid = vit.residual_stream(images, block)
    row, prefix = class_attention(module.attn, module.norm1(tokens)), vit.num_prefix
    patches = vit.patch_tokens(vit.norm(module(tokens, grid)))
    return View(row[..., prefix:].reshape(*row.shape[:2], *grid), row[..., :prefix].sum(-1), patches)


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
