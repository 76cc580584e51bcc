"""Precision over recall of a detector, of all classes together and of single ones."""

from pathlib import Path
from typing import TypedDict

from maekit.report.document import Block, LineChart, Series, Table

_MOST_CURVES, _MOST_ROWS = 6, 150
_WORDS = {"box": "boxes", "mask": "masks"}


class _Class(TypedDict):
    """One class: precision in 0..1 at the recalls, its best F1, and the score at which that is reached."""

    name: str
    objects: int
    precision: list[float]
    best_f1: float
    at_score: float


class _Curves(TypedDict):
    """Boxes or masks at one IoU."""

    iou: float
    recall: list[float]
    precision: list[float]
    classes: list[_Class]


def precision_blocks(found: dict[str, _Curves], _: Path) -> list[Block]:
    """The curves of `curves.json`: boxes and masks, then the classes with most objects, and each class's best F1."""
    means = [_series(_WORDS.get(kind, kind), one, one["precision"]) for kind, one in found.items()]
    boxes = next(iter(found.values()))
    iou = f"IoU {boxes['iou']:g}"
    blocks: list[Block] = [_chart("precision", f"Precision over recall, mean of the classes, {iou}", means)]
    every = sorted(boxes["classes"], key=lambda one: -int(one["objects"]))
    if len(every) > 1:
        few = every[:_MOST_CURVES]
        caption = f"The {len(few)} of {len(every)} classes with the most objects." if len(few) < len(every) else ""
        of_each = [_series(str(one["name"]), boxes, one["precision"]) for one in few]
        blocks.append(
            _chart("precision_classes", f"Precision over recall of each class, boxes, {iou}", of_each, caption)
        )
    rows = tuple((str(one["name"]), int(one["objects"]), one["best_f1"], one["at_score"]) for one in every[:_MOST_ROWS])
    note = "Boxes from that score on are right and complete in the best balance: a threshold to predict with."
    caption = f"Best F1 of each class, {iou}, and the score to reach it"
    blocks.append(Table("best_f1", ("class", "objects", "best F1", "at score"), rows, caption, note))
    return blocks


def _series(label: str, curves: _Curves, precision: list[float]) -> Series:
    return Series(label, tuple(zip(map(float, curves["recall"]), map(float, precision), strict=True)))


def _chart(name: str, title: str, series: list[Series], caption: str = "") -> LineChart:
    return LineChart(name, title, "recall", "precision", tuple(series), caption=caption)
