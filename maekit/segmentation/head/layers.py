"""Convolutions of the dense heads: convolution, BatchNorm and ReLU, on one map or on several brought to one size."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from maekit.segmentation.head.resized_conv import conv_of_resized


class ConvBlock(nn.Module):
    """A convolution without bias that keeps the map's size, BatchNorm, ReLU; named as mmcv's ConvModule names them.

    The weight is drawn from a normal of variance 2 / (outputs * kernel_size^2) (He et al., 1502.01852, fan out).
    """

    def __init__(self, in_channels: int, channels: int, kernel_size: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, channels, kernel_size, padding=kernel_size // 2, bias=False)
        self.bn = nn.BatchNorm2d(channels)
        nn.init.kaiming_normal_(self.conv.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, image: Tensor) -> Tensor:
        """Turns a map [B, C, h, w] into one of `channels` channels and the same size."""
        return F.relu(self.bn(self.conv(image)), inplace=True)


class JoinBlock(nn.Module):
    """A 3x3 ConvBlock on maps resized (bilinear, align_corners False) to one size and joined along the channels.

    The joined map is never made: the convolution of a joined map is the sum of its parts' convolutions, and that of a
    resized part costs no more than the small map (`conv_of_resized`).
    """

    def __init__(self, in_channels: Sequence[int], channels: int) -> None:
        super().__init__()
        self.in_channels = list(in_channels)
        block = ConvBlock(sum(in_channels), channels, 3)
        self.conv, self.bn = block.conv, block.bn

    def forward(self, first: Tensor, others: Sequence[Tensor]) -> Tensor:
        """Turns [B, in_channels[0], h, w] and smaller maps [B, in_channels[i], ...] into one [B, channels, h, w]."""
        weight, *weights = torch.split(self.conv.weight, self.in_channels, 1)
        total = F.conv2d(first, weight, padding=1)
        total += conv_of_resized(others, weights, (first.shape[2], first.shape[3]))
        return F.relu(self.bn(total), inplace=True)


def pixel_classifier(channels: int, num_classes: int, std: float) -> nn.Conv2d:
    """The 1x1 convolution that classifies each pixel: weight from a normal of deviation `std`, bias 0.

    From scratch a small one is slow: the features come to tell objects from background, and for hundreds of steps not
    one object from another, since what they would learn of that goes through the weight.
    """
    conv = nn.Conv2d(channels, num_classes, 1)
    nn.init.normal_(conv.weight, std=std)
    nn.init.zeros_(conv.bias)  # type: ignore[arg-type]
    return conv
