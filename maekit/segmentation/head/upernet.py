"""UperNet on a ViT: its maps at four scales, the decoder over all of them, and an auxiliary classifier."""

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F

from maekit.segmentation.head.fcn import FCNHead
from maekit.segmentation.head.four_scales import FourScales
from maekit.segmentation.head.layers import ConvBlock, JoinBlock, PoolTo, check_batch, pixel_classifier


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
            nn.Sequential(PoolTo(scale), ConvBlock(smallest, channels, 1)) for scale in pool_scales
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
        if self.training:
            check_batch(len(maps[0]), 2)
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


class UperNetHead(nn.Module):
    """Turns four maps of a ViT into logits, and in training into those of an auxiliary classifier too.

    As in BEiT's and mmsegmentation's UperNet for ViTs, the maps are resized to four scales; UperNet takes all of them,
    a small fully convolutional head one of them.

    Args:
        embed_dim: D, the number of channels of each map.
        channels: of UperNet; D in the published models.
        aux_channels: of the auxiliary head.
        aux_index: the map (from 0, largest first) that the auxiliary head takes.
        num_classes: C.
        dropout: of whole channels before each classifier, in [0, 1).
        classifier_std: deviation of each classifier's initial weights.
    """

    def __init__(
        self,
        embed_dim: int,
        *,
        channels: int,
        aux_channels: int,
        aux_index: int,
        num_classes: int,
        dropout: float,
        classifier_std: float,
    ) -> None:
        super().__init__()
        self.num_classes, self.aux_index = num_classes, aux_index
        self.pyramid = FourScales(embed_dim)
        self.decode = UperHead([embed_dim] * 4, channels, num_classes, dropout=dropout, classifier_std=classifier_std)
        self.auxiliary = FCNHead(
            embed_dim, aux_channels, num_classes, num_convs=1, dropout=dropout, classifier_std=classifier_std
        )

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Returns logits [B, C, 4h, 4w] of four maps [B, D, h, w]."""
        logits: Tensor = self.decode(self.pyramid(maps))
        return logits

    def both(self, maps: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Returns the logits of `forward` and the auxiliary ones [B, C, h, w]."""
        scales = self.pyramid(maps)
        return self.decode(scales), self.auxiliary(scales[self.aux_index])
