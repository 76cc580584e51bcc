"""mIoU, mAcc and aAcc of semantic segmentation, exact under any split of the images, and a table of the classes."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torchmetrics import Metric

from maekit.base.per_class import ClassValue, PerClass, per_class_json
from maekit.errors import UserError


class ClassScore(NamedTuple):
    """The scores of one class over all images.

    Attributes:
        iou: intersection over union in percent; NaN if neither labels nor predictions have the class.
        acc: share of the class's pixels that were predicted as it, in percent; NaN if no label has the class.
        pixels: number of pixels labelled with the class.
        mistaken_for: the class most often predicted instead, or None if there is none.
        mistaken: share of its pixels that were predicted as `mistaken_for`, in percent.
    """

    iou: float
    acc: float
    pixels: int
    mistaken_for: int | None = None
    mistaken: float = 0.0


class SegmentationMetrics(Metric):
    """Counts pixels in a confusion matrix of labels and predictions, summed over all images before any division.

    The values are those of mmsegmentation's IoUMetric: mIoU is the mean over the classes that occur in a label or a
    prediction, mAcc the mean over the classes that occur in a label, aAcc the share of correct pixels. Counts are
    integers, so any split of the same images over batches and processes gives the same bits.

    Args:
        num_classes: C, at most 255.
        ignore: the label of pixels that are not counted, whatever is predicted there.
    """

    full_state_update = False
    confusion: Tensor

    def __init__(self, num_classes: int, ignore: int = 255) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.ignore = ignore
        # rows: labels, columns: predictions
        self.add_state("confusion", torch.zeros(num_classes, num_classes, dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, predicted: Tensor, label: Tensor) -> None:
        """Adds one image or several: predictions and labels, integers of the same shape such as [h, w].

        Raises:
            UserError: the shapes differ, or a counted pixel has a label or a prediction outside 0 to C-1.
        """
        if predicted.shape != label.shape:
            raise UserError(
                f"got predictions of {tuple(predicted.shape)} pixels for labels of {tuple(label.shape)}, expected one "
                "size; predict at the label file's own size"
            )
        real = label != self.ignore
        # Ignored pixels get a cell of their own, which is several times as fast as selecting the others.
        label, predicted = (torch.where(real, values.long(), 0) for values in (label, predicted))
        self._refuse_outside("label", label)
        self._refuse_outside("prediction", predicted)
        num_cells = self.num_classes**2
        cells = torch.where(real, label * self.num_classes + predicted, num_cells)
        self.confusion += cells.flatten().bincount(minlength=num_cells + 1)[:-1].view_as(self.confusion)

    def compute(self) -> dict[str, Tensor]:
        """Returns float scalars in percent, 0 to 100: `mIoU`, `mAcc`, `aAcc`. Every process must call it.

        Raises:
            UserError: no pixel was counted, so that nothing was measured.
        """
        if not self.confusion.any():
            advice = "give validation images with label maps in which classes occur (`maekit data check` looks at them)"
            raise UserError(f"val/mIoU is nan: every pixel of the validation label maps is ignored; {advice}")
        iou, acc = self.iou_and_acc()
        right = self.confusion.diagonal().sum() / self.confusion.sum()
        return {"mIoU": iou.nanmean(), "mAcc": acc.nanmean(), "aAcc": 100 * right}

    def per_class(self) -> list[ClassScore]:
        """Returns the scores of each class, in label order, over all processes; every process must call it."""
        with self.sync_context(dist_sync_fn=self.dist_sync_fn):
            iou, acc = self.iou_and_acc()
            wrong = self.confusion.clone().fill_diagonal_(0)
            labelled = self.confusion.sum(1)
            most, where = wrong.max(1)
            columns = [column.tolist() for column in (iou, acc, labelled, where, most)]
        return [
            ClassScore(i, a, pixels, other if count else None, 100 * count / max(pixels, 1))
            for i, a, pixels, other, count in zip(*columns, strict=True)
        ]

    def iou_and_acc(self) -> tuple[Tensor, Tensor]:
        """Returns IoU and accuracy [C] in percent of this process's images; 0/0 is NaN."""
        both, labelled, predicted = self.confusion.diagonal(), self.confusion.sum(1), self.confusion.sum(0)
        return 100 * both / (labelled + predicted - both), 100 * both / labelled

    def _refuse_outside(self, what: str, values: Tensor) -> None:
        if values.numel() == 0:
            return
        low, high = (int(bound) for bound in values.aminmax())
        if low < 0 or high >= self.num_classes:
            raise UserError(
                f"got {what} {low if low < 0 else high}, expected 0 to {self.num_classes - 1} or {self.ignore} where a "
                "pixel is ignored; check that labels and model have the same classes"
            )


def class_table(names: Sequence[str], metrics: SegmentationMetrics) -> list[str]:
    """Returns the lines of a table of all classes, the worst IoU first, then the classes the means leave out.

    Args:
        names: one a class, in label order.
        metrics: filled; every process must call this.
    """
    scores = metrics.per_class()
    width = max(len("class"), *(len(name) for name in names))
    seen = [label for label, score in enumerate(scores) if not math.isnan(score.iou)]
    rows = [_row(names, label, scores[label], width) for label in sorted(seen, key=lambda label: scores[label].iou)]
    absent = [f"{names[label]} ({label})" for label in range(len(scores)) if label not in seen]
    header = f"{'label':>5}  {'class':<{width}}  {'IoU':>6}  {'Acc':>6}  {'pixels':>13}  most often taken for"
    left_out = [f"in no label and no prediction, so left out of the means: {', '.join(absent)}"] if absent else []
    return [header, *rows, *left_out]


class ImageScore(NamedTuple):
    """The scores of one image.

    Attributes:
        miou: mean IoU, in percent, of the classes that occur in its label or prediction.
        right: share of its counted pixels that are correct, in percent.
    """

    miou: float
    right: float


def image_score(predicted: Tensor, label: Tensor, num_classes: int) -> ImageScore:
    """Returns the scores of one image, NaN if every pixel is ignored. It does not communicate with other processes.

    Args:
        predicted: integers [h, w].
        label: integers [h, w], 255 is ignored.
        num_classes: C.
    """
    metrics = SegmentationMetrics(num_classes).to(label.device)
    metrics.update(predicted, label)
    iou, counts = metrics.iou_and_acc()[0], metrics.confusion
    return ImageScore(float(iou.nanmean()), float(100 * counts.diagonal().sum() / counts.sum()))


def class_json(names: Sequence[str], metrics: SegmentationMetrics) -> PerClass:
    """Returns the IoU and accuracy of each class, as `per_class.json` keeps them.

    Args:
        names: one a class, in label order.
        metrics: filled; every process must call this.
    """
    rows = [ClassValue(name, score.iou, score.acc) for name, score in zip(names, metrics.per_class(), strict=True)]
    return per_class_json("IoU", "Acc", rows)


def _row(names: Sequence[str], label: int, score: ClassScore, width: int) -> str:
    acc = "-" if math.isnan(score.acc) else f"{score.acc:.2f}"
    taken = "" if score.mistaken_for is None else f"{names[score.mistaken_for]} ({score.mistaken:.1f} %)"
    line = f"{label:>5}  {names[label]:<{width}}  {score.iou:>6.2f}  {acc:>6}  {score.pixels:>13,}  {taken}"
    return line.rstrip()
