"""The patches' features in three colours."""

from dataclasses import dataclass

import torch
from torch import Tensor

from maekit.errors import UserError

SPREAD = 2.5  # standard deviations from the mean that colours reach


@dataclass(frozen=True, eq=False)
class Components:
    """The first three principal components of features.

    Attributes:
        mean: [D] float64.
        axes: [D, 3] float64, of length one; the largest number of each is above 0.
        spread: [3] float64, the standard deviation along each.
    """

    mean: Tensor
    axes: Tensor
    spread: Tensor

    def scores(self, patches: Tensor) -> Tensor:
        """Returns the coordinates [N, 3] float64 of features [N, D]."""
        return (patches.double() - self.mean) @ self.axes

    def colours(self, patches: Tensor) -> Tensor:
        """Returns [N, 3] float32 in 0..1 for features [N, D]: 0.5 is the mean."""
        # Where nothing varies the quotient is rounding noise; it stays grey.
        steps = self.scores(patches) / (SPREAD * self.spread.clamp(min=1e-6 * float(self.mean.norm()) + 1e-12))
        colours: Tensor = ((steps + 1) / 2).clamp(0, 1).float()
        return colours


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

    def components(self) -> Components:
        """Returns the components of all features that were added.

        Raises:
            UserError: a feature is not finite.
        """
        mean = self._sum / self._count
        covariance = self._products / self._count - torch.outer(mean, mean)
        if not covariance.isfinite().all():
            raise UserError(
                "NaN or infinite features; check the weights with `maekit weights inspect`, and embed again"
            )
        values, vectors = torch.linalg.eigh(covariance)
        axes, spread = vectors.flip(1)[:, :3], values.flip(0)[:3].clamp(min=0).sqrt()
        largest = axes.gather(0, axes.abs().argmax(dim=0, keepdim=True))
        return Components(mean, axes * largest.sign(), spread)

    def colours(self, patches: Tensor) -> Tensor:
        """Returns [N, 3] float32 in 0..1 for patch features [N, D]: 0.5 is the mean of all features that were added."""
        return self.components().colours(patches)
