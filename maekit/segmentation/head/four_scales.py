"""Turns the maps of a ViT, which have one size, into a pyramid."""

from collections.abc import Sequence

from torch import Tensor, nn

from maekit.base.memory_format import MapModule


class FourScales(MapModule):
    """Resizes four maps of one size to 4, 2, 1 and 1/2 times that size; the number of channels stays.

    As BEiT's segmentation code does; the names are those of mmsegmentation's Feature2Pyramid. Transposed convolutions
    keep torch's default initialisation, as theirs do.
    """

    def __init__(self, embed_dim: int) -> None:
        super().__init__()
        self.upsample_4x = nn.Sequential(_twice(embed_dim), nn.BatchNorm2d(embed_dim), nn.GELU(), _twice(embed_dim))
        self.upsample_2x = nn.Sequential(_twice(embed_dim))
        self.downsample_2x = nn.MaxPool2d(2)

    def forward(self, maps: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Returns [B, D, 4h, 4w], [B, D, 2h, 2w], [B, D, h, w] and [B, D, h // 2, w // 2] of four maps [B, D, h, w].

        The maps are brought into `memory_format` first: 3x3 convolutions train faster channel by channel on a CPU.
        """
        a, b, c, d = (self.laid_out(image) for image in maps)
        return self.upsample_4x(a), self.upsample_2x(b), c, self.downsample_2x(d)


def _twice(embed_dim: int) -> nn.ConvTranspose2d:
    """Returns a transposed convolution that doubles height and width."""
    return nn.ConvTranspose2d(embed_dim, embed_dim, kernel_size=2, stride=2)
