"""The one ViT every task runs on: any size, any image whose sides are multiples of the patch."""

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple, TypedDict

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from maekit.backbone.attention import Grid
from maekit.backbone.block import NORM_EPS, Block
from maekit.backbone.pos_embed import patch_grid, resize_pos_embed, sincos_pos_embed
from maekit.backbone.positions import RelativePosition, block_position, check_relative_position, shared_tables
from maekit.backbone.protocol import Backbone, Features, Hidden
from maekit.backbone.sizes import Size
from maekit.errors import UserError


class ImageFeatures(NamedTuple):
    """An image's class token [B, D] if the ViT has one, and maps [B, D, h, w] at some blocks."""

    class_token: Tensor | None
    maps: tuple[Tensor, ...]


class PatchEmbed(nn.Module):
    """Cuts an image into square patches and projects each to a token."""

    def __init__(self, embed_dim: int, patch_size: int, channels: int = 3):
        super().__init__()
        self.proj = nn.Conv2d(channels, embed_dim, kernel_size=patch_size, stride=patch_size)

    def forward(self, images: Tensor) -> Tensor:
        """Returns tokens [B, h*w, D], row by row, for images [B, C, H, W]."""
        return torch.flatten(self.proj(images), 2).transpose(1, 2)


class ViTOptions(TypedDict, total=False):
    """What a task may change about a ViT; see `ViT`, whose keyword arguments these are."""

    pos_grid: Grid | None
    drop_path: float
    class_token: bool
    final_norm: bool
    gradient_checkpointing: bool
    window: int
    global_blocks: Sequence[int]
    relative_position: RelativePosition | None
    layer_scale: float | None


class ViT(Backbone):
    """A vision transformer with the parameter names of MAE and timm, freshly initialised as MAE does.

    Args:
        size: width, depth, heads and patch.
        image_size: (height, width) in pixels, multiples of the patch; the default grid. Other sizes may be given.
        channels: of the images.
        pos_grid: the grid (h, w) the position table is stored for; None for that of `image_size`.
        drop_path: stochastic depth of the last block, 0 <= drop_path < 1; it grows linearly from 0 at the first.
        class_token: whether a class token, and the registers that the size has, go before the patches.
        final_norm: whether the last block is followed by a LayerNorm.
        gradient_checkpointing: whether to recompute each block in the backward pass, for memory.
        window: side in patches of the windows that attention is confined to; 0 for none.
        global_blocks: the blocks (from 0) that attend to the whole grid all the same.
        relative_position: what each block's attention knows of it: `table`, a table of biases for the grid of
            `image_size` only (BEiT); `decomposed`, tables of vectors for rows and for columns (ViTDet); `shared`, one
            table of biases for all windowed blocks and one for all others, which is for the grid of `image_size` only;
            None for nothing. All begin at zero.
        layer_scale: initial value of LayerScale in each block; None for none.
    """

    def __init__(
        self,
        size: Size,
        *,
        image_size: tuple[int, int],
        channels: int = 3,
        pos_grid: Grid | None = None,
        drop_path: float = 0.0,
        class_token: bool = True,
        final_norm: bool = True,
        gradient_checkpointing: bool = False,
        window: int = 0,
        global_blocks: Sequence[int] = (),
        relative_position: RelativePosition | None = None,
        layer_scale: float | None = None,
    ):
        super().__init__()
        check_relative_position(relative_position, window=window, class_token=class_token)
        if not 0.0 <= drop_path < 1.0:
            raise UserError(f"got drop_path {drop_path}, expected 0 <= drop_path < 1; set it so in the recipe")
        self.embed_dim, self.patch_size, self.num_blocks = size.embed_dim, size.patch_size, size.num_blocks
        self.channels = channels
        self.grid = patch_grid(*image_size, size.patch_size)
        self.pos_grid = pos_grid or self.grid
        self.gradient_checkpointing = gradient_checkpointing
        self.num_heads = size.num_heads
        self.num_prefix = 1 + size.num_registers if class_token else 0
        num_rows = int(class_token) + self.pos_grid[0] * self.pos_grid[1]
        self.patch_embed = PatchEmbed(size.embed_dim, size.patch_size, channels)
        self.cls_token = nn.Parameter(torch.empty(1, 1, size.embed_dim)) if class_token else None
        registers = max(self.num_prefix - 1, 0)
        self.reg_token = nn.Parameter(torch.empty(1, registers, size.embed_dim)) if registers else None
        self.pos_embed = nn.Parameter(torch.empty(1, num_rows, size.embed_dim))
        self._check_blocks(global_blocks)
        windows = [0 if index in global_blocks else window for index in range(size.num_blocks)]
        shared = shared_tables(size, self.grid, windows) if relative_position == "shared" else None
        prefix = self.num_prefix
        position = partial(block_position, relative_position, size, self.grid, num_prefix=prefix, shared=shared)
        self.shared_bias = shared
        self.blocks = nn.ModuleList(
            Block(
                size.embed_dim,
                size.num_heads,
                drop_path=drop_path * index / max(size.num_blocks - 1, 1),
                window=side,
                position=position(side),
                layer_scale=layer_scale,
            )
            for index, side in enumerate(windows)
        )
        self.norm = nn.LayerNorm(size.embed_dim, eps=NORM_EPS) if final_norm else nn.Identity()
        self._initialise()

    def forward(
        self,
        images: Tensor,
        *,
        taps: Sequence[int] = (),
        visible: Tensor | None = None,
        hidden: Hidden | None = None,
        num_blocks: int | None = None,
    ) -> Features:
        """Returns the features of images [B, C, H, W]; see `Backbone`."""
        count = self.num_blocks if num_blocks is None else num_blocks
        self._check_blocks(taps, count)
        if taps and visible is not None:
            raise ValueError("got taps and visible patches, expected one of them: a map needs all patches")
        tokens, grid = self._start(images, visible, hidden)
        tapped = {}
        recompute = self.gradient_checkpointing and torch.is_grad_enabled()
        for index in range(count):
            block = self.blocks[index]
            run = partial(checkpoint, block, use_reentrant=False) if recompute else block
            tokens = run(tokens, grid)
            if index in taps:
                tapped[index] = tokens
        shape = (len(images), self.embed_dim, *grid)
        maps = (self.patch_tokens(tapped[index]).transpose(1, 2).reshape(shape) for index in taps)
        class_tokens = () if self.cls_token is None else tuple(tapped[index][:, 0] for index in taps)
        return Features(self.norm(tokens), tuple(maps), class_tokens)

    def residual_stream(self, images: Tensor, num_blocks: int) -> tuple[Tensor, Grid]:
        """Returns the raw tokens [B, P + h*w, D] of images after so many blocks, and the grid, to look inside."""
        tokens, grid = self._start(images)
        for index in range(num_blocks):
            tokens = self.blocks[index](tokens, grid)
        return tokens, grid

    @property
    def has_final_norm(self) -> bool:
        """Whether the last block is followed by a norm; weights fine-tuned with mean pooling have none."""
        return not isinstance(self.norm, nn.Identity)

    def features(self, images: Tensor, blocks: Sequence[int]) -> ImageFeatures:
        """Returns the class token (final norm applied, if built) and the raw maps after `blocks`, in that order."""
        found = self(images, taps=blocks)
        return ImageFeatures(self.pool(found.tokens, "class") if self.num_prefix else None, found.maps)

    def _start(
        self, images: Tensor, visible: Tensor | None = None, hidden: Hidden | None = None
    ) -> tuple[Tensor, Grid]:
        """Returns what the first block is given, [B, P + N, D], and the grid; see `Backbone.forward`.

        The position table is resized where the grid is not the stored one.
        """
        grid = patch_grid(images.shape[2], images.shape[3], self.patch_size)
        positions = resize_pos_embed(self.pos_embed, self.pos_grid, grid, self._class_rows)[:, self._class_rows :]
        tokens: Tensor = self.patch_embed(images) + positions
        if hidden is not None:
            tokens = torch.where(hidden.masked[..., None], (hidden.token + positions).to(tokens.dtype), tokens)
        if visible is not None:
            tokens = tokens.gather(1, visible[..., None].expand(-1, -1, tokens.shape[2]))
        return self._with_prefix(tokens), grid

    def _with_prefix(self, tokens: Tensor) -> Tensor:
        """Puts the class token, which has a position, and the registers, which have none, before patches [B, N, D]."""
        if self.cls_token is None:
            return tokens
        prefix = [self.cls_token + self.pos_embed[:, :1], *([] if self.reg_token is None else [self.reg_token])]
        return torch.cat([*(part.expand(len(tokens), -1, -1) for part in prefix), tokens], dim=1)

    def freeze_positions(self) -> None:
        """Keeps the position table as it is."""
        self.pos_embed.requires_grad_(False)

    def layer_of(self, name: str) -> int:
        """Returns the layer of a parameter by its name in the ViT, as layer-wise lr decay counts.

        0 for tokens, positions and patch embedding, i + 1 for block i, num_blocks + 1 for the final norm and for what
        blocks share; a name that matches none is a UserError. Source: facebookresearch/mae @ efb2a80 util/lr_decay.py,
        and for what is shared BEiT.
        """
        first, _, rest = name.partition(".")
        if first in ("cls_token", "reg_token", "mask_token", "pos_embed", "patch_embed"):
            return 0
        if first in ("norm", "shared_bias"):
            return self.num_blocks + 1
        index = rest.partition(".")[0]
        if first == "blocks" and index.isdecimal() and int(index) < self.num_blocks:
            return int(index) + 1
        raise UserError(
            f"got the backbone parameter '{name}', expected patch_embed.*, cls_token, reg_token, mask_token, "
            f"pos_embed, blocks.0.* to blocks.{self.num_blocks - 1}.*, shared_bias.* or norm.*; add it to layer_of"
        )

    def _check_blocks(self, blocks: Sequence[int], count: int | None = None) -> None:
        """Refuses blocks that are not there, or are not among the `count` that are run."""
        count = self.num_blocks if count is None else count
        wrong = [index for index in blocks if not 0 <= index < count]
        if wrong:
            run = "" if count == self.num_blocks else f", of which {count} are run"
            raise UserError(
                f"got the blocks {wrong}, expected numbers from 0 to {count - 1}: "
                f"the ViT has {self.num_blocks} blocks{run}; correct the list of blocks in the recipe"
            )

    @property
    def _class_rows(self) -> int:  # rows of the position table before the patches'
        return int(self.cls_token is not None)

    @torch.no_grad()
    def _initialise(self) -> None:
        """Source: facebookresearch/mae @ efb2a80 models_mae.py; the patch embedding counts as a linear layer."""
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)
        nn.init.xavier_uniform_(self.patch_embed.proj.weight.flatten(1))
        if self.cls_token is not None:
            nn.init.normal_(self.cls_token, std=0.02)
        if self.reg_token is not None:
            nn.init.normal_(self.reg_token, std=0.02)
        self.pos_embed.copy_(sincos_pos_embed(self.embed_dim, self.pos_grid, self.cls_token is not None))
