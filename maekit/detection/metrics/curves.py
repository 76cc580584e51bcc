"""`curves.json`: precision over recall of boxes and masks, of all classes together and of each."""

from collections.abc import Sequence
from typing import TypedDict

import numpy as np

from maekit.detection.metrics.coco_eval import PrecisionCurves

MOST_CLASSES = 100  # that are kept, those with the most objects


class ClassCurve(TypedDict):
    """One class: precision in 0..1 at the file's recalls, its best F1, and the score at which that is reached."""

    name: str
    objects: int
    precision: list[float]
    best_f1: float
    at_score: float


class Curves(TypedDict):
    """Boxes or masks at an IoU of 0.5: recalls in 0..1, mean precision over the classes with objects, the classes."""

    iou: float
    recall: list[float]
    precision: list[float]
    classes: list[ClassCurve]


def curves_json(names: Sequence[str], objects: Sequence[int], curves: PrecisionCurves) -> Curves:
    """Returns the curves of boxes or of masks as plain values.

    Args:
        names: one a class, in label order.
        objects: how many each class has.
        curves: of the evaluation.
    """
    recall = np.linspace(0, 1, len(curves.precision))
    seen = [label for label, count in enumerate(objects) if count]
    kept = sorted(sorted(seen, key=lambda label: -objects[label])[:MOST_CLASSES])
    mean = curves.precision[:, seen].mean(1) if seen else np.zeros_like(recall)
    classes = []
    for label in kept:
        precision = curves.precision[:, label]
        f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-12)
        best = int(f1.argmax())
        classes.append(
            ClassCurve(
                name=names[label],
                objects=objects[label],
                precision=_rounded(precision),
                best_f1=round(float(f1[best]), 4),
                at_score=round(float(curves.score[best, label]), 4),
            )
        )
    return Curves(iou=0.5, recall=_rounded(recall), precision=_rounded(mean), classes=classes)


def _rounded(values: np.ndarray) -> list[float]:
    return [round(value, 4) for value in values.tolist()]
