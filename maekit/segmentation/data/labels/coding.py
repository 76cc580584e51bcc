"""What the values in label maps mean: which value is which class, and which pixels do not count."""

from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from maekit.errors import UserError

IGNORED, MAX_VALUE = 255, 65_535


class Coding(NamedTuple):
    """How label maps count.

    Attributes:
        num_classes: 2 to 254.
        reduce_zero_label: 0 is unlabelled and the classes start at 1, as in ADE20K; else they start at 0.
        values: the value of each class in label order, where the classes are not numbered one after the other; empty
            where they are.
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
        """The values of pixels that do not count."""
        return frozenset({IGNORED, *([0] if self.reduce_zero_label else [])}) - set(self.values)

    def describe(self) -> str:
        """Returns words for the values a file may hold."""
        if self.values:
            ignored = f", {IGNORED} ignored" if IGNORED in self.uncounted else ""
            return f"{', '.join(map(str, self.values))} the classes{ignored}"
        classes = f"{self.classes[0]} to {self.classes[-1]} the classes"
        return f"{'0 unlabelled, ' if self.reduce_zero_label else ''}{classes}, {IGNORED} ignored"

    def unexpected(self, present: np.ndarray) -> list[int]:
        """Returns those of the sorted values that stand for no class and are not ignored either."""
        known = {*self.classes, *self.uncounted}
        return [value for value in present.tolist() if value not in known]

    def labels(self, values: np.ndarray) -> np.ndarray:
        """Returns [H, W] uint8 of labels 0..C-1, 255 where a pixel does not count, of values that are all expected."""
        if not (self.reduce_zero_label or self.values):
            return values.astype(np.uint8)
        return np.asarray(_table(self)[values])


def valued(values: Sequence[int], num_classes: int, reduce_zero_label: object) -> Coding:
    """Returns the coding of classes whose values are given.

    Args:
        values: one a class, in label order.
        num_classes: how many names there are.
        reduce_zero_label: as it was given; true contradicts.

    Raises:
        UserError: too few or too many values, one stands twice, or one is no number of 16 bits.
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
    """Returns values for a message, neighbours together: `0 to 7, 255`; of many the first ones and the last."""
    runs: list[list[int]] = []
    for value in sorted(values):
        if runs and value == runs[-1][-1] + 1:
            runs[-1].append(value)
        else:
            runs.append([value])
    words = [f"{run[0]} to {run[-1]}" if len(run) > 2 else ", ".join(map(str, run)) for run in runs]
    return ", ".join(words) if len(words) <= most else f"{', '.join(words[: most - 1])}, ... {words[-1]}"
