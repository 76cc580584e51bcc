"""mIoU, mAcc and aAcc of semantic segmentation, exact under any split of the images, and a table of the classes."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torchmetrics import Metric

from maekit.base.per_class import ClassValue, PerClass, per_class_json
from maekit.errors import UserError
from maekit.segmentation.records import PixelRecords

_WRONG = -(2**50)  # instead of a count; negative also in the sum of many processes


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
    outside: Tensor
    images: list[Tensor]  # torchmetrics joins them into one tensor

    def __init__(self, num_classes: int, ignore: int = 255) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.ignore = ignore
        # rows: labels, columns: predictions
        self.add_state("confusion", torch.zeros(num_classes, num_classes, dtype=torch.int64), dist_reduce_fx="sum")
        # of each image its place in the listing, then of each class the pixels that have it and are predicted as it,
        # that have it, that are predicted as it, [1, 1 + 3 C]; int32 holds images of up to 46,000 x 46,000 pixels
        self.add_state("images", [], dist_reduce_fx="cat")
        self.register_buffer("outside", torch.zeros(4, dtype=torch.int64), persistent=False)  # see `PixelCounts`

    def update(self, predicted: Tensor, label: Tensor, index: int = -1) -> None:
        """Adds one image or several: predictions and labels, integers of the same shape such as [h, w].

        An accelerator is not waited for: there `compute` raises what `update` raises on a CPU for a wrong label.

        Args:
            predicted: class of each pixel.
            label: likewise, or `ignore`.
            index: the image's place in the listing, for `image_records`; below 0 none is made.

        Raises:
            UserError: the shapes differ, or a counted pixel has a label or a prediction outside 0 to C-1.
        """
        if predicted.shape != label.shape:
            raise UserError(
                f"got predictions of {tuple(predicted.shape)} pixels for labels of {tuple(label.shape)}, expected one "
                "size; predict at the label file's own size"
            )
        if label.numel() == 0:
            return
        counts = count_pixels(predicted, label, self.num_classes, self.ignore)
        if label.device.type == "cpu":
            refuse_outside(counts.outside.tolist(), self.num_classes, self.ignore)
        self.outside = torch.maximum(self.outside, counts.outside)
        self.confusion += counts.confusion
        matrix = counts.confusion
        sums = torch.cat([matrix.diagonal(), matrix.sum(1), matrix.sum(0)]).int()
        # also without an index: processes join their states only where each has some
        self.images.append(torch.cat([torch.full_like(sums[:1], index), sums])[None])
        first = self.confusion[0, 0]
        first.copy_(torch.where((self.outside > 0).any(), _WRONG, first))  # seen by every process that joins

    def reset(self) -> None:
        """Starts anew, with no image."""
        super().reset()
        self.outside.zero_()

    def compute(self) -> dict[str, Tensor]:
        """Returns float scalars in percent, 0 to 100: `mIoU`, `mAcc`, `aAcc`. Every process must call it.

        Raises:
            UserError: no pixel was counted, so that nothing was measured; or see `update`.
        """
        joined = torch.stack([self.confusion.min(), self.confusion.sum()])
        *outside, least, counted = torch.cat([self.outside, joined]).tolist()
        refuse_outside(outside, self.num_classes, self.ignore)
        if least < 0:
            raise UserError("another process got a label or a prediction that is no class; see what it says")
        if not counted:
            advice = "give validation images with label maps in which classes occur (`maekit data check` looks at them)"
            raise UserError(f"val/mIoU is nan: every pixel of the validation label maps is ignored; {advice}")
        iou, acc = iou_and_acc(self.confusion)
        right = self.confusion.diagonal().sum() / self.confusion.sum()
        return {"mIoU": iou.nanmean(), "mAcc": acc.nanmean(), "aAcc": 100 * right}

    def per_class(self) -> list[ClassScore]:
        """Returns the scores of each class, in label order, over all processes; every process must call it."""
        with self.sync_context(dist_sync_fn=self.dist_sync_fn):
            confusion = self.confusion.cpu()
        most, where = confusion.clone().fill_diagonal_(0).max(1)
        columns = [column.tolist() for column in (*iou_and_acc(confusion), confusion.sum(1), where, most)]
        return [
            ClassScore(i, a, pixels, other if count else None, 100 * count / max(pixels, 1))
            for i, a, pixels, other, count in zip(*columns, strict=True)
        ]

    def image_records(self, names: Sequence[str]) -> PixelRecords:
        """Returns the images of all processes, each once, with the classes' names; every process must call it."""
        with self.sync_context(dist_sync_fn=self.dist_sync_fn):
            rows: Any = self.images  # a list, or one tensor where processes have joined theirs
            empty = self.confusion.new_zeros(0, 1 + 3 * self.num_classes)
            found = (torch.cat([empty, *rows]) if isinstance(rows, list) else rows).cpu().long().numpy()
        found = found[found[:, 0] >= 0]
        found = found[np.unique(found[:, 0], return_index=True)[1]]
        return PixelRecords(found[:, 0], found[:, 1:].reshape(len(found), 3, self.num_classes), names)

    def whole_confusion(self) -> list[list[int]]:
        """Returns the pixels [C][C] of all processes by label and prediction; every process must call it."""
        with self.sync_context(dist_sync_fn=self.dist_sync_fn):
            counts: list[list[int]] = self.confusion.tolist()
            return counts


class PixelCounts(NamedTuple):
    """The pixels of an image, or of several.

    Attributes:
        confusion: int64 [C, C], rows are labels and columns predictions; pixels outside 0 to C-1 are left out.
        outside: int64 [4], by how much the lowest label is below 0 and the highest above C-1, and the same of
            predictions; 0 or less where they are inside.
    """

    confusion: Tensor
    outside: Tensor


def count_pixels(predicted: Tensor, label: Tensor, num_classes: int, ignore: int = 255) -> PixelCounts:
    """Counts predictions by label, both integers of one shape with at least one pixel, without a wait for a device."""
    real = label != ignore
    # Ignored pixels get a cell of their own, which is several times as fast as selecting the others.
    label, predicted = (torch.where(real, values.long(), 0) for values in (label, predicted))
    (low, high), (lowest, highest), top = label.aminmax(), predicted.aminmax(), num_classes - 1
    inside = (label >= 0) & (label < num_classes) & (predicted >= 0) & (predicted < num_classes)
    num_cells = num_classes**2
    cells = torch.where(real & inside, label * num_classes + predicted, num_cells).flatten()
    counts = cells.new_zeros(num_cells + 1).scatter_add_(0, cells, torch.ones_like(cells))
    return PixelCounts(
        counts[:-1].view(num_classes, num_classes), torch.stack([-low, high - top, -lowest, highest - top])
    )


def refuse_outside(outside: Sequence[int], num_classes: int, ignore: int = 255) -> None:
    """Raises a UserError where one of `PixelCounts.outside` is above 0."""
    for what, below, above in zip(("label", "prediction"), outside[::2], outside[1::2], strict=True):
        if below > 0 or above > 0:
            value, top = -below if below > 0 else num_classes - 1 + above, num_classes - 1
            raise UserError(
                f"got {what} {value}, expected 0 to {top} or {ignore} where a pixel is ignored; check that labels and "
                "model have the same classes"
            )


def iou_and_acc(confusion: Tensor) -> tuple[Tensor, Tensor]:
    """Returns IoU and accuracy [C] in percent of counts [C, C] by label and prediction; 0/0 is NaN."""
    both, labelled, predicted = confusion.diagonal(), confusion.sum(1), confusion.sum(0)
    return 100 * both / (labelled + predicted - both), 100 * both / labelled


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
    both = count_pixels(predicted, label, num_classes)
    read = torch.cat([both.outside, both.confusion.flatten()]).cpu()
    refuse_outside(read[:4].tolist(), num_classes)
    counts = read[4:].view_as(both.confusion)
    iou = iou_and_acc(counts)[0]
    return ImageScore(float(iou.nanmean()), float(100 * counts.diagonal().sum() / counts.sum()))


def class_json(names: Sequence[str], metrics: SegmentationMetrics) -> PerClass:
    """Returns the IoU and accuracy of each class, as `per_class.json` keeps them.

    Args:
        names: one a class, in label order.
        metrics: filled; every process must call this.
    """
    images = metrics.image_records(names).images_with()
    rows = [
        ClassValue(name, score.iou, score.acc, count, *_taken(names, score))
        for name, score, count in zip(names, metrics.per_class(), images, strict=True)
    ]
    return per_class_json("IoU", "Acc", rows)


def _taken(names: Sequence[str], score: ClassScore) -> tuple[str | None, float | None]:
    if score.mistaken_for is None or not score.pixels:
        return None, None
    return names[score.mistaken_for], score.mistaken


def _row(names: Sequence[str], label: int, score: ClassScore, width: int) -> str:
    acc = "-" if math.isnan(score.acc) else f"{score.acc:.2f}"
    taken = "" if score.mistaken_for is None else f"{names[score.mistaken_for]} ({score.mistaken:.1f} %)"
    line = f"{label:>5}  {names[label]:<{width}}  {score.iou:>6.2f}  {acc:>6}  {score.pixels:>13,}  {taken}"
    return line.rstrip()
