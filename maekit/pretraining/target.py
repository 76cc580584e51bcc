"""What a masked autoencoder predicts of a patch: its pixels, its normalised pixels, or PCA coefficients of them."""

from abc import ABC, abstractmethod
from typing import Literal

import torch
from torch import Tensor, nn

from maekit.errors import UserError

Kind = Literal["pixels", "normalised_pixels", "pca"]
EPS = 1e-6


def patchify(images: Tensor, patch_size: int) -> Tensor:
    """Returns patches [B, h*w, p*p*C] of images [B, C, H, W]: pixels row by row, channels fastest."""
    batch, channels, height, width = images.shape
    cut = images.reshape(batch, channels, height // patch_size, patch_size, width // patch_size, patch_size)
    return cut.permute(0, 2, 4, 3, 5, 1).reshape(batch, -1, patch_size * patch_size * channels)


def unpatchify(patches: Tensor, patch_size: int, grid: tuple[int, int]) -> Tensor:
    """Returns images [B, C, H, W] of patches [B, h*w, p*p*C], the inverse of `patchify`."""
    channels = patches.shape[-1] // patch_size**2
    cut = patches.reshape(len(patches), *grid, patch_size, patch_size, channels).permute(0, 5, 1, 3, 2, 4)
    return cut.reshape(len(patches), channels, grid[0] * patch_size, grid[1] * patch_size)


class Target(nn.Module, ABC):
    """What is predicted of each patch, and what a prediction looks like.

    Args:
        num_values: V, numbers a patch.
    """

    def __init__(self, num_values: int) -> None:
        super().__init__()
        self.num_values = num_values

    @abstractmethod
    def forward(self, patches: Tensor) -> Tensor:
        """Returns what is to be predicted, [..., V], of patches [..., P]."""

    @abstractmethod
    def pixels(self, values: Tensor, patches: Tensor) -> Tensor:
        """Returns the pixels [..., P] that predicted values [..., V] mean; `patches` are the true ones."""


class Pixels(Target):
    """The patch's pixels themselves; V is P."""

    def forward(self, patches: Tensor) -> Tensor:
        """Returns the patches."""
        return patches

    def pixels(self, values: Tensor, patches: Tensor) -> Tensor:
        """Returns the values."""
        return values


class NormalisedPixels(Target):
    """The patch's pixels, less their mean and by their standard deviation, each patch by itself.

    The variance is the unbiased one, 1e-6 is added to it: facebookresearch/mae @ efb2a80 models_mae.py.
    """

    def forward(self, patches: Tensor) -> Tensor:
        """Returns what is to be predicted of patches [..., P]."""
        mean, std = self._moments(patches)
        return (patches - mean) / std

    def pixels(self, values: Tensor, patches: Tensor) -> Tensor:
        """Returns pixels with each true patch's own mean and deviation, which the prediction does not hold."""
        mean, std = self._moments(patches)
        return values * std + mean

    @staticmethod
    def _moments(patches: Tensor) -> tuple[Tensor, Tensor]:
        return patches.mean(-1, keepdim=True), (patches.var(-1, keepdim=True) + EPS).sqrt()


class Components(Target):
    """The coefficients of the largest principal components of patches (MAE paper, Table 1d: 96 of them).

    They are fitted to the training images before a run, and kept in its checkpoints.

    Args:
        patch_values: of a patch, p*p*C.
        num_values: components.
    """

    mean: Tensor
    basis: Tensor

    def __init__(self, patch_values: int, num_values: int) -> None:
        super().__init__(num_values)
        if not 1 <= num_values <= patch_values:
            raise UserError(
                f"got {num_values} components, expected 1 to {patch_values}, the values of a patch; "
                "set --model.num_components"
            )
        self.register_buffer("mean", torch.zeros(patch_values))
        self.register_buffer("basis", torch.zeros(num_values, patch_values))

    def forward(self, patches: Tensor) -> Tensor:
        """Returns coefficients [..., V] of patches [..., P]."""
        return (patches - self.mean) @ self.basis.T

    def pixels(self, values: Tensor, patches: Tensor) -> Tensor:
        """Returns the pixels [..., P] that coefficients [..., V] mean."""
        return values @ self.basis + self.mean

    @property
    def fitted(self) -> bool:
        """Whether `fit` was called, or the components came from a checkpoint."""
        return bool(self.basis.any())

    def fit(self, moments: "Moments") -> None:
        """Computes the components from the patches' moments: largest first, the largest weight of each positive."""
        mean = moments.sum / moments.count
        covariance = moments.products / moments.count - mean[:, None] * mean
        basis = torch.linalg.eigh(covariance).eigenvectors.flip(1).T[: self.num_values]
        largest = basis.gather(1, basis.abs().argmax(1, keepdim=True))
        self.mean.copy_(mean)
        self.basis.copy_(basis * largest.sign())


class Moments:
    """First and second moments of patches, added up in double precision.

    Args:
        patch_values: of a patch, p*p*C.
    """

    def __init__(self, patch_values: int) -> None:
        self.count = 0
        self.sum = torch.zeros(patch_values, dtype=torch.float64)
        self.products = torch.zeros(patch_values, patch_values, dtype=torch.float64)

    def add(self, patches: Tensor) -> None:
        """Adds the moments of patches [..., P]."""
        rows = patches.reshape(-1, patches.shape[-1]).double()
        self.count += len(rows)
        self.sum += rows.sum(0)
        self.products += rows.T @ rows


def make_target(kind: Kind, patch_values: int, num_components: int | None) -> Target:
    """Builds a target by name; `num_components` is asked for where it is `pca` and nowhere else."""
    if (kind == "pca") != (num_components is not None):
        raise UserError(
            f"got target {kind} with num_components {num_components}, expected a number for pca and null for the "
            "others; set --model.num_components (the paper: 96)"
        )
    if num_components is not None:
        return Components(patch_values, num_components)
    return NormalisedPixels(patch_values) if kind == "normalised_pixels" else Pixels(patch_values)


def psnr(predicted: Tensor, true: Tensor, *, cut: bool = True) -> Tensor:
    """Returns [B] dB of patches [B, M, P], of which 0..1 is black to white.

    Args:
        predicted: of the hidden patches.
        true: likewise.
        cut: cut predictions to 0..1; False for bands, which may hold less and more.
    """
    return -10 * ((predicted.clamp(0, 1) if cut else predicted) - true).square().mean((1, 2)).clamp(min=1e-10).log10()
