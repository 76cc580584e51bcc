"""The tokens of a ViT after any of its blocks, and no block run that is not needed."""

import torch
from torch import Tensor, nn

from maekit.backbone.attention import Grid
from maekit.backbone.vit import ViT
from maekit.errors import UserError


def block_index(vit: ViT, block: int) -> int:
    """Returns a block's number from 0 for one that may count from the end (-1 is the last).

    Raises:
        UserError: there is no such block.
    """
    if not -vit.num_blocks <= block < vit.num_blocks:
        raise UserError(
            f"--block: got {block}, expected 0 to {vit.num_blocks - 1}, or -1 (the last) to -{vit.num_blocks}: the ViT "
            f"has {vit.num_blocks} blocks"
        )
    return block % vit.num_blocks


def residual_stream(vit: ViT, images: Tensor, num_blocks: int) -> tuple[Tensor, Grid]:
    """Returns the raw tokens [B, 1 + h*w, D] after the first `num_blocks` blocks, the class token first, and the grid.

    Args:
        vit: in evaluation mode.
        images: [B, 3, H, W], sides that are multiples of the patch.
        num_blocks: 0 (what the first block is given) to the ViT's number.
    """
    tokens, grid = vit.embed(images)
    if vit.cls_token is not None:
        first = vit.cls_token + vit.pos_embed[:, :1]
        tokens = torch.cat([first.expand(len(tokens), -1, -1), tokens], dim=1)
    for block in vit.blocks[:num_blocks]:
        tokens = block(tokens, grid)
    return tokens, grid


def normalised(vit: ViT, tokens: Tensor) -> Tensor:
    """Returns tokens through the final norm, or as they are where the ViT has none."""
    out: Tensor = vit.norm(tokens)
    return out


def has_final_norm(vit: ViT) -> bool:
    """Returns whether the weights came with a final norm; those fine-tuned with mean pooling have none."""
    return not isinstance(vit.norm, nn.Identity)
