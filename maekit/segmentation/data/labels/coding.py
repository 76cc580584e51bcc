"""The meaning of the values in label maps: which value is which class, and which pixels are not counted."""

from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from maekit.errors import UserError

IGNORED, MAX_VALUE = 255, 65_535


class Coding(NamedTuple):
    """Which value in a label map is which class.

    Attributes:
        num_classes: 2 to 254.
        reduce_zero_label: 0 is unlabelled and the classes start at 1, as in ADE20K; otherwise they start at 0.
        values: the value of each class in label order; empty where the classes are numbered consecutively.
    """

    num_classes: int
    reduce_zero_label: bool
    values: tuple[int, ...] = ()

    @property
    def classes(self) -> tuple[int, ...]:
        """The value of each class, in label order."""
        first = int(self.reduce_zero_label)
        return self.values or tuple(range(first, first + self.num_classes))

    @property
    def uncounted(self) -> frozenset[int]:
        """The values of pixels that are not counted."""
        return frozenset({IGNORED, *([0] if self.reduce_zero_label else [])}) - set(self.values)

    def describe(self) -> str:
        """Returns text for the values a file may hold."""
        if self.values:
            ignored = f", {IGNORED} ignored" if IGNORED in self.uncounted else ""
            return f"{', '.join(map(str, self.values))} the classes{ignored}"
        classes = f"{self.classes[0]} to {self.classes[-1]} the classes"
        return f"{'0 unlabelled, ' if self.reduce_zero_label else ''}{classes}, {IGNORED} ignored"

    def unexpected(self, present: np.ndarray) -> list[int]:
        """Returns those of the sorted values that are neither a class nor ignored."""
        known = {*self.classes, *self.uncounted}
        return [value for value in present.tolist() if value not in known]

    def labels(self, values: np.ndarray) -> np.ndarray:
        """Returns labels 0..C-1, and 255 for pixels that are not counted, [H, W] uint8; all values must be expected."""
        if not (self.reduce_zero_label or self.values):
            return values.astype(np.uint8)
        return np.asarray(_table(self)[values])


def valued(values: Sequence[int], num_classes: int, reduce_zero_label: object) -> Coding:
    """Returns the coding of classes whose values are given.

    Args:
        values: one a class, in label order.
        num_classes: number of class names.
        reduce_zero_label: `data.reduce_zero_label`, which must not be true.

    Raises:
        UserError: too few or too many values, one occurs twice, or one is outside 16 bits.
    """
    if len(values) != num_classes or len(set(values)) < num_classes:
        raise UserError(f"data.label_values: got {list(values)}, expected {num_classes} different ones, one a class")
    if min(values) < 0 or max(values) > MAX_VALUE:
        raise UserError(f"data.label_values: got {list(values)}, expected values of 0 to {MAX_VALUE:,}")
    if reduce_zero_label is True:
        raise UserError("got data.label_values with data.reduce_zero_label true, expected one of the two")
    return Coding(num_classes, reduce_zero_label=False, values=tuple(values))


@lru_cache
def _table(coding: Coding) -> np.ndarray:
    table = np.full(max(IGNORED, *coding.classes) + 1, IGNORED, np.uint8)
    table[list(coding.classes)] = np.arange(coding.num_classes)
    return table


def listed(values: Iterable[int], most: int = 8) -> str:
    """Returns values as text, consecutive ones as a range: `0 to 7, 255`; of many ranges the first and the last."""
    runs: list[list[int]] = []
    for value in sorted(values):
        if runs and value == runs[-1][-1] + 1:
            runs[-1].append(value)
        else:
            runs.append([value])
    words = [f"{run[0]} to {run[-1]}" if len(run) > 2 else ", ".join(map(str, run)) for run in runs]
    return ", ".join(words) if len(words) <= most else f"{', '.join(words[: most - 1])}, ... {words[-1]}"
