"""Folds of a cross-validation: which part a run is validated on, values over the folds, and folds without a run."""

import re
import statistics
from collections.abc import Iterable
from typing import NamedTuple

from maekit.errors import UserError


class Fold(NamedTuple):
    """One of so many parts: `number`, from 1, is validated on, the others are trained on."""

    number: int
    parts: int

    def __str__(self) -> str:
        """Returns the fold as flags have it, such as `2/5`."""
        return f"{self.number}/{self.parts}"


def parse_fold(text: str) -> Fold:
    """Reads `2/5`: the second of five folds.

    Raises:
        UserError: it has another form, or there is no such fold.
    """
    found = re.fullmatch(r"\s*(\d+)\s*/\s*(\d+)\s*", text)
    fold = Fold(int(found[1]), int(found[2])) if found else Fold(0, 0)
    if fold.parts < 2 or not 1 <= fold.number <= fold.parts:
        raise UserError(f"data.fold: got {text!r}, expected one such as 2/5, the second of five folds")
    return fold


def all_folds(parts: int) -> tuple[str, ...]:
    """Returns each of so many folds, as `1/5`."""
    return tuple(str(Fold(number, parts)) for number in range(1, parts + 1))


def missing_folds(known: Iterable[str], parts: int) -> list[str]:
    """Returns the folds that are not among the known ones, as `1/5`."""
    there = set(known)
    return [fold for fold in all_folds(parts) if fold not in there]


def fold_means(values: Iterable[tuple[str, float]]) -> dict[str, float]:
    """Returns the mean of each fold's values, which are those of its seeds, in the order of the folds.

    Args:
        values: fold, as `1/5`, and value of each run.
    """
    found: dict[str, list[float]] = {}
    for fold, value in values:
        found.setdefault(fold, []).append(value)
    return {fold: statistics.fmean(found[fold]) for fold in sorted(found, key=parse_fold)}
