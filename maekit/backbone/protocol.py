"""What every task may ask of a backbone: one door, through the module's call, and what its tokens are."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from maekit.backbone.attention import Grid
from maekit.backbone.sizes import PositionResize
from maekit.errors import UserError

Pooling = Literal["mean", "class"]


class Features(NamedTuple):
    """What a backbone makes of images [B, C, H, W].

    Attributes:
        tokens: [B, P + N, D], the P prefix tokens (class token, registers) first, then the patches row by row; after
            the last block that was run, and through the final norm if the backbone has one.
        maps: [B, D, h, w] at each block that was asked for, in that order: the residual stream, without a norm.
        class_tokens: [B, D] at each of these blocks, as the maps; none where the backbone has no class token.
    """

    tokens: Tensor
    maps: tuple[Tensor, ...]
    class_tokens: tuple[Tensor, ...] = ()


class Hidden(NamedTuple):
    """Patches whose content a backbone must not see: `token` [1, 1, D] stands in their places, with their positions.

    `masked` is [B, N] bool.
    """

    masked: Tensor
    token: Tensor


class Backbone(nn.Module):
    """A plain vision transformer as tasks, weights and layer decay see it.

    Everything a task wants goes through the module's call, which is what compilation, sharding and export hook.
    A head is given widths and tensors, never the backbone.

    Attributes:
        embed_dim: D, the width of the tokens.
        patch_size: side of a square patch in pixels.
        channels: C, the channels of the images.
        num_blocks: number of transformer blocks.
        num_heads: attention heads of a block.
        num_prefix: P, the tokens before the patches: the class token, if any, and the registers.
        has_class_token: whether the first of these is a class token.
        grid: patches (h, w) of the image size it was built for.
        pos_grid: patches (h, w) of the stored position table.
        position_resize: how the table is brought to another grid, see `pos_embed.resize_pos_embed`.
    """

    embed_dim: int
    patch_size: int
    channels: int
    num_blocks: int
    num_heads: int
    num_prefix: int
    has_class_token: bool
    grid: Grid
    pos_grid: Grid
    position_resize: PositionResize

    @abstractmethod
    def forward(
        self,
        images: Tensor,
        *,
        taps: Sequence[int] = (),
        visible: Tensor | None = None,
        hidden: Hidden | None = None,
        num_blocks: int | None = None,
    ) -> Features:
        """Returns the features of images [B, C, H, W], normalised, whose sides are multiples of the patch.

        Args:
            images: of the size it was built for, or of another; position tables are resized then.
            taps: blocks (from 0) whose maps are returned too; needs all patches.
            visible: [B, K], the patches (from 0, row by row) that are encoded; None for all.
            hidden: patches that are encoded without their content.
            num_blocks: only so many blocks are run; None for all.

        Raises:
            UserError: there is no such block, or a side is no multiple of the patch.
        """

    @property
    @abstractmethod
    def has_final_norm(self) -> bool:
        """Whether the last block is followed by a norm; weights fine-tuned with mean pooling have none."""

    @property
    def fixed_size(self) -> str:
        """Returns in words why an exported graph takes images of one size alone; empty where it takes others."""
        return ""

    @abstractmethod
    def layer_of(self, name: str) -> int:
        """Returns the layer of a parameter by its name in the backbone, as layer-wise lr decay counts them.

        0 for tokens, positions and patch embedding, i + 1 for block i, num_blocks + 1 for what comes after the blocks.
        """

    @abstractmethod
    def freeze_positions(self) -> None:
        """Keeps the position table as it is: it is not trained."""

    def patch_tokens(self, tokens: Tensor) -> Tensor:
        """Returns the patches' tokens [B, N, D] of tokens [B, P + N, D]."""
        return tokens[:, self.num_prefix :]

    def pool(self, tokens: Tensor, how: Pooling) -> Tensor:
        """Returns [B, D]: the class token, or the mean of the patches' tokens, of tokens [B, P + N, D].

        Raises:
            UserError: there is no class token.
        """
        if how == "class" and not self.has_class_token:
            raise UserError(
                "got pooling 'class' for a ViT without a class token, expected 'mean'; set --model.pooling mean where "
                "the task has that flag, or take another --model.backbone"
            )
        return self.patch_tokens(tokens).mean(1) if how == "mean" else tokens[:, 0]

    def without_registers(self, tokens: Tensor) -> Tensor:
        """Returns tokens [B, P + N, D] without the registers: the class token, if any, and the patches."""
        count = int(self.has_class_token)
        return tokens if self.num_prefix == count else torch.cat([tokens[:, :count], self.patch_tokens(tokens)], dim=1)

    def patch_grid(self, images: Tensor) -> Grid:
        """Returns the patches (h, w) of images [B, C, H, W]."""
        return images.shape[2] // self.patch_size, images.shape[3] // self.patch_size
