"""What a masked autoencoder makes of images, and what is asked of one to draw it."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from torch import Tensor


class Reconstruction(NamedTuple):
    """What a masked autoencoder makes of images [B, C, H, W] float32, of which 0..1 is black to white.

    Attributes:
        original: the images.
        masked: the same, grey (0.5) where they were hidden.
        prediction: the decoder's picture of every patch, seen or hidden.
        pasted: the prediction where the image was hidden, the image elsewhere.
        psnr: [B], of the hidden pixels, in dB; the range is 1.
        masked_patches: [B, N] bool.
        shown: the channels that a picture shows as red, green and blue.
    """

    original: Tensor
    masked: Tensor
    prediction: Tensor
    pasted: Tensor
    psnr: Tensor
    masked_patches: Tensor
    shown: tuple[int, int, int] = (0, 1, 2)

    def image(self, index: int) -> "Reconstruction":
        """Returns one image of the batch, as a batch of one."""
        pictures = (self.original, self.masked, self.prediction, self.pasted, self.psnr, self.masked_patches)
        original, masked, prediction, pasted, psnr, hidden = (part[index : index + 1] for part in pictures)
        return Reconstruction(original, masked, prediction, pasted, psnr, hidden, self.shown)

    def on_host(self) -> "Reconstruction":
        """Returns the same on the CPU, before it is drawn image by image."""
        pictures = (self.original, self.masked, self.prediction, self.pasted, self.psnr, self.masked_patches)
        original, masked, prediction, pasted, psnr, hidden = (part.cpu() for part in pictures)
        return Reconstruction(original, masked, prediction, pasted, psnr, hidden, self.shown)


class Reconstructs(Protocol):
    """A masked autoencoder, as those see it who draw or keep its reconstructions.

    Attributes:
        mask_ratio: share of the patches that are hidden.
    """

    mask_ratio: float

    def seeded_noise(self, images: Tensor, seeds: Sequence[int]) -> Tensor:
        """Returns noise [B, N] that hides patches of each of images [B, C, H, W] by its own seed."""

    def reconstruct(self, images: Tensor, noise: Tensor | None = None) -> Reconstruction:
        """Masks images [B, C, H, W], normalised, by noise [B, N] or at random, and returns pictures of the outcome."""
