"""Top-1, top-5, mean loss and mistakes, exact under any split of the images over batches and processes."""

from collections.abc import Sequence
from typing import NamedTuple, NotRequired, TypedDict

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from torchmetrics import Metric

from maekit.base.per_class import ClassValue, PerClass, per_class_json

WHOLE_MATRIX, MOST_PAIRS = 100, 100  # classes of a matrix that is kept whole; pairs that are kept of a larger one
_LOSS_UNIT = 2.0**-24  # integer sums do not depend on their order, and every device has them


class Outcome(NamedTuple):
    """How many images of one class were predicted as one class, which may be the same.

    Attributes:
        true: the class, 0 to C-1.
        predicted: the class with the highest logit.
        images: number of images.
    """

    true: int
    predicted: int
    images: int


class ClassificationMetrics(Metric):
    """Counts each image once: top-1 and top-5 in percent, as the papers print them (83.664), and the mean loss.

    A row whose index is below 0 is padding and is not counted. `compute()` joins all processes; every process must
    call it. Sums are integers (the fp32 cross entropy of an image in units of 2^-24), so any split of the same logits
    gives the same bits. The loss is NaN if that of any image is not finite; everything is NaN if there was no image.
    """

    full_state_update = False
    sums: Tensor
    outcomes: list[Tensor]  # torchmetrics joins them into one tensor

    def __init__(self) -> None:
        super().__init__()
        # images, top-1 hits, top-5 hits, loss, images whose loss is not finite
        self.add_state("sums", torch.zeros(5, dtype=torch.int64), dist_reduce_fx="sum")
        # of each image its class and the predicted one, [n, 2], -1 for padding: a matrix of 8,142 classes would be half
        # a gigabyte
        self.add_state("outcomes", [], dist_reduce_fx="cat")

    def update(self, logits: Tensor, labels: Tensor, index: Tensor) -> None:
        """Adds a batch: logits [B, C], int64 labels [B] in [0, C), int64 index [B], -1 for padding.

        Top-5 is top-C where there are fewer than 5 classes.
        """
        real, logits = index >= 0, logits.float()  # rows are weighted, not selected: a selection waits for the device
        labels = labels.long().where(real, 0)
        best = logits.topk(min(5, logits.shape[1])).indices
        hits = best == labels[:, None]
        loss = cross_entropy(logits, labels, reduction="none")
        finite = loss.isfinite()
        units = (loss.where(finite, 0.0) / _LOSS_UNIT).round().long()
        counts = [torch.ones_like(labels), hits[:, 0], hits.any(1), units, ~finite]
        self.sums += torch.stack([(count.long() * real).sum() for count in counts])
        self.outcomes.append(torch.stack([labels, best[:, 0]], dim=1).where(real[:, None], -1))

    def compute(self) -> dict[str, Tensor]:
        """Returns float scalars: `top1` and `top5` in percent (0 to 100), `loss` in nats per image."""
        images, top1, top5, loss, bad = self.sums
        mean_loss = (loss / images * _LOSS_UNIT).where(bad == 0, torch.nan)
        return {"top1": 100 * top1 / images, "top5": 100 * top5 / images, "loss": mean_loss}

    def outcome_counts(self) -> list[Outcome]:
        """Returns the outcomes of all processes that happened at least once; every process must call it."""
        with self.sync_context(dist_sync_fn=self.dist_sync_fn):
            parts = self.outcomes if isinstance(self.outcomes, list) else [self.outcomes]
            if not parts:
                return []
            pairs, counts = torch.unique(torch.cat(parts), dim=0, return_counts=True)
            rows = torch.cat([pairs, counts[:, None]], dim=1).tolist()
            return [Outcome(*row) for row in rows if row[0] >= 0]


class Mistake(TypedDict):
    """A pair of classes: images of `true` that were predicted as `predicted`."""

    true: int
    predicted: int
    count: int


class Confusion(TypedDict):
    """The content of `confusion.json`, either `counts` [true][predicted] or the most frequent `pairs`."""

    classes: list[str]
    counts: NotRequired[list[list[int]]]
    pairs: NotRequired[list[Mistake]]


def confusion_json(names: Sequence[str], outcomes: Sequence[Outcome]) -> Confusion:
    """Returns the content of `confusion.json`: which classes were predicted for which.

    For up to 100 classes this is the matrix `counts`, one row a true class; for more it is `pairs`, the 100 most
    frequent mistakes.

    Args:
        names: one a class, in label order.
        outcomes: see `ClassificationMetrics.outcome_counts`.
    """
    if len(names) <= WHOLE_MATRIX:
        counts = [[0] * len(names) for _ in names]
        for true, predicted, images in outcomes:
            counts[true][predicted] = images
        return {"classes": list(names), "counts": counts}
    mistakes = sorted((o for o in outcomes if o.true != o.predicted), key=lambda o: (-o.images, o.true, o.predicted))
    pairs: list[Mistake] = [
        {"true": o.true, "predicted": o.predicted, "count": o.images} for o in mistakes[:MOST_PAIRS]
    ]
    return {"classes": list(names), "pairs": pairs}


def class_json(names: Sequence[str], outcomes: Sequence[Outcome]) -> PerClass:
    """Returns the content of `per_class.json`: the top-1 of each class in percent.

    Args:
        names: one a class, in label order.
        outcomes: see `ClassificationMetrics.outcome_counts`.
    """
    seen, hits = [0] * len(names), [0] * len(names)
    for true, predicted, images in outcomes:
        seen[true] += images
        hits[true] += images * (true == predicted)
    values = [100 * hit / images if images else float("nan") for hit, images in zip(hits, seen, strict=True)]
    rows = [ClassValue(name, value, None, images) for name, value, images in zip(names, values, seen, strict=True)]
    return per_class_json("top1", None, rows)
