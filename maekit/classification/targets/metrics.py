"""Metrics of several labels, of numbers and of grades, exact under any split over batches and processes."""

from typing import NamedTuple

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.functional.classification import binary_auroc, binary_average_precision

from maekit.classification.chosen_metrics import quadratic_kappa

HALVES_SEED = 0


class Joined(NamedTuple):
    """All evaluated images in their order: predictions and truths [n, N], float64 on the CPU, and their places [n]."""

    predicted: Tensor
    truth: Tensor
    places: Tensor


class _Rows(Metric):
    """Keeps predictions and truths of each image in fp32; rows of an index below 0 are not counted."""

    full_state_update = False
    rows: list[Tensor]  # torchmetrics joins them into one tensor
    places: list[Tensor]

    def __init__(self) -> None:
        super().__init__()
        self.add_state("rows", [], dist_reduce_fx="cat")
        self.add_state("places", [], dist_reduce_fx="cat")

    def update(self, predicted: Tensor, truth: Tensor, index: Tensor) -> None:
        """Adds a batch: predictions [B, N], truths [B, N], int64 index [B], -1 for padding."""
        self.rows.append(torch.cat([predicted.float(), truth.float()], dim=1))
        self.places.append(index)

    def joined(self) -> Joined:
        """Returns the images in their order."""
        rows, places = _whole(self.rows).cpu().double(), _whole(self.places).cpu()
        order = places.argsort(stable=True)
        order = order[places[order] >= 0]
        predicted, truth = rows[order].chunk(2, dim=1)
        return Joined(predicted, truth, places[order])

    def of_all(self) -> Joined:
        """Returns `joined` of all processes, before `compute` or after it; every process must call it."""
        with self.sync_context(dist_sync_fn=self.dist_sync_fn):
            return self.joined()


def _whole(parts: "list[Tensor] | Tensor") -> Tensor:
    return torch.cat(parts) if isinstance(parts, list) else parts


class ValueMetrics(_Rows):
    """MAE, RMSE and R2 of values in the unit of the data, over all of them and, where several, of each."""

    def __init__(self, names: tuple[str, ...]) -> None:
        super().__init__()
        self.names = names

    def compute(self) -> dict[str, Tensor]:
        """Returns scalars; R2 is the mean over the values, and NaN where a value is the same in all images."""
        predicted, truth, _ = self.joined()
        of_each = value_errors(predicted, truth)
        found = {name: values.mean() for name, values in of_each.items()}
        if len(self.names) > 1:
            for name, values in of_each.items():
                found |= {f"{name}_{value}": values[i] for i, value in enumerate(self.names)}
        return found


def value_errors(predicted: Tensor, truth: Tensor) -> dict[str, Tensor]:
    """Returns MAE, RMSE and R2 [V] of values [n, V]; R2 is NaN where a value is the same in all images."""
    errors = predicted - truth
    spread = (truth - truth.mean(0)).square().sum(0)
    r2 = (1 - errors.square().sum(0) / spread).where(spread > 0, torch.nan)
    return {"mae": errors.abs().mean(0), "rmse": errors.square().mean(0).sqrt(), "r2": r2}


class GradeMetrics(_Rows):
    """Accuracy in percent, MAE in grades and quadratic weighted kappa of grades [B, 1] in 0..K-1."""

    def compute(self) -> dict[str, Tensor]:
        """Returns scalars; kappa is NaN where all images have and are given the same grade."""
        predicted, truth, _ = self.joined()
        kappa = quadratic_kappa(torch.cat([truth, predicted], dim=1).long())
        return {
            "accuracy": 100 * (predicted == truth).double().mean(),
            "mae": (predicted - truth).abs().mean(),
            "kappa": torch.tensor(kappa, dtype=torch.float64),
        }


class LabelScores(NamedTuple):
    """F1 at a threshold, the number of images it was tuned on, and the places [m] of those it was measured on."""

    threshold: float
    macro: float
    micro: float
    tuned_on: int
    measured: Tensor

    @property
    def measured_on(self) -> int:
        """The number of images that F1 was measured on."""
        return len(self.measured)


class LabelMetrics(_Rows):
    """mAP, AUROC and F1 of several labels an image, in 0..1; predictions are probabilities.

    F1 is measured on a half of the images, and its threshold chosen on the other, where none is given.
    """

    def __init__(self, threshold: float | None = None) -> None:
        super().__init__()
        self.threshold = threshold

    def compute(self) -> dict[str, Tensor]:
        """Returns scalars; labels that no image has, or that all have (for AUROC), are left out of the means."""
        predicted, truth, _ = self.joined()
        labels = truth.long()
        seen = [c for c in range(labels.shape[1]) if labels[:, c].any()]
        both = [c for c in seen if not labels[:, c].all()]
        precision = [binary_average_precision(predicted[:, c], labels[:, c]).double() for c in seen]
        area = [binary_auroc(predicted[:, c], labels[:, c]).double() for c in both]
        f1 = label_scores(predicted, truth, self.threshold)
        return {
            "map": _mean(precision),
            "auroc": _mean(area),
            "f1_macro": torch.tensor(f1.macro),
            "f1_micro": torch.tensor(f1.micro),
            "threshold": torch.tensor(f1.threshold, dtype=torch.float64),
        }


def _mean(values: list[Tensor]) -> Tensor:
    return torch.stack(values).mean() if values else torch.tensor(torch.nan)


def label_scores(predicted: Tensor, truth: Tensor, threshold: float | None) -> LabelScores:
    """Returns F1 of probabilities and labels [n, L] at a threshold, or at the best macro F1 of one half.

    Hundredths are tried. The halves are drawn with a fixed seed from the images in their order, so they depend on
    nothing but their number.
    """
    if threshold is not None:
        return LabelScores(threshold, *f1_scores(predicted, truth, threshold), 0, torch.arange(len(truth)))
    order = torch.randperm(len(truth), generator=torch.Generator().manual_seed(HALVES_SEED))
    tuned, measured = order[: len(order) // 2], order[len(order) // 2 :]
    steps = [step / 100 for step in range(1, 100)]
    best = max(steps, key=lambda step: (f1_scores(predicted[tuned], truth[tuned], step)[0], -abs(step - 0.5)))
    return LabelScores(best, *f1_scores(predicted[measured], truth[measured], best), len(tuned), measured)


def f1_scores(predicted: Tensor, truth: Tensor, threshold: float) -> tuple[float, float]:
    """Returns macro F1, over the labels that some image has, and micro F1; a label is given from the threshold on."""
    given, real = predicted >= threshold, truth > 0
    hits, total = (given & real).sum(0).double(), (given.sum(0) + real.sum(0)).double()
    each = (2 * hits / total)[real.any(0)]
    macro = each.mean() if len(each) else torch.tensor(torch.nan)
    return macro.item(), (2 * hits.sum() / total.sum()).item()
