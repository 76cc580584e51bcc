"""The heads of semantic segmentation on a ViT: four scales, UperNet, and an auxiliary classifier."""

from collections.abc import Sequence

from torch import Tensor, nn

from maekit.segmentation.head.fcn import FCNHead
from maekit.segmentation.head.four_scales import FourScales
from maekit.segmentation.head.upernet import UperHead


class SegmentationHead(nn.Module):
    """Turns four maps of a ViT into logits for each class, and into auxiliary ones in training.

    As BEiT's and mmsegmentation's UperNet for ViTs: the maps at four scales, UperNet over all, and a small
    fully-convolutional head on the third for the auxiliary loss.

    Args:
        embed_dim: D, the maps' width.
        channels: of UperNet; null for D, as published.
        aux_channels: of the auxiliary head.
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
        num_classes: int,
        dropout: float,
        classifier_std: float,
    ) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.pyramid = FourScales(embed_dim)
        self.decode = UperHead([embed_dim] * 4, channels, num_classes, dropout=dropout, classifier_std=classifier_std)
        self.auxiliary = FCNHead(
            embed_dim, aux_channels, num_classes, num_convs=1, dropout=dropout, classifier_std=classifier_std
        )

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Returns logits [B, C, 4h, 4w] for four maps [B, D, h, w]."""
        logits: Tensor = self.decode(self.pyramid(maps))
        return logits

    def both(self, maps: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Returns the logits of `forward` and the auxiliary ones [B, C, h, w]."""
        scales = self.pyramid(maps)
        return self.decode(scales), self.auxiliary(scales[2])
