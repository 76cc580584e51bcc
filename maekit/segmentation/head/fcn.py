"""The auxiliary head: convolutions on one map."""

from itertools import pairwise

from torch import Tensor, nn

from maekit.segmentation.head.layers import ConvBlock, pixel_classifier


class FCNHead(nn.Module):
    """3x3 convolutions, dropout of whole channels, then a class for each pixel.

    Names are those of mmsegmentation's FCNHead without its `concat_input`; it only helps training (Zhao et al.,
    1612.01105), and predictions leave it out.
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
        """Turns a map [B, in_channels, h, w] into logits [B, C, h, w]."""
        logits: Tensor = self.conv_seg(self.dropout(self.convs(image)))
        return logits
