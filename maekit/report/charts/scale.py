"""Axes: the range of values, the ticks, and the position of a value in px."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

from maekit.system.numbers import scientific

_HUGE = 1e300  # beyond it differences overflow; no measured value is there


@dataclass(frozen=True)
class Scale:
    """Maps `low`..`high` to `start`..`end` px (either may be the larger), evenly or by logarithms."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        """The place of `value` in px; a log scale takes positive values only."""
        low, high, at = (
            (math.log(v) for v in (self.low, self.high, value)) if self.log else (self.low, self.high, value)
        )
        return self.start + (at - low) / (high - low) * (self.end - self.start)


def drawable(value: float | None, log: bool = False) -> bool:
    """Whether a value has a place on an axis: finite, and positive where the axis is of logarithms."""
    return value is not None and abs(value) < _HUGE and (value > 0 or not log)


def fitted(values: Iterable[float], start: float, end: float, log: bool = False, margin: float = 0.0) -> Scale:
    """A scale over the drawable `values`, with a share `margin` of room at both ends; equal values are centred."""
    kept = [value for value in values if drawable(value, log)]
    low, high = (min(kept), max(kept)) if kept else (1.0, 10.0) if log else (0.0, 1.0)
    if log:
        if high / low < 1 + 1e-9:
            return Scale(low / 2, high * 2, start, end, log)
        room = (high / low) ** margin
        return Scale(low / room, high * room, start, end, log)
    equal = high - low <= 1e-12 * max(abs(low), abs(high))
    room = abs(low) * 0.05 or 1.0 if equal else (high - low) * margin
    return Scale(low - room, high + room, start, end, log)


def ticks(scale: Scale, wanted: int) -> list[float]:
    """About `wanted` round values inside the scale, rising."""
    return _log_ticks(scale, wanted) if scale.log else _even_ticks(scale.low, scale.high, wanted)


def tick_texts(values: list[float]) -> list[str]:
    """The ticks as text, all with as many decimals as tell them apart."""
    if not values:
        return []
    largest = max(abs(value) for value in values)
    gaps = [b - a for a, b in pairwise(values) if b > a]
    if largest >= 1e6 or largest < 1e-3 or not gaps or min(gaps) < 1e-5:
        return [_short(value) for value in values]
    decimals = next(d for d in range(7) if all(abs(round(v, d) - v) < 1e-3 * min(gaps) for v in values) or d == 6)
    return [f"{value:.{decimals}f}" for value in values] if _alike(values) else [_short(value) for value in values]


def _even_ticks(low: float, high: float, wanted: int) -> list[float]:
    rough = (high - low) / max(wanted, 1)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= rough * 0.999)
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [i * step for i in range(first, last + 1)]


def _log_ticks(scale: Scale, wanted: int) -> list[float]:
    """Decades, every second or third one where there are many; with 2 and 5 between where there are few."""
    low, high = math.floor(math.log10(scale.low)), math.ceil(math.log10(scale.high))
    every = max(1, (high - low) // max(wanted, 1))
    for factors in ((1,), (1, 3), (1, 2, 5)):
        found = [f * 10.0**p for p in range(low, high + 1, every) for f in factors]
        inside = [value for value in found if scale.low * 0.9999 <= value <= scale.high * 1.0001]
        if len(inside) >= min(wanted, 3) or every > 1:
            return inside
    return inside if len(inside) >= 2 else _even_ticks(scale.low, scale.high, wanted)


def _alike(values: list[float]) -> bool:
    """Whether one number of decimals suits all: not so over several decades."""
    sizes = [abs(value) for value in values if value]
    return not sizes or max(sizes) / min(sizes) < 1000


def _short(value: float) -> str:
    """Six digits, with an exponent beyond 0.001 to a million: `1e-5`, `0.003`, `20`, `2.5e6`."""
    if value and not 1e-3 <= abs(value) < 1e6:
        return scientific(value)
    return f"{value:.6g}"
