"""Range checks of settings; ranges are written as in mathematics: `[0, 1)` is 0 <= x < 1. Standard library only."""

import math
from collections.abc import Sequence

from maekit.errors import UserError


def check_range(key: str, value: float | None, interval: str) -> None:
    """Checks that a number lies in an interval. NaN lies in none; None is not checked.

    Args:
        key: the flag without its dashes, such as `model.drop_path`.
        value: the number.
        interval: `[low, high]`; a round bracket excludes that end, `inf` is no limit.

    Raises:
        UserError: the number is outside; names the key, the number and the interval.
    """
    if value is not None and not _contains(interval, value):
        raise UserError(f"{key}: got {value}, expected {_describe(interval)}")


def check_numbers(key: str, values: Sequence[float] | None, interval: str, count: int | None = None) -> None:
    """Checks that every number of a list lies in an interval, and that there are `count` of them. None is not checked.

    Raises:
        UserError: names the key, the list and what it should hold.
    """
    if values is None:
        return
    if (count is not None and len(values) != count) or not all(_contains(interval, value) for value in values):
        many = "" if count is None else f"{count} "
        raise UserError(f"{key}: got {list(values)}, expected {many}numbers, each {_describe(interval)}")


def _describe(interval: str) -> str:
    low, high = interval[1:-1].replace(" ", "").split(",")
    if high != "inf":
        return f"a number in {interval}"
    return f"{low} or more" if interval[0] == "[" else f"above {low}"


def _contains(interval: str, value: float) -> bool:
    low, high = (float(end) for end in interval[1:-1].split(","))
    above = value >= low if interval[0] == "[" else value > low
    below = value <= high if interval[-1] == "]" else value < high
    return above and below and not math.isnan(value)
