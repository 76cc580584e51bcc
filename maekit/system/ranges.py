"""Checks of numbers against ranges, written as in mathematics: `[0, 1)` is from 0 to below 1. Standard library only."""

import math
from collections.abc import Sequence

from maekit.errors import UserError


def check_range(key: str, value: float | None, interval: str) -> None:
    """Refuses a number outside an interval; NaN is outside of any, and None is not checked.

    Args:
        key: the flag without its dashes, such as `model.drop_path`.
        value: the number.
        interval: `[low, high]`, with a round bracket where the end itself does not belong to it; `inf` for no limit.

    Raises:
        UserError: names the key, the number and the interval.
    """
    if value is not None and not _inside(value, interval):
        raise UserError(f"{key}: got {value}, expected {_in_words(interval)}")


def check_numbers(key: str, values: Sequence[float] | None, interval: str, count: int | None = None) -> None:
    """Refuses a list with a number outside an interval, or of another length than `count`; None is not checked.

    Raises:
        UserError: names the key, the list and what it should hold.
    """
    if values is None:
        return
    if (count is not None and len(values) != count) or not all(_inside(value, interval) for value in values):
        many = "" if count is None else f"{count} "
        raise UserError(f"{key}: got {list(values)}, expected {many}numbers, each {_in_words(interval)}")


def _in_words(interval: str) -> str:
    low, high = interval[1:-1].replace(" ", "").split(",")
    if high != "inf":
        return f"a number in {interval}"
    return f"{low} or more" if interval[0] == "[" else f"above {low}"


def _inside(value: float, interval: str) -> bool:
    low, high = (float(end) for end in interval[1:-1].split(","))
    above = value >= low if interval[0] == "[" else value > low
    below = value <= high if interval[-1] == "]" else value < high
    return above and below and not math.isnan(value)
