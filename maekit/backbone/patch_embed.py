"""Patches of an image as tokens, and how a fresh ViT begins."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class PatchEmbed(nn.Module):
    """Cuts an image into square patches and projects each to a token."""

    def __init__(self, embed_dim: int, patch_size: int, channels: int = 3, *, bias: bool = True):
        super().__init__()
        self.proj = nn.Conv2d(channels, embed_dim, kernel_size=patch_size, stride=patch_size, bias=bias)

    def forward(self, images: Tensor) -> Tensor:
        """Returns tokens [B, h*w, D], row by row, for images [B, C, H, W]."""
        return torch.flatten(self.proj(images), 2).transpose(1, 2)


@torch.no_grad()
def initialise(vit: nn.Module, patches: PatchEmbed, tokens: Sequence[nn.Parameter | None]) -> None:
    """Draws the weights of a ViT; the patch embedding counts as a linear layer, `tokens` are its class token and so on.

    Source: facebookresearch/mae @ efb2a80 models_mae.py.
    """
    for module in vit.modules():
        if isinstance(module, nn.Linear):
            nn.init.xavier_uniform_(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    nn.init.xavier_uniform_(patches.proj.weight.flatten(1))
    for token in tokens:
        if token is not None:
            nn.init.normal_(token, std=0.02)
