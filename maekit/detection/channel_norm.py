"""LayerNorm over the channels of each pixel."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class ChannelNorm(nn.Module):
    """LayerNorm over the channels of maps [B, C, h, w], with detectron2's names and epsilon.

    Whatever the maps' type, means and variances are computed in float32.
    """

    def __init__(self, channels: int, eps: float = 1e-6) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.eps = eps

    def forward(self, maps: Tensor) -> Tensor:
        """Normalises each pixel [C] of maps [B, C, h, w] to mean 0 and variance 1, then scales and shifts it.

        The result lies channels last in memory, which makes it the last axis; the fused kernel is for that one.
        """
        pixels = F.layer_norm(maps.permute(0, 2, 3, 1), self.weight.shape, self.weight, self.bias, self.eps)
        return pixels.permute(0, 3, 1, 2)
