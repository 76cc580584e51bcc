"""Metrics of one class an image beyond top-1 and top-5, chosen by a list; exact under any split, as those are."""

from collections.abc import Sequence
from typing import Literal, NamedTuple, TypedDict

import torch
from torch import Tensor
from torchmetrics.functional.classification import binary_auroc

from maekit.classification.metrics import ClassificationMetrics, whole
from maekit.classification.records import ClassRecords
from maekit.errors import UserError, nearest
from maekit.system.plain import listed_names

Mode = Literal["max", "min"]
METRICS: dict[str, Mode] = {
    "top1": "max",
    "top5": "max",
    "balanced_accuracy": "max",
    "macro_f1": "max",
    "auroc": "max",
    "kappa": "max",
    "calibration_error": "min",
}
DEFAULT = ("top1", "top5")
NUM_BINS = 15


def metric_names(given: str | Sequence[str] | None) -> tuple[str, ...]:
    """Returns the names of `--model.metrics`, each once: a list, or one text with commas; None for top-1 and top-5.

    Raises:
        UserError: one is unknown, or there is none.
    """
    if given is None:
        return DEFAULT
    names = listed_names(given)
    for name in names or [""]:
        if name not in METRICS:
            known = ", ".join(METRICS)
            raise UserError(f"model.metrics: got '{name}', expected some of {known}{nearest(name, METRICS)}")
    return tuple(dict.fromkeys(names))


def monitored_metric(given: str | None, names: Sequence[str]) -> tuple[str, Mode]:
    """Returns the metric that chooses the best weights, and whether more or less of it is better.

    Args:
        given: `--model.monitor`: one of the names, or `loss`; None for the first name.
        names: of `metric_names`.

    Raises:
        UserError: it is not measured.
    """
    name = names[0] if given is None else given
    if name == "loss":
        return name, "min"
    if name not in names:
        advice = f"add it to --model.metrics, as {','.join((*names, name))}" if name in METRICS else "mend it"
        raise UserError(
            f"model.monitor: got {name}, expected one that is measured: {', '.join((*names, 'loss'))}"
            f"{'' if name in METRICS else nearest(name, METRICS)}; {advice}"
        )
    return name, METRICS[name]


class Bin(NamedTuple):
    """The images whose highest probability lies in [low, high); the last bin has 1, too.

    Attributes:
        low: in 0..1.
        high: in 0..1.
        images: number of images.
        confidence: mean of their highest probability, 0..1; None without images.
        accuracy: share of them whose class is right, 0..1; None without images.
    """

    low: float
    high: float
    images: int
    confidence: float | None
    accuracy: float | None


class Reliability(TypedDict):
    """The content of `reliability.json`: the bins, and the calibration error that follows from them, 0..1."""

    calibration_error: float | None
    bins: list[dict[str, float | int | None]]


class ChosenMetrics(ClassificationMetrics):
    """The metrics of a list, and the loss; see `ClassificationMetrics`.

    balanced_accuracy: mean of the classes' recall, in percent, over the classes that some image has.
    macro_f1: mean of the classes' F1, 0..1, over the classes that some image has or is given.
    auroc: mean over the classes of the area under one-against-the-rest ROC curves, 0..1, of classes that some images
        have and some have not. It keeps the probabilities of all images: 4 bytes an image and class.
    kappa: Cohen's, with quadratic weights, at most 1: for classes whose order is that of their labels, such as grades.
    calibration_error: expected calibration error, 0..1, with 15 bins of equal width (arXiv 1706.04599, equation 3).
    """

    shares: list[Tensor]  # torchmetrics joins them into one tensor

    def __init__(self, names: Sequence[str]) -> None:
        super().__init__()
        self.names = tuple(names)
        # of each image, in the order of `outcomes`, its probabilities [n, C], or the highest alone [n, 1]
        self.add_state("shares", [], dist_reduce_fx="cat")

    def update(self, logits: Tensor, labels: Tensor, index: Tensor) -> None:
        """Adds a batch: logits [B, C], int64 labels [B] in [0, C), int64 index [B], -1 for padding."""
        super().update(logits, labels, index)
        if {"auroc", "calibration_error"} & set(self.names):
            shares = logits.float().softmax(1)
            self.shares.append(shares if "auroc" in self.names else shares.amax(1, keepdim=True))

    def compute(self) -> dict[str, Tensor]:
        """Returns scalars in the order of the list, then `loss`: accuracies in percent, the others as they are."""
        usual, (pairs, shares) = super().compute(), self._joined()
        found = {name: usual[name] for name in DEFAULT}
        for name, value in measured(self.names, pairs, shares).items():
            found[name] = torch.tensor(value, dtype=torch.float64, device=self.sums.device)
        return {**{name: found[name] for name in self.names}, "loss": usual["loss"]}

    def reliability(self) -> list[Bin]:
        """Returns the bins of the calibration error over all processes; every process must call it."""
        with self.sync_context(dist_sync_fn=self.dist_sync_fn):
            return reliability_bins(*self._joined())

    def image_records(self, names: Sequence[str] = ()) -> ClassRecords:
        """Returns the images of all processes, each once; the metrics are those of the list."""
        with self.sync_context(dist_sync_fn=self.dist_sync_fn):
            shares = whole(self.shares, 1) if "auroc" in self.names else None
            return self._records(self.names, shares)

    def _joined(self) -> tuple[Tensor, Tensor]:
        """Returns class and prediction [n, 2] int64 and float64 probabilities [n, C] of the real images, on the CPU."""
        pairs, shares = (whole(parts, 2) for parts in (self.outcomes, self.shares))
        real = pairs[:, 0] >= 0
        return pairs[real].cpu(), (shares[real] if len(shares) else shares).cpu().double()


def measured(names: Sequence[str], pairs: Tensor, shares: Tensor) -> dict[str, float]:
    """Returns those metrics of `names` that are neither top-1 nor top-5; NaN without images.

    Args:
        names: of `METRICS`.
        pairs: [n, 2] int64, the class of each image and the predicted one.
        shares: [n, C] probabilities for `auroc`, at least the highest for `calibration_error`; else empty.
    """
    known = {
        "balanced_accuracy": lambda: balanced_accuracy(pairs),
        "macro_f1": lambda: macro_f1(pairs),
        "auroc": lambda: auroc(pairs, shares),
        "kappa": lambda: quadratic_kappa(pairs),
        "calibration_error": lambda: calibration_error(reliability_bins(pairs, shares)),
    }
    return {name: known[name]() if len(pairs) else torch.nan for name in names if name in known}


def balanced_accuracy(pairs: Tensor) -> float:
    """Returns the mean recall, 0 to 100, over the classes that some image has."""
    true, _, hits = _counts(pairs)
    return 100 * _mean((hits / true)[true > 0])


def macro_f1(pairs: Tensor) -> float:
    """Returns the mean F1, 0..1, over the classes that some image has or is given."""
    true, predicted, hits = _counts(pairs)
    return _mean((2 * hits / (true + predicted))[true + predicted > 0])


def quadratic_kappa(pairs: Tensor) -> float:
    """Returns 1 - the mean squared distance of class numbers over what independent ones would have; NaN if that is 0.

    Sums of integers, so that the order of the images does not matter.
    """
    true, predicted = pairs.T
    count = len(pairs)
    observed = int((true - predicted).square().sum()) * count
    expected = int((true.square() + predicted.square()).sum()) * count - 2 * int(true.sum()) * int(predicted.sum())
    return 1 - observed / expected if expected else torch.nan


def auroc(pairs: Tensor, shares: Tensor) -> float:
    """Returns the mean area under one-against-the-rest ROC curves, 0..1, over classes that divide the images."""
    counts = torch.bincount(pairs[:, 0], minlength=shares.shape[1])
    both = ((counts > 0) & (counts < len(pairs))).nonzero()[:, 0].tolist()
    areas = [binary_auroc(shares[:, label], (pairs[:, 0] == label).long()).double() for label in both]
    return _mean(torch.stack(areas)) if areas else torch.nan


def reliability_bins(pairs: Tensor, shares: Tensor) -> list[Bin]:
    """Returns 15 bins of equal width of the highest probability, with the images' confidence and accuracy."""
    highest, order = shares.amax(1).sort()  # sums of floats in one order, whatever the images' was
    right = (pairs[:, 0] == pairs[:, 1])[order].double()
    edges = torch.linspace(0, 1, NUM_BINS + 1, dtype=torch.float64)
    places = (torch.bucketize(highest, edges, right=True) - 1).clamp(0, NUM_BINS - 1)
    counts = torch.bincount(places, minlength=NUM_BINS)
    confidence, accuracy = (torch.bincount(places, values, NUM_BINS) / counts for values in (highest, right))
    rows = zip(
        edges.tolist(), edges[1:].tolist(), counts.tolist(), confidence.tolist(), accuracy.tolist(), strict=False
    )
    return [Bin(low, high, n, sure if n else None, hits if n else None) for low, high, n, sure, hits in rows]


def calibration_error(bins: Sequence[Bin]) -> float:
    """Returns the mean distance of confidence and accuracy over the images of the bins, 0..1."""
    total = sum(one.images for one in bins)
    gaps = (one.images * abs((one.accuracy or 0.0) - (one.confidence or 0.0)) for one in bins)
    return sum(gaps) / total if total else torch.nan


def reliability_json(bins: Sequence[Bin]) -> Reliability:
    """Returns the content of `reliability.json`."""
    error = calibration_error(bins)
    return {"calibration_error": None if error != error else error, "bins": [one._asdict() for one in bins]}


def _counts(pairs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Returns of each class how many images have it, are given it, and both; float64 [C]."""
    size = int(pairs.max()) + 1
    hits = pairs[pairs[:, 0] == pairs[:, 1], 0]
    true, predicted, both = (torch.bincount(part, minlength=size).double() for part in (*pairs.T, hits))
    return true, predicted, both


def _mean(values: Tensor) -> float:
    return values.mean().item()
