"""The patches' features in three colours."""

import torch
from torch import Tensor

SPREAD = 2.5  # standard deviations from the mean that colours reach


class PatchColours:
    """The first three principal components of patch features as red, green and blue.

    Features are added image by image, and only sums are kept. A component's sign is that of its largest number.
    """

    def __init__(self) -> None:
        self._count = 0
        self._sum = self._products = torch.zeros(())

    def add(self, patches: Tensor) -> None:
        """Takes in patch features [N, D]."""
        rows = patches.double()
        self._count += len(rows)
        self._sum = self._sum + rows.sum(dim=0)
        self._products = self._products + rows.T @ rows

    def colours(self, patches: Tensor) -> Tensor:
        """Returns [N, 3] float32 in 0..1 for patch features [N, D]: 0.5 is the mean of all features that were added."""
        mean = self._sum / self._count
        covariance = self._products / self._count - torch.outer(mean, mean)
        values, vectors = torch.linalg.eigh(covariance)
        axes, spread = vectors.flip(1)[:, :3], values.flip(0)[:3].clamp(min=0).sqrt()
        largest = axes.gather(0, axes.abs().argmax(dim=0, keepdim=True))
        scores = (patches.double() - mean) @ (axes * largest.sign())
        # Where nothing varies the quotient is rounding noise; it stays grey.
        steps = scores / (SPREAD * spread.clamp(min=1e-6 * float(mean.norm()) + 1e-12))
        colours: Tensor = ((steps + 1) / 2).clamp(0, 1).float()
        return colours
