"""Several linear classifiers on the same features, each with a learning rate of its own; the best one counts.

As facebookresearch/dinov2 probes (dinov2/eval/linear.py @ b8931f7): the backbone, which costs nearly all of the time,
runs once for all of them.
"""

from collections.abc import Sequence
from typing import Literal, cast

import torch
from torch import Tensor, nn

from maekit.classification.metrics import ClassificationMetrics, Outcome
from maekit.classification.records import ClassRecords

CHOSEN = "classifier"  # the metric that says which one is best, from 0


class ScaledLinear(nn.Linear):
    """A linear layer whose learning rate is `lr_factor` times that of its layer; `optim.groups` asks for it."""

    def __init__(self, width: int, num_classes: int, lr_factor: float) -> None:
        super().__init__(width, num_classes)
        self.lr_factor = lr_factor


class SideBySide(nn.Module):
    """A classifier for each learning rate, on features [B, D].

    The weights are drawn from a normal of standard deviation `init_std` cut at +-2 (absolute), the biases are 0.
    """

    def __init__(self, width: int, num_classes: int, *, init_std: float, lr_factors: Sequence[float]) -> None:
        super().__init__()
        self.classifiers = nn.ModuleList(ScaledLinear(width, num_classes, factor) for factor in lr_factors)
        for fc in self.classifiers:
            nn.init.trunc_normal_(cast(Tensor, fc.weight), std=init_std, a=-2.0, b=2.0)
            nn.init.zeros_(cast(Tensor, fc.bias))

    def forward(self, features: Tensor) -> Tensor:
        """Turns features [B, D] into the logits of all N classifiers, [N, B, C]."""
        return torch.stack([fc(features) for fc in self.classifiers])


class SideBySideMetrics(nn.Module):
    """Metrics of several classifiers: those of the one that is best on these images, and which one that is.

    The best of N on the images that it is judged by is a little too good, as it is in DINOv2's numbers.
    """

    def __init__(self, each: Sequence[ClassificationMetrics], monitor: tuple[str, Literal["max", "min"]]) -> None:
        super().__init__()
        self.each, self.monitor, self.best = nn.ModuleList(each), monitor, 0

    def update(self, logits: Tensor, labels: Tensor, index: Tensor) -> None:
        """Adds a batch: logits [N, B, C], int64 labels [B] in [0, C), int64 index [B], -1 for padding."""
        for metrics, own in zip(self.each, logits, strict=True):
            cast(ClassificationMetrics, metrics).update(own, labels, index)

    def compute(self) -> dict[str, Tensor]:
        """Returns the best one's metrics, and `classifier`, its place from 0; the first of equal ones."""
        values = [cast(ClassificationMetrics, metrics).compute() for metrics in self.each]
        name, mode = self.monitor
        scores = torch.stack([own[name].double() for own in values])
        worst = torch.full_like(scores, -torch.inf if mode == "max" else torch.inf)
        known = scores.where(scores.isfinite(), worst)
        self.best = int(known.argmax() if mode == "max" else known.argmin())
        return {**values[self.best], CHOSEN: torch.tensor(float(self.best))}

    def reset(self) -> None:
        """Starts anew, with no batch."""
        for metrics in self.each:
            cast(ClassificationMetrics, metrics).reset()

    @property
    def of_best(self) -> ClassificationMetrics:
        """The metrics of the classifier that the last `compute` found best."""
        return cast(ClassificationMetrics, self.each[self.best])

    def image_records(self) -> ClassRecords:
        """Returns the images with what the best one makes of them."""
        return self.of_best.image_records()

    def outcome_counts(self) -> list[Outcome]:
        """Returns the outcomes of the best one, see `ClassificationMetrics.outcome_counts`."""
        return self.of_best.outcome_counts()
