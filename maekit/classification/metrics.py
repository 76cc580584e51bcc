"""Top-1, top-5, mean loss and mistakes, exact under any split of the images over batches and processes."""

from collections.abc import Sequence
from typing import NamedTuple, NotRequired, TypedDict

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from torchmetrics import Metric

from maekit.base.per_class import ClassValue, PerClass, per_class_json
from maekit.classification.records import ClassRecords

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
    places: list[Tensor]
    judged: list[Tensor]

    def __init__(self) -> None:
        super().__init__()
        # images, top-1 hits, top-5 hits, loss, images whose loss is not finite
        self.add_state("sums", torch.zeros(5, dtype=torch.int64), dist_reduce_fx="sum")
        # of each image its class and the predicted one, [n, 2], -1 for padding: a matrix of 8,142 classes would be half
        # a gigabyte
        self.add_state("outcomes", [], dist_reduce_fx="cat")
        # of each image, in the order of `outcomes`: its place in the listing, and whether it is a top-5 hit, [n, 2];
        # and in `judged` the probabilities of the predicted class and of its own, and its loss, [n, 3]
        self.add_state("places", [], dist_reduce_fx="cat")
        self.add_state("judged", [], dist_reduce_fx="cat")

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
        self.places.append(torch.stack([index, hits.any(1)], dim=1).where(real[:, None], -1))
        shares = logits.softmax(1).gather(1, torch.stack([best[:, 0], labels], dim=1))
        self.judged.append(torch.cat([shares, loss[:, None]], dim=1))

    def compute(self) -> dict[str, Tensor]:
        """Returns float scalars: `top1` and `top5` in percent (0 to 100), `loss` in nats per image."""
        images, top1, top5, loss, bad = self.sums
        mean_loss = (loss / images * _LOSS_UNIT).where(bad == 0, torch.nan)
        return {"top1": 100 * top1 / images, "top5": 100 * top5 / images, "loss": mean_loss}

    def outcome_counts(self) -> list[Outcome]:
        """Returns the outcomes of all processes that happened at least once; every process must call it."""
        with self.sync_context(dist_sync_fn=self.dist_sync_fn):
            pairs, counts = torch.unique(whole(self.outcomes, 2), dim=0, return_counts=True)
            rows = torch.cat([pairs, counts[:, None]], dim=1).tolist()
            return [Outcome(*row) for row in rows if row[0] >= 0]

    def image_records(self, names: Sequence[str] = ("top1", "top5")) -> ClassRecords:
        """Returns the images of all processes, each once, and which metrics are asked; every process must call it."""
        with self.sync_context(dist_sync_fn=self.dist_sync_fn):
            return self._records(names)

    def _records(self, names: Sequence[str], shares: Tensor | None = None) -> ClassRecords:
        """Returns the images of joined states; `shares` [n, C] in the order of `outcomes`."""
        places, pairs = (whole(part, 2).cpu() for part in (self.places, self.outcomes))
        judged, order = whole(self.judged, 3).cpu().double(), places[:, 0].argsort(stable=True)
        order = order[places[order, 0] >= 0]
        every = None if shares is None else shares.cpu().double()[order].numpy()
        (index, top5), judged = places[order].T.numpy(), judged[order]
        return ClassRecords(index, pairs[order].numpy(), judged.numpy(), top5, names, every)


def whole(parts: "list[Tensor] | Tensor", columns: int) -> Tensor:
    """Returns the rows [n, columns] of a state that torchmetrics has joined, or will join; int64 if there are none."""
    if isinstance(parts, Tensor):
        return parts
    return torch.cat(parts) if parts else torch.empty(0, columns, dtype=torch.int64)


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
    seen, hits, taken = [0] * len(names), [0] * len(names), [(0, -1)] * len(names)
    for true, predicted, images in outcomes:
        seen[true] += images
        hits[true] += images * (true == predicted)
        if true != predicted and images > taken[true][0]:
            taken[true] = images, predicted
    rows = []
    for name, images, hit, (often, other) in zip(names, seen, hits, taken, strict=True):
        value = 100 * hit / images if images else float("nan")
        mistake = (names[other], 100 * often / images) if often else (None, None)
        rows.append(ClassValue(name, value, None, images, *mistake))
    return per_class_json("top1", None, rows)
