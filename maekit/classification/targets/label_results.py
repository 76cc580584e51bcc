"""What an evaluation found of each label: `labels.json`, and `per_class.json` as other tasks have it."""

import math
from collections.abc import Sequence
from typing import TypedDict

from torch import Tensor
from torchmetrics.functional.classification import binary_auroc, binary_average_precision

from maekit.base.per_class import ClassValue, PerClass, per_class_json
from maekit.classification.targets.metrics import LabelScores


class LabelRow(TypedDict):
    """One label: images that have it; shares in 0..1, None where there is nothing to measure."""

    name: str
    images: int
    ap: float | None
    auroc: float | None
    f1: float | None
    precision: float | None
    recall: float | None


class Labels(TypedDict):
    """The content of `labels.json`: the threshold, on how many images it was tuned and measured, and the labels."""

    threshold: float
    tuned_on: int
    measured_on: int
    labels: list[LabelRow]


def labels_json(names: Sequence[str], predicted: Tensor, truth: Tensor, scores: LabelScores) -> Labels:
    """Returns the content of `labels.json`.

    Args:
        names: one a label, in label order.
        predicted: probabilities [n, L] of all images.
        truth: [n, L], 1 for each label that an image has, else 0.
        scores: the threshold; F1, precision and recall are of the images that it was not tuned on.
    """
    rows = [_row(names[c], predicted[:, c], truth[:, c] > 0, scores) for c in range(len(names))]
    return Labels(threshold=scores.threshold, tuned_on=scores.tuned_on, measured_on=scores.measured_on, labels=rows)


def _row(name: str, predicted: Tensor, real: Tensor, scores: LabelScores) -> LabelRow:
    images, labels = int(real.sum()), real.long()
    there, both = images > 0, 0 < images < len(real)
    given, has = predicted[scores.measured] >= scores.threshold, real[scores.measured]
    hits, found, wanted = (int(part.sum()) for part in (given & has, given, has))
    return LabelRow(
        name=name,
        images=images,
        ap=binary_average_precision(predicted, labels).item() if there else None,
        auroc=binary_auroc(predicted, labels).item() if both else None,
        f1=_share(2 * hits, found + wanted) if wanted else None,
        precision=_share(hits, found),
        recall=_share(hits, wanted),
    )


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def per_label_json(labels: Labels) -> PerClass:
    """Returns the content of `per_class.json`: average precision and F1 of each label in percent."""
    rows = [
        ClassValue(row["name"], _percent(row["ap"]), _percent(row["f1"]), row["images"]) for row in labels["labels"]
    ]
    return per_class_json("AP", "F1", rows)


def _percent(share: float | None) -> float:
    return math.nan if share is None else 100 * share
