"""Two cells of a study, seed by seed or fold by fold."""

import math
from collections.abc import Hashable, Mapping
from typing import NamedTuple

from maekit.report import limits
from maekit.report.significance import Difference, difference
from maekit.study.results import CellResult
from maekit.study.saved import Study
from maekit.system.numbers import number, plural


class Lead(NamedTuple):
    """How far one cell is better than another.

    Attributes:
        difference: of their metrics, turned so that more is better; None where a side has fewer than two runs.
        ahead: of their means, likewise.
        repeat: `seed` or `fold`.
    """

    difference: Difference | None
    ahead: float
    repeat: str

    @property
    def is_clear(self) -> bool:
        """Whether the difference is larger than its noise, in either direction."""
        found = self.difference
        return found is not None and found.size >= limits.PAIRS and found.is_clear

    def words(self) -> str:
        """`95 % interval 0.3 to 1.7 over 3 seeds of both`; empty where no interval is known."""
        found = self.difference
        if found is None or found.size < limits.PAIRS:
            return ""
        many = plural(found.size, self.repeat) + (" of both" if found.paired else " of each at least")
        return f"95 % interval {number(found.low)} to {number(found.high)} over {many}"


def lead(study: Study, first: CellResult, second: CellResult) -> Lead:
    """How far `first` is better than `second`; both have a mean."""
    assert first.mean is not None
    assert second.mean is not None
    sign = 1.0 if study.definition.mode == "max" else -1.0
    folds = bool(first.by_fold and second.by_fold)
    found = difference(_values(first, sign, folds=folds), _values(second, sign, folds=folds))
    return Lead(found, sign * (first.mean - second.mean), "fold" if folds else "seed")


def seeds_needed(found: Difference) -> int | None:
    """How many seeds of both would show a difference of this size 4 times of 5; None where that is not known."""
    if not found.paired or not found.mean or not found.std:
        return None
    return max(limits.PAIRS, math.ceil((limits.POWER * found.std / found.mean) ** 2))


def _values(one: CellResult, sign: float, *, folds: bool) -> Mapping[Hashable, float]:
    values: Mapping[str, float] | Mapping[int, float] = one.by_fold if folds else one.by_seed
    return {key: sign * value for key, value in values.items()}
