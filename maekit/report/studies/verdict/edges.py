"""Whether a best value is at the end of what was searched, and which values lie beyond."""

import math
from itertools import pairwise
from typing import NamedTuple

from maekit.report import limits
from maekit.study.define.space import Choice, Interval
from maekit.system.plain import is_number

# Key without its section -> the ends that it cannot pass, and whether it can be each of them. Others are above 0.
_ENDS = {
    "layer_decay": (0.0, False, 1.0, True),
    "mask_ratio": (0.0, False, 1.0, False),
    "min_lr": (0.0, True, float("inf"), False),
    "weight_decay": (0.0, True, float("inf"), False),
    "mixup": (0.0, True, float("inf"), False),
    "cutmix": (0.0, True, float("inf"), False),
    **dict.fromkeys(("drop_path", "dropout", "label_smoothing", "momentum", "ema_decay"), (0.0, True, 1.0, False)),
}
_LARGE_FACTOR = 3.0  # between two values: beyond the last one, half a step is tried too


class Edge(NamedTuple):
    """A key whose best value is at an end of what was searched.

    Attributes:
        key: dotted.
        value: the best cell's.
        upwards: whether it is the largest.
        wider: the values to search next, from the best one on; None where nothing lies beyond.
    """

    key: str
    value: float
    upwards: bool
    wider: Choice | Interval | None


def edge_of(axis: Choice | Interval, value: float) -> Edge | None:
    """The end at which a value is; None within, and of a list that is not of several numbers."""
    if isinstance(axis, Interval):
        return _of_interval(axis, value)
    values = numeric_values(axis)
    if len(values) < 2 or value not in (values[0], values[-1]):
        return None
    upwards = value == values[-1]
    ordered = values if upwards else values[::-1]
    beyond = _beyond(axis.key, ordered)
    wider = Choice(axis.key, tuple(sorted((value, *beyond)))) if beyond else None
    return Edge(axis.key, value, upwards, wider)


def numeric_values(axis: Choice | Interval) -> list[float]:
    """The values of a list of numbers, the smallest first; none of other lists and of ranges."""
    if isinstance(axis, Interval) or not all(is_number(value) for value in axis.values):
        return []
    return sorted(value for value in axis.values if is_number(value))


def _beyond(key: str, ordered: list[float]) -> tuple[float, ...]:
    """Two values beyond the last one, in the steps of the last two or half of them; before an end that is nearer."""
    before, last = ordered[-2:]
    low, low_in, high, high_in = _ENDS.get(key.rpartition(".")[2], (0.0, False, float("inf"), False))
    whole = all(isinstance(value, int) for value in ordered)
    if before > 0 and last > 0 and _is_geometric(key, ordered):
        factor = last / before
        steps = (0.5, 1.0) if max(factor, 1 / factor) > _LARGE_FACTOR else (1.0, 2.0)
        following = [float(f"{last * factor**step:.2g}") for step in steps]
    else:
        following = [last + (last - before), last + 2 * (last - before)]
    end, allowed = (high, high_in) if last > before else (low, low_in)
    if min(ordered) < 0:  # such as a shift: no end is known
        end = float("inf") if last > before else -float("inf")
    if last == end:
        return ()
    if not all(_within(value, end, allowed, last > before) for value in following):
        nearest = end if allowed else last + 0.75 * (end - last)
        following = [last + (nearest - last) / 2, nearest]
    tidy = dict.fromkeys(_tidy(value, whole=whole) for value in following)
    return tuple(value for value in tidy if value not in ordered and _within(value, end, allowed, last > before))


def _is_geometric(key: str, ordered: list[float]) -> bool:
    """Whether values go up by a factor rather than by a term: rates do, of others those whose factors differ less."""
    if key.rpartition(".")[2] in ("lr", "base_lr", "weight_decay"):
        return True
    if len(ordered) < 3:
        return max(ordered) / min(ordered) >= 4
    factors = [b / a for a, b in pairwise(ordered)]
    terms = [b - a for a, b in pairwise(ordered)]
    return max(factors) / min(factors) < max(map(abs, terms)) / min(map(abs, terms))


def _within(value: float, end: float, allowed: bool, upwards: bool) -> bool:
    return (value <= end if allowed else value < end) if upwards else (value >= end if allowed else value > end)


def _tidy(value: float, *, whole: bool) -> float:
    return round(value) if whole else float(f"{value:.3g}")


def _of_interval(axis: Interval, value: float) -> Edge | None:
    low, high, at = (math.log(one) if axis.log else one for one in (axis.low, axis.high, value))
    share = (at - low) / (high - low)
    if limits.END_SHARE <= share <= 1 - limits.END_SHARE:
        return None
    upwards = share > 0.5
    middle = (low + high) / 2
    ordered = [middle, high] if upwards else [middle, low]
    values = [math.exp(one) if axis.log else one for one in ordered]
    beyond = _beyond(axis.key, [round(one) for one in values] if axis.whole else values)
    if not beyond:
        return Edge(axis.key, value, upwards, None)
    inner = _tidy(values[0], whole=axis.whole)
    ends = (inner, beyond[-1]) if upwards else (beyond[-1], inner)
    return Edge(axis.key, value, upwards, Interval(axis.key, *ends, log=axis.log and ends[0] > 0))
