"""Maps of one size, as a ViT gives them, made into a pyramid."""

from collections.abc import Sequence

from torch import Tensor, nn


class FourScales(nn.Module):
    """Four maps of one size become maps of 4, 2, 1 and 1/2 times that size, of the same width.

    As BEiT's segmentation code does it; names are those of mmsegmentation's Feature2Pyramid. Deconvolutions keep
    torch's own initialisation, as theirs do.
    """

    def __init__(self, embed_dim: int) -> None:
        super().__init__()
        self.upsample_4x = nn.Sequential(_twice(embed_dim), nn.BatchNorm2d(embed_dim), nn.GELU(), _twice(embed_dim))
        self.upsample_2x = nn.Sequential(_twice(embed_dim))
        self.downsample_2x = nn.MaxPool2d(2)

    def forward(self, maps: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Turns four maps [B, D, h, w] into [B, D, 4h, 4w], [B, D, 2h, 2w], [B, D, h, w] and [B, D, h // 2, w // 2].

        Each is laid out channel by channel, whatever came in: 3x3 convolutions train faster so on CPU.
        """
        a, b, c, d = (image.contiguous() for image in maps)
        return self.upsample_4x(a), self.upsample_2x(b), c, self.downsample_2x(d)


def _twice(embed_dim: int) -> nn.ConvTranspose2d:
    """A deconvolution that doubles height and width."""
    return nn.ConvTranspose2d(embed_dim, embed_dim, kernel_size=2, stride=2)
