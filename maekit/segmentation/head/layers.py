"""Layers of the dense heads: convolution, BatchNorm and ReLU, on one map or on several that are resized to one size."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from maekit.errors import UserError
from maekit.segmentation.head.resized_conv import conv_of_resized
from maekit.system.size import HeightWidth
from maekit.system.tracing.sides import is_symbolic, mean_weights


class ConvBlock(nn.Module):
    """A convolution without bias that keeps the map's size, BatchNorm, ReLU; the names are those of mmcv's ConvModule.

    The weight is drawn from a normal of variance 2 / (outputs * kernel_size^2) (He et al., 1502.01852, fan out).
    """

    def __init__(self, in_channels: int, channels: int, kernel_size: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, channels, kernel_size, padding=kernel_size // 2, bias=False)
        self.bn = nn.BatchNorm2d(channels)
        nn.init.kaiming_normal_(self.conv.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, image: Tensor) -> Tensor:
        """Returns [B, channels, h, w] of a map [B, in_channels, h, w]."""
        return F.relu(self.bn(self.conv(image)), inplace=True)


class JoinBlock(nn.Module):
    """A 3x3 ConvBlock on maps that are resized (bilinear, align_corners False) to one size and concatenated.

    The concatenated map is never made: its convolution is the sum of its parts' convolutions, and that of a resized
    part is computed on the small map (`conv_of_resized`).
    """

    def __init__(self, in_channels: Sequence[int], channels: int) -> None:
        super().__init__()
        self.in_channels = list(in_channels)
        block = ConvBlock(sum(in_channels), channels, 3)
        self.conv, self.bn = block.conv, block.bn

    def forward(self, first: Tensor, others: Sequence[Tensor]) -> Tensor:
        """Returns [B, channels, h, w] of a map [B, in_channels[0], h, w] and smaller ones [B, in_channels[i], ...]."""
        weight, *weights = torch.split(self.conv.weight, self.in_channels, 1)
        total = F.conv2d(first, weight, padding=1)
        total += conv_of_resized(others, weights, HeightWidth(*first.shape[2:]))
        return F.relu(self.bn(total), inplace=True)


class PoolTo(nn.AdaptiveAvgPool2d):
    """Adaptive average pooling to a square; of sides that are unknown while a graph is traced as products."""

    def __init__(self, side: int) -> None:
        super().__init__(side)
        self.side = side

    def forward(self, image: Tensor) -> Tensor:
        """Returns [B, C, side, side] of a map [B, C, h, w]."""
        if not is_symbolic(*image.shape[2:]):
            pooled: Tensor = super().forward(image)
            return pooled
        rows, columns = (mean_weights(old, self.side, image.device).to(image.dtype) for old in image.shape[2:])
        return rows @ image @ columns.T


def pixel_classifier(channels: int, num_classes: int, std: float) -> nn.Conv2d:
    """Returns the 1x1 convolution that classifies each pixel: weight from a normal of deviation `std`, bias 0.

    A small deviation is slow where the features are trained from scratch: for hundreds of steps they separate objects
    from background, but not one object from another, since those gradients pass through the small weight.
    """
    conv = nn.Conv2d(channels, num_classes, 1)
    nn.init.normal_(conv.weight, std=std)
    nn.init.zeros_(conv.bias)  # type: ignore[arg-type]
    return conv


def check_batch(images: int, least: int) -> None:
    """Refuses to train on fewer images than BatchNorm needs where an image is pooled to one pixel.

    Raises:
        UserError: there are fewer.
    """
    if images < least:
        raise UserError(
            f"got a device batch of {images}, expected {least} or more, which BatchNorm needs where an image is pooled "
            "to one pixel; set --data.device_batch_size"
        )
