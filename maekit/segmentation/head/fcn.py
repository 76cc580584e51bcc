"""The auxiliary head of UperNet: convolutions on one map."""

from itertools import pairwise

from torch import Tensor, nn

from maekit.segmentation.head.layers import ConvBlock, pixel_classifier


class FCNHead(nn.Module):
    """3x3 convolutions, dropout of whole channels, and a 1x1 convolution to the classes.

    The names are those of mmsegmentation's FCNHead without its `concat_input`. The head only helps training (Zhao et
    al., 1612.01105); predictions do not use it.
    """

    def __init__(
        self,
        in_channels: int,
        channels: int,
        num_classes: int,
        *,
        num_convs: int = 1,
        dropout: float,
        classifier_std: float,
    ) -> None:
        super().__init__()
        widths = [in_channels] + [channels] * num_convs
        self.convs = nn.Sequential(*(ConvBlock(*pair, 3) for pair in pairwise(widths)))
        self.dropout = nn.Dropout2d(dropout)
        self.conv_seg = pixel_classifier(channels, num_classes, classifier_std)

    def forward(self, image: Tensor) -> Tensor:
        """Returns logits [B, C, h, w] of a map [B, in_channels, h, w]."""
        logits: Tensor = self.conv_seg(self.dropout(self.convs(image)))
        return logits
