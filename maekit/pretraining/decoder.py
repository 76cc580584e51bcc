"""MAE's decoder: a few light blocks that predict the hidden patches from the encoded visible ones."""

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from maekit.pretraining.target import Target

Grid = tuple[int, int]
NORM_EPS = 1e-6

CLASS = 1  # tokens before the patches: the encoder's class token


class MAEDecoder(nn.Module):
    """Projects encoded tokens, puts a mask token in each hidden place, and runs blocks over all of them.

    Parameter names are those of facebookresearch/mae @ efb2a80 models_mae.py.

    Args:
        embed_dim: D of the encoder.
        blocks: the decoder's own transformer blocks, `block(tokens [B, N, Dd], grid)`.
        positions: fixed position table [1, 1 + N, Dd], the class token's row first.
        target: what is predicted of a patch; it has `num_values`.
        mask_token: whether hidden patches are mask tokens here; not where the encoder has seen mask tokens.
        gradient_checkpointing: whether to recompute each block in the backward pass.
    """

    def __init__(
        self,
        embed_dim: int,
        blocks: Sequence[nn.Module],
        positions: Tensor,
        target: Target,
        *,
        mask_token: bool = True,
        gradient_checkpointing: bool = False,
    ) -> None:
        super().__init__()
        width = positions.shape[-1]
        self.gradient_checkpointing = gradient_checkpointing
        self.decoder_embed = nn.Linear(embed_dim, width)
        self.mask_token = nn.Parameter(torch.empty(1, 1, width)) if mask_token else None
        self.decoder_pos_embed = nn.Parameter(positions, requires_grad=False)
        self.decoder_blocks = nn.ModuleList(blocks)
        self.decoder_norm = nn.LayerNorm(width, eps=NORM_EPS)
        self.decoder_pred = nn.Linear(width, target.num_values)
        self.target = target
        self._initialise()

    def forward(self, encoded: Tensor, grid: Grid, restore: Tensor | None, positions: Tensor | None = None) -> Tensor:
        """Returns decoded patch tokens [B, N, Dd], row by row, not yet normalised.

        Args:
            encoded: [B, 1 + K, D]: the class token, then visible patches.
            grid: patches (h, w) of the image.
            restore: [B, N], see `Masking`; None where `encoded` has all patches in their places.
            positions: the position table of this grid, where it is not the stored one.
        """
        tokens: Tensor = self.decoder_embed(encoded)
        if restore is not None and self.mask_token is not None:
            hidden = self.mask_token.to(tokens.dtype).expand(
                len(tokens), restore.shape[1] + CLASS - tokens.shape[1], -1
            )
            patches = torch.cat([tokens[:, CLASS:], hidden], dim=1)
            patches = patches.gather(1, restore[..., None].expand(-1, -1, tokens.shape[2]))
            tokens = torch.cat([tokens[:, :CLASS], patches], dim=1)
        tokens = tokens + (self.decoder_pos_embed if positions is None else positions)
        for block in self.decoder_blocks:
            recompute = self.gradient_checkpointing and torch.is_grad_enabled()
            run: Callable[..., Tensor] = partial(checkpoint, block, use_reentrant=False) if recompute else block
            tokens = run(tokens, grid)
        return tokens[:, CLASS:]

    def predict(self, decoded: Tensor) -> Tensor:
        """Returns the target's values [B, M, V] for decoded tokens [B, M, Dd], all of an image's or some."""
        values: Tensor = self.decoder_pred(self.decoder_norm(decoded))
        return values

    @torch.no_grad()
    def _initialise(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)
        if self.mask_token is not None:
            nn.init.normal_(self.mask_token, std=0.02)
