"""Linear heads of values, which know the unit of the data, and of grades, whose thresholds are in order."""

from collections.abc import Sequence

import torch
from torch import Tensor

from maekit.classification.linear_head import LinearHead, Pooling
from maekit.classification.targets.losses import OrderedThresholds


class ValueHead(LinearHead):
    """Predicts values that are standardised by the training images' mean and deviation, which its file keeps.

    Args:
        embed_dim: width of the pooled tokens.
        mean: of each value, in the unit of the data.
        std: of each value, likewise, above 0.
        pooling: as `LinearHead` takes it.
        init_std: standard deviation of the initial weights.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self, embed_dim: int, mean: Sequence[float], std: Sequence[float], *, pooling: Pooling, init_std: float
    ) -> None:
        super().__init__(embed_dim, len(mean), pooling=pooling, init_std=init_std)
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32))
        self.register_buffer("std", torch.tensor(std, dtype=torch.float32))

    def standardised(self, values: Tensor) -> Tensor:
        """Returns values [B, V] of the data as the head predicts them, in fp32."""
        return (values.float() - self.mean) / self.std

    def in_unit(self, predicted: Tensor) -> Tensor:
        """Returns the head's predictions [B, V] in the unit of the data, in fp32."""
        return predicted.float() * self.std + self.mean


class GradeHead(LinearHead):
    """Predicts the logits of being above each of K grades but the last, from one score and ordered thresholds.

    Args:
        embed_dim: width of the pooled tokens.
        num_grades: K, two or more.
        pooling: as `LinearHead` takes it.
        init_std: standard deviation of the initial weights.
    """

    def __init__(self, embed_dim: int, num_grades: int, *, pooling: Pooling, init_std: float) -> None:
        super().__init__(embed_dim, 1, pooling=pooling, init_std=init_std)
        self.thresholds = OrderedThresholds(num_grades)

    def forward(self, pooled: Tensor) -> Tensor:
        """Turns pooled tokens [B, D] into logits [B, K-1] in fp32."""
        logits: Tensor = self.thresholds(super().forward(pooled))
        return logits
