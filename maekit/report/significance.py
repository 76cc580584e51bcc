"""Whether two sets of measurements differ by more than their noise. Standard library only."""

import math
import statistics
from collections.abc import Hashable, Mapping, Sequence
from typing import NamedTuple

LEVEL = 0.95


class Difference(NamedTuple):
    """The mean difference of two sets of measurements, the first minus the second.

    Attributes:
        mean: in the unit of the measurements.
        low: of the 95 % interval of the mean (Student's t).
        high: likewise.
        size: measurements that it rests on: pairs, or those of the smaller set.
        paired: whether measurements of the same seeds, folds or images were subtracted.
        std: standard deviation of one difference.
    """

    mean: float
    low: float
    high: float
    size: int
    paired: bool
    std: float

    @property
    def is_clear(self) -> bool:
        """Whether the interval leaves out 0."""
        return self.low > 0 or self.high < 0


def difference(first: Mapping[Hashable, float], second: Mapping[Hashable, float]) -> Difference | None:
    """Compares measurements by their keys, such as seeds; None where one set has fewer than two.

    Those with the same key are subtracted; with fewer than two such pairs it is Welch's interval of the two means.
    """
    common = [key for key in first if key in second]
    if len(common) > 1:
        return paired_difference([first[key] - second[key] for key in common])
    if min(len(first), len(second)) < 2:
        return None
    a, b = (statistics.variance(one.values()) / len(one) for one in (first, second))
    mean = statistics.fmean(first.values()) - statistics.fmean(second.values())
    count = min(len(first), len(second))
    if not a + b:
        return Difference(mean, mean, mean, count, False, 0.0)
    freedom = (a + b) ** 2 / (a**2 / (len(first) - 1) + b**2 / (len(second) - 1))
    half = t_quantile(int(freedom)) * math.sqrt(a + b)
    return Difference(mean, mean - half, mean + half, count, False, math.sqrt((a + b) * count))


def paired_difference(differences: Sequence[float]) -> Difference:
    """The mean of at least two differences, and its interval."""
    count, mean, std = len(differences), statistics.fmean(differences), statistics.stdev(differences)
    half = t_quantile(count - 1) * std / math.sqrt(count)
    return Difference(mean, mean - half, mean + half, count, True, std)


def t_quantile(freedom: int) -> float:
    """The value that Student's t stays below in size with a probability of 95 %, for at least 1 degree of freedom."""
    low, high = 0.0, 13.0  # 12.71 for one degree of freedom
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if _t_inside(middle, freedom) < LEVEL else (low, middle)
    return high


def sign_test(first: int, second: int) -> float:
    """The probability of a split at least as uneven as this one if both were equally likely (McNemar's exact test).

    Args:
        first: how many are right in the first set alone.
        second: how many are right in the second set alone.
    """
    count, fewer = first + second, min(first, second)
    log_half, whole = count * math.log(2), math.lgamma(count + 1)
    tail = sum(math.exp(whole - math.lgamma(k + 1) - math.lgamma(count - k + 1) - log_half) for k in range(fewer + 1))
    return min(1.0, 2 * tail)


def _t_inside(t: float, freedom: int) -> float:
    """The probability of -t..t (Abramowitz and Stegun, 26.7.3 and 26.7.4)."""
    if freedom > 1000:
        return math.erf(t / math.sqrt(2))
    angle = math.atan(t / math.sqrt(freedom))
    sine, square = math.sin(angle), math.cos(angle) ** 2
    odd = freedom % 2 == 1
    term = math.cos(angle) if odd else 1.0
    total = term if freedom > 1 else 0.0
    for k in range(3 if odd else 2, freedom - 1, 2):
        term *= square * (k - 1) / k
        total += term
    return 2 / math.pi * (angle + sine * total) if odd else sine * total
