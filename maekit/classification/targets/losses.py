"""Losses of several labels, of numbers and of grades, in fp32; none of them reads a value on the host."""

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def binary_loss(
    logits: Tensor, labels: Tensor, label_smoothing: float = 0.0, positive_weights: Tensor | None = None
) -> Tensor:
    """Returns the mean binary cross entropy of logits [B, L] and labels [B, L] in [0, 1], smoothed to 1/2.

    The part of the images that have a label is multiplied by its weight of `positive_weights`, [L].
    """
    labels = labels.float() * (1 - label_smoothing) + label_smoothing / 2
    return F.binary_cross_entropy_with_logits(logits.float(), labels, pos_weight=positive_weights)


def asymmetric_loss(
    logits: Tensor, labels: Tensor, gamma_negative: float = 4.0, gamma_positive: float = 0.0, clip: float = 0.05
) -> Tensor:
    """Returns the mean asymmetric loss of logits [B, L] and labels [B, L] of 0 and 1.

    Source: arXiv 2009.14119, equations 4 to 7; the published focusing parameters and margin are the defaults. The mean
    over images and labels is taken where the authors' code has the sum, so that a rate fits `binary_loss` too.
    """
    logits, labels = logits.float(), labels.float()
    present = logits.sigmoid()
    shifted = (present - clip).clamp(min=0)
    positive = labels * (1 - present) ** gamma_positive * F.logsigmoid(logits)
    negative = (1 - labels) * shifted**gamma_negative * torch.log1p(-shifted.clamp(max=1 - 1e-7))
    return -(positive + negative).mean()


def value_loss(predicted: Tensor, values: Tensor, kind: Literal["l1", "l2", "huber"]) -> Tensor:
    """Returns the mean loss of standardised values [B, V]: absolute, squared, or Huber's with its bend at 1."""
    predicted, values = predicted.float(), values.float()
    match kind:
        case "l1":
            return F.l1_loss(predicted, values)
        case "l2":
            return F.mse_loss(predicted, values)
        case "huber":
            return F.huber_loss(predicted, values)


class OrderedThresholds(nn.Module):
    """Turns one score an image, [B, 1], into the logits of being above each of K-1 grades, [B, K-1], never rising.

    CORAL (arXiv 1901.07884) shares the score among the binary tasks and gives each a bias. Its biases are ordered where
    the loss is smallest; here they are ordered by construction, as steps above 0, so that no image is ever likelier to
    be above a higher grade than above a lower one.
    """

    def __init__(self, num_grades: int) -> None:
        super().__init__()
        self.first = nn.Parameter(torch.full((1,), (num_grades - 2) / 2))
        self.steps = nn.Parameter(torch.full((num_grades - 2,), 0.5413))  # softplus of it is 1

    def forward(self, score: Tensor) -> Tensor:
        """Returns logits [B, K-1] in fp32."""
        drops = F.softplus(self.steps).cumsum(0)
        return score.float() + torch.cat([self.first, self.first - drops])


def grade_loss(logits: Tensor, grades: Tensor) -> Tensor:
    """Returns CORAL's loss, the mean binary cross entropy of logits [B, K-1] and of grades [B] in 0..K-1."""
    return grade_losses(logits, grades).mean()


def grade_losses(logits: Tensor, grades: Tensor) -> Tensor:
    """Returns CORAL's loss [B] of each image, the mean over the thresholds; see `grade_loss`."""
    above = grades[:, None] > torch.arange(logits.shape[1], device=logits.device)
    return F.binary_cross_entropy_with_logits(logits.float(), above.float(), reduction="none").mean(1)


def grade_probabilities(logits: Tensor) -> Tensor:
    """Returns probabilities [B, K] in fp32 of logits [B, K-1] that never rise."""
    above = logits.float().sigmoid()
    return torch.cat([1 - above[:, :1], above[:, :-1] - above[:, 1:], above[:, -1:]], dim=1)


def predicted_grades(logits: Tensor) -> Tensor:
    """Returns the grade [B] int64 of logits [B, K-1]: above how many grades an image is likelier than not."""
    return (logits > 0).sum(1)
