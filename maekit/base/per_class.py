"""`per_class.json`: what an evaluation found of each class."""

import math
from collections.abc import Sequence
from typing import NamedTuple, TypedDict


class ClassValue(NamedTuple):
    """One class.

    Attributes:
        name: for people to read.
        value: in percent, 0 to 100; nan where there is nothing to measure.
        more: a second such value, or None where the task has none.
        images: evaluated images that have the class, or None where that is not known.
        taken_for: the class it is most often taken for, or None where it is for none.
        taken: the share of it that is taken for that one, in percent.
    """

    name: str
    value: float
    more: float | None = None
    images: int | None = None
    taken_for: str | None = None
    taken: float | None = None


class ClassRow(TypedDict):
    """One class in `per_class.json`: the attributes of `ClassValue`, None for nan."""

    name: str
    value: float | None
    more: float | None
    images: int | None
    taken_for: str | None
    taken: float | None


class PerClass(TypedDict):
    """The content of `per_class.json`: names of the two values of each class, and the classes in label order."""

    metric: str
    more: str | None
    classes: list[ClassRow]


def per_class_json(metric: str, more: str | None, rows: Sequence[ClassValue]) -> PerClass:
    """Returns plain values for a JSON file, null where a value is nan.

    Args:
        metric: what the values are, such as `IoU`.
        more: what the second values are, or None where there are none.
        rows: one a class, in label order.
    """
    classes = [
        ClassRow(
            name=row.name,
            value=_finite(row.value),
            more=_finite(row.more),
            images=row.images,
            taken_for=row.taken_for,
            taken=_finite(row.taken),
        )
        for row in rows
    ]
    return PerClass(metric=metric, more=more, classes=classes)


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
