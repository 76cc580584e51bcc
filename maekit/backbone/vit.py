"""The one ViT every task runs on: any size, any image whose sides are multiples of the patch."""

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple, TypedDict

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from maekit.backbone.attention import Grid
from maekit.backbone.block import Block
from maekit.backbone.patch_embed import PatchEmbed, initialise
from maekit.backbone.pos_embed import patch_grid, resize_pos_embed, sincos_pos_embed
from maekit.backbone.positions import RelativePosition, block_position, check_relative_position, shared_tables
from maekit.backbone.protocol import Backbone, Features, Hidden
from maekit.backbone.relative_bias import TableBias
from maekit.backbone.rotary import Rotary
from maekit.backbone.sizes import Size
from maekit.errors import UserError


class ImageFeatures(NamedTuple):
    """An image's class token [B, D] if the ViT has one, and maps [B, D, h, w] at some blocks."""

    class_token: Tensor | None
    maps: tuple[Tensor, ...]


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
        size: width, depth, heads and patch, and the parts that its pre-training has.
        image_size: (height, width) in pixels, multiples of the patch; the default grid. Other sizes may be given.
        channels: of the images.
        pos_grid: the grid (h, w) the position table is stored for; None for that of `image_size`.
        drop_path: stochastic depth of the last block, 0 <= drop_path < 1; it grows linearly from 0 at the first.
        class_token: whether the class token and the registers that the size has go before the patches.
        final_norm: whether the last block is followed by a LayerNorm.
        gradient_checkpointing: whether to recompute each block in the backward pass, for memory.
        window: side in patches of the windows that attention is confined to; 0 for none.
        global_blocks: the blocks (from 0) that attend to the whole grid all the same.
        relative_position: what each block's attention knows of it: `table`, a table of biases for the grid of
            `image_size` only (BEiT); `decomposed`, tables of vectors for rows and for columns (ViTDet); `shared`, one
            table of biases for all windowed blocks and one for all others, which is for the grid of `image_size` only;
            None for the size's own, if any. All begin at zero.
        layer_scale: initial value of LayerScale in each block of a size that has none; None for none there.
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
        own, prefix = size.relative_position, class_token and (size.class_token or size.num_registers > 0)
        relative = check_relative_position(relative_position, own, window=window, prefix=prefix)
        if not 0.0 <= drop_path < 1.0:
            raise UserError(f"got drop_path {drop_path}, expected 0 <= drop_path < 1; set it so in the recipe")
        self.embed_dim, self.patch_size, self.num_blocks = size.embed_dim, size.patch_size, size.num_blocks
        self.channels = channels
        self.grid = patch_grid(*image_size, size.patch_size)
        self.pos_grid = pos_grid or self.grid
        self.position_resize = size.position_resize
        self.gradient_checkpointing = gradient_checkpointing
        self.num_heads = size.num_heads
        self.has_class_token = class_token and size.class_token
        registers = size.num_registers if class_token else 0
        self.num_prefix = int(self.has_class_token) + registers
        self.patch_embed = PatchEmbed(size.embed_dim, size.patch_size, channels, bias=size.patch_bias)
        self.cls_token = nn.Parameter(torch.empty(1, 1, size.embed_dim)) if self.has_class_token else None
        self.reg_token = nn.Parameter(torch.empty(1, registers, size.embed_dim)) if registers else None
        self.class_rows = int(self.has_class_token and size.class_position)
        self.pos_embed = self._position_table(size)
        self.rotary = Rotary(size) if size.positions == "rotary" else None
        self.augment_positions = True
        self.norm_pre = nn.LayerNorm(size.embed_dim, eps=size.norm_eps) if size.norm_pre else nn.Identity()
        self._check_blocks(global_blocks)
        self.windows = [0 if index in global_blocks else window for index in range(size.num_blocks)]
        num_prefix = self.num_prefix
        shared = shared_tables(size, self.grid, self.windows, num_prefix) if relative == "shared" else None
        position = partial(block_position, relative, size, self.grid, num_prefix=num_prefix, shared=shared)
        self.shared_bias = shared
        self.needs_all_patches = relative is not None
        self.own_parts = (size.layer_scale is not None, own is not None)
        self.blocks = nn.ModuleList(
            Block(
                size.embed_dim,
                size.num_heads,
                drop_path=drop_path * index / max(size.num_blocks - 1, 1),
                window=side,
                position=position(side),
                layer_scale=layer_scale if size.layer_scale is None else size.layer_scale,
                mlp=size.mlp,
                mlp_hidden=size.mlp_hidden,
                qkv_bias=size.qkv_bias,
                qk_norm=size.qk_norm,
                norm_eps=size.norm_eps,
            )
            for index, side in enumerate(self.windows)
        )
        self.norm = nn.LayerNorm(size.embed_dim, eps=size.norm_eps) if final_norm else nn.Identity()
        initialise(self, self.patch_embed, (self.cls_token, self.reg_token))
        if self.pos_embed is not None:
            self.pos_embed.data.copy_(sincos_pos_embed(self.embed_dim, self.pos_grid, self.class_rows > 0))

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
        if visible is not None and self.needs_all_patches:
            raise UserError(
                "got visible patches for a ViT with tables of relative positions, which are for whole grids; set "
                "--model.encoder_mask_tokens true, or take a --model.backbone without such tables"
            )
        tokens, grid = self._start(images, visible, hidden)
        rotations = self._rotations(tokens, grid, visible)
        tapped = {}
        recompute = self.gradient_checkpointing and torch.is_grad_enabled()
        for index in range(count):
            block = self.blocks[index]
            run = partial(checkpoint, block, use_reentrant=False) if recompute else block
            tokens = run(tokens, grid, rotations.get(self.windows[index]))
            if index in taps:
                tapped[index] = tokens
        shape = (images.shape[0], self.embed_dim, *grid)
        maps = (self.patch_tokens(tapped[index]).transpose(1, 2).reshape(shape) for index in taps)
        class_tokens = () if self.cls_token is None else tuple(tapped[index][:, 0] for index in taps)
        return Features(self.norm(tokens), tuple(maps), class_tokens)

    def residual_stream(self, images: Tensor, num_blocks: int) -> tuple[Tensor, Grid]:
        """Returns the raw tokens [B, P + h*w, D] of images after so many blocks, and the grid, to look inside."""
        tokens, grid = self._start(images)
        rotations = self._rotations(tokens, grid)
        for index in range(num_blocks):
            tokens = self.blocks[index](tokens, grid, rotations.get(self.windows[index]))
        return tokens, grid

    @property
    def has_final_norm(self) -> bool:
        """Whether the last block is followed by a norm; weights fine-tuned with mean pooling have none."""
        return not isinstance(self.norm, nn.Identity)

    @property
    def fixed_size(self) -> str:
        """Returns in words why an exported graph takes images of one size alone; empty where it takes others."""
        if any(isinstance(module, TableBias) for module in self.modules()):
            return "its tables of relative position biases are for one patch grid"
        return "attention in windows is traced with the padding of one patch grid" if any(self.windows) else ""

    def features(self, images: Tensor, blocks: Sequence[int]) -> ImageFeatures:
        """Returns the class token (final norm applied, if built) and the raw maps after `blocks`, in that order."""
        found = self(images, taps=blocks)
        return ImageFeatures(self.pool(found.tokens, "class") if self.has_class_token else None, found.maps)

    def _start(
        self, images: Tensor, visible: Tensor | None = None, hidden: Hidden | None = None
    ) -> tuple[Tensor, Grid]:
        """Returns what the first block is given, [B, P + N, D], and the grid; see `Backbone.forward`.

        The position table is resized where the grid is not the stored one.
        """
        grid = patch_grid(images.shape[2], images.shape[3], self.patch_size)
        tokens: Tensor = self.patch_embed(images)
        positions = self._positions(grid)
        if positions is not None:
            tokens = tokens + positions
        if hidden is not None:
            seen = hidden.token if positions is None else hidden.token + positions
            tokens = torch.where(hidden.masked[..., None], seen.to(tokens.dtype), tokens)
        if visible is not None:
            tokens = tokens.gather(1, visible[..., None].expand(-1, -1, tokens.shape[2]))
        return self.norm_pre(self._with_prefix(tokens)), grid

    def _positions(self, grid: Grid) -> Tensor | None:
        """Returns the patches' positions [1, h*w, D] on a grid, of a table; None without one."""
        if self.pos_embed is None:
            return None
        table = resize_pos_embed(self.pos_embed, self.pos_grid, grid, self.class_rows, self.position_resize)
        return table[:, self.class_rows :]

    def _rotations(self, tokens: Tensor, grid: Grid, visible: Tensor | None = None) -> dict[int, Tensor]:
        """Returns what turns q and k in blocks by their windows' side; nothing without rotary positions."""
        if self.rotary is None:
            return {}
        drawn = self.rotary.draw(tokens) if self.training and self.augment_positions else None
        tables = {
            side: self.rotary.table(grid, self.num_prefix, tokens, drawn, window=side) for side in set(self.windows)
        }
        if visible is not None:
            (whole,) = tables.values()
            start = whole[: self.num_prefix].expand(visible.shape[0], -1, -1, -1)
            return {0: torch.cat([start, whole[self.num_prefix :][visible]], dim=1)}
        return tables

    def _with_prefix(self, tokens: Tensor) -> Tensor:
        """Puts the class token, which may have a position, and the registers, which have none, before [B, N, D]."""
        if not self.num_prefix:
            return tokens
        prefix: list[Tensor] = [] if self.reg_token is None else [self.reg_token]
        if self.cls_token is not None:
            position = 0.0 if self.pos_embed is None or not self.class_rows else self.pos_embed[:, :1]
            prefix.insert(0, self.cls_token + position)
        return torch.cat([*(part.expand(tokens.shape[0], -1, -1) for part in prefix), tokens], dim=1)

    def _position_table(self, size: Size) -> nn.Parameter | None:
        if size.positions not in ("learned", "fixed"):
            return None
        rows = self.class_rows + self.pos_grid[0] * self.pos_grid[1]
        return nn.Parameter(torch.empty(1, rows, size.embed_dim), requires_grad=size.positions == "learned")

    def is_added(self, name: str) -> bool:
        """Whether a parameter is of LayerScale or relative positions that a task adds, so that no file has it."""
        own_scale, own_relative = self.own_parts
        relative = name.startswith("shared_bias.") or ".attn.position." in name
        return (relative and not own_relative) or (".gamma_" in name and not own_scale)

    def freeze_positions(self) -> None:
        """Keeps the position table, if any, as it is."""
        if self.pos_embed is not None:
            self.pos_embed.requires_grad_(False)

    def layer_of(self, name: str) -> int:
        """Returns the layer of a parameter by its name in the ViT, as layer-wise lr decay counts.

        0 for tokens, positions and patch embedding, i + 1 for block i, num_blocks + 1 for the final norm and for what
        blocks share; a name that matches none is a UserError. Source: facebookresearch/mae @ efb2a80 util/lr_decay.py,
        and for what is shared BEiT.
        """
        first, _, rest = name.partition(".")
        if first in ("cls_token", "reg_token", "mask_token", "pos_embed", "patch_embed", "norm_pre"):
            return 0
        if first in ("norm", "shared_bias"):
            return self.num_blocks + 1
        index = rest.partition(".")[0]
        if first == "blocks" and index.isdecimal() and int(index) < self.num_blocks:
            return int(index) + 1
        raise UserError(
            f"got the backbone parameter '{name}', expected patch_embed.*, cls_token, reg_token, mask_token, "
            f"pos_embed, norm_pre.*, blocks.0.* to blocks.{self.num_blocks - 1}.*, shared_bias.* or norm.*; add it to "
            "layer_of"
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
