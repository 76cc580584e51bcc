"""Mean, standard deviation, minimum and maximum of each channel over many files, one file in memory at a time."""

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from fractions import Fraction
from math import isfinite, sqrt

import numpy as np

from maekit.data.images.bands.read import read
from maekit.data.images.bands.reading import is_nodata, require_alike
from maekit.data.images.bands.stats_file import Stats
from maekit.data.images.survey import WHITES
from maekit.errors import UserError

FEW = 100
CHUNK = 8


@dataclass(frozen=True)
class Sums:
    """What one channel's pixels add up to.

    Attributes:
        count: of pixels with a value.
        missing: pixels without one.
        mean: of those with a value, as an exact fraction for whole numbers.
        squares: sum of the squared distances from the mean, likewise.
        low: smallest value; infinity without pixels.
        high: largest value, likewise.
    """

    count: int
    missing: int
    mean: Fraction | float
    squares: Fraction | float
    low: float
    high: float

    def __add__(self, other: "Sums") -> "Sums":
        """Joins two parts (Chan, Golub and LeVeque 1979), without loss for whole numbers."""
        if not self.count or not other.count:
            most = self if self.count else other
            return Sums(most.count, self.missing + other.missing, most.mean, most.squares, most.low, most.high)
        count, step = self.count + other.count, other.mean - self.mean
        squares = self.squares + other.squares + step * step * self.count * other.count / count
        ends = min(self.low, other.low), max(self.high, other.high)
        return Sums(count, self.missing + other.missing, self.mean + step * other.count / count, squares, *ends)


def sums_of(path: str, names: tuple[str, ...], dtype: str) -> list[Sums]:
    """Returns the sums of each channel of one file.

    Raises:
        UserError: it cannot be read, has other channels or numbers, or an infinity.
    """
    pixels, form = read(path, len(names))
    require_alike(path, form, names, dtype)
    return [_sums(path, name, pixels[..., place], form.nodata) for place, name in enumerate(names)]


def _sums(path: str, name: str, plane: np.ndarray, nodata: float | None) -> Sums:
    valid = np.isfinite(plane) if plane.dtype.kind == "f" else np.ones(plane.shape, bool)
    if plane.dtype.kind == "f" and np.isinf(plane).any() and (nodata is None or isfinite(nodata)):
        raise UserError(f"{path}: band {name} has an infinity, expected finite numbers; replace it, or remove the file")
    if nodata is not None:
        valid &= ~is_nodata(plane, nodata)
    values, missing = plane[valid], int(plane.size - valid.sum())
    if not values.size:
        return Sums(0, missing, 0.0, 0.0, float("inf"), float("-inf"))
    ends = float(values.min()), float(values.max())
    if values.dtype.kind == "f":
        deep = values.astype(np.float64)
        mean = float(deep.mean())
        return Sums(values.size, missing, mean, float(np.square(deep - mean).sum()), *ends)
    whole = values.astype(np.int64)  # 2 ** 32 a square: exact up to 2 ** 31 pixels
    total, squares = int(whole.sum()), int((whole * whole).sum())
    return Sums(values.size, missing, Fraction(total, values.size), squares - Fraction(total**2, values.size), *ends)


def measure(paths: Sequence[str], names: tuple[str, ...], dtype: str, workers: int = 1) -> tuple[Stats, list[str]]:
    """Returns the statistics of all channels of files, and the files that have pixels without a value.

    Means and deviations of whole numbers are exact up to the last rounding, those of floats are computed in float64.
    The number of processes changes nothing.

    Args:
        paths: of the files.
        names: of their channels.
        dtype: of their numbers.
        workers: processes that read.

    Raises:
        UserError: a file cannot be used, or a band has no pixel with a value.
    """
    totals: list[Sums] = []
    lacking = []
    for path, sums in zip(paths, _all(paths, names, dtype, workers), strict=True):
        totals = [total + one for total, one in zip(totals, sums, strict=True)] if totals else sums
        lacking += [path] if any(one.missing for one in sums) else []
    empty = next((name for name, total in zip(names, totals, strict=True) if not total.count), None)
    if empty is not None:
        raise UserError(
            f"{paths[0]}: band {empty} has no pixel with a value in {len(paths):,} files; leave it out of them"
        )
    high = max(total.high for total in totals)
    stats = Stats(
        bands=names,
        dtype=dtype,
        unit=unit_of(dtype, high),
        images=len(paths),
        pixels=tuple(total.count for total in totals),
        missing=tuple(total.missing for total in totals),
        mean=tuple(float(total.mean) for total in totals),
        std=tuple(sqrt(total.squares / total.count) for total in totals),
        min=tuple(total.low for total in totals),
        max=tuple(total.high for total in totals),
    )
    return stats, lacking


def _all(paths: Sequence[str], names: tuple[str, ...], dtype: str, workers: int) -> Iterator[list[Sums]]:
    if workers == 1 or len(paths) <= FEW:
        yield from (sums_of(path, names, dtype) for path in paths)
        return
    with ProcessPoolExecutor(workers) as pool:
        yield from pool.map(sums_of, paths, _repeat(names, paths), _repeat(dtype, paths), chunksize=CHUNK)


def _repeat(value: object, like: Sequence[str]) -> Iterable[object]:
    return (value for _ in like)


def unit_of(dtype: str, high: float) -> float:
    """Returns the number that counts as 1: of 8 bits 255, else the smallest usual white that no pixel exceeds.

    Of floats it is 1 where no pixel exceeds it. The unit only says how strong a band is beside the 0..1 of 8-bit
    pictures, where filters of grey are made of those of R, G and B; mean and std normalise whatever it is.
    """
    if dtype == "uint8":
        return 255.0
    if dtype == "float32" and high <= 1:
        return 1.0
    return float(next((white for white in WHITES if white >= high), high))
