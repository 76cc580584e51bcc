"""UperNet's decoder: a pooling pyramid on the smallest map, a feature pyramid over all maps, a classifier."""

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F

from maekit.errors import UserError
from maekit.segmentation.head.layers import ConvBlock, JoinBlock, pixel_classifier


class UperHead(nn.Module):
    """UperNet's decoder (Xiao et al., 1807.10221) with the names of mmsegmentation's UPerHead.

    The smallest map is pooled to each of `pool_scales` squared pixels, and the results are concatenated with it. Then,
    from small to large, each level is resized and added to the next larger one. All levels are resized to the largest
    one's size, concatenated and classified.
    """

    def __init__(
        self,
        in_channels: Sequence[int],
        channels: int,
        num_classes: int,
        *,
        pool_scales: Sequence[int] = (1, 2, 3, 6),
        dropout: float,
        classifier_std: float,
    ) -> None:
        super().__init__()
        *larger, smallest = in_channels
        self.psp_modules = nn.ModuleList(
            nn.Sequential(nn.AdaptiveAvgPool2d(scale), ConvBlock(smallest, channels, 1)) for scale in pool_scales
        )
        self.bottleneck = JoinBlock([smallest] + [channels] * len(pool_scales), channels)
        self.lateral_convs = nn.ModuleList(ConvBlock(width, channels, 1) for width in larger)
        self.fpn_convs = nn.ModuleList(ConvBlock(channels, channels, 3) for _ in larger)
        self.fpn_bottleneck = JoinBlock([channels] * len(in_channels), channels)
        self.dropout = nn.Dropout2d(dropout)
        self.conv_seg = pixel_classifier(channels, num_classes, classifier_std)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Returns logits [B, C, h_0, w_0] of maps [B, in_channels[i], h_i, w_i], largest first.

        Raises:
            UserError: training on a batch of one: BatchNorm needs more than one image pooled to one pixel.
        """
        if self.training and len(maps[0]) < 2:
            raise UserError(
                "got a device batch of 1, expected 2 or more, which BatchNorm needs where an image is pooled to one "
                "pixel; set --data.device_batch_size"
            )
        levels = self._top_down(maps)
        largest, *others = [conv(level) for conv, level in zip(self.fpn_convs, levels, strict=False)]
        joined = self.fpn_bottleneck(largest, [*others, levels[-1]])
        logits: Tensor = self.conv_seg(self.dropout(joined))
        return logits

    def _top_down(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """Returns the levels, largest first; each has the next smaller one added, resized bilinearly."""
        *larger, smallest = maps
        levels = [self.bottleneck(smallest, [module(smallest) for module in self.psp_modules])]
        for conv, image in reversed(list(zip(self.lateral_convs, larger, strict=True))):
            above = F.interpolate(levels[0], size=image.shape[2:], mode="bilinear", align_corners=False)
            levels.insert(0, conv(image) + above)
        return levels
