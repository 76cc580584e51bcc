"""What an evaluation found of each image, from which its metrics follow for any choice of these images."""

import csv
import io
import math
import os
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Counts = NDArray[np.int64]
Floats = NDArray[np.float64]
LEVEL, MOST, FEWEST = 0.95, 1000, 100  # of the intervals: share inside, resamples at most and at least
WORK, AT_ONCE = 500_000_000, 8_000_000  # numbers that are read in all (2 to 5 s on one core), and at once


class ImageRecords(ABC):
    """The evaluated images of all processes, each once, in the order of the listing.

    Attributes:
        places: of each image its place in the listing from 0, int64 [n].
    """

    places: Counts

    @abstractmethod
    def columns(self) -> dict[str, Sequence[object]]:
        """Returns what `image_scores.csv` says of each image: n values by column."""

    @abstractmethod
    def resampled(self, counts: Counts) -> dict[str, Floats]:
        """Returns the metrics of R choices of the images, by name: float64 [R], NaN where one is not defined.

        Args:
            counts: [R, n], how often each image is in each choice. Ones give the evaluation's own metrics.
        """

    @property
    def cost(self) -> int:
        """How many numbers one choice of the images reads: more than 5,000,000 are too many for an interval."""
        return len(self.places)


@dataclass(frozen=True)
class Intervals:
    """How far metrics may be from what they are, since there are only so many validation images.

    Attributes:
        level: share of the resampled values that lie inside.
        resamples: how often the images were drawn anew, as many as there are, with replacement.
        images: how many there are.
        values: lowest and highest value by metric, in its own unit.
    """

    level: float
    resamples: int
    images: int
    values: Mapping[str, tuple[float, float]]

    def plain(self) -> dict[str, Any]:
        """Returns plain values for JSON."""
        return {**asdict(self), "values": {name: [low, high] for name, (low, high) in self.values.items()}}


def bootstrap(records: ImageRecords) -> Intervals | None:
    """Returns percentile intervals of the metrics over images (Efron and Tibshirani 1993, chapter 13).

    The same records give the same intervals. None without two images, or where one choice of them costs so much that
    not even 100 are affordable.
    """
    images, cost = len(records.places), max(records.cost, 1)
    resamples = min(MOST, WORK // cost)
    if images < 2 or resamples < FEWEST:
        return None
    generator, step = np.random.default_rng(0), max(1, AT_ONCE // max(cost, images))
    parts: list[dict[str, Floats]] = []
    for first in range(0, resamples, step):
        drawn = generator.integers(images, size=(min(step, resamples - first), images))
        parts.append(records.resampled(np.stack([np.bincount(row, minlength=images) for row in drawn])))
    values = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    return Intervals(LEVEL, resamples, images, _ends(values, LEVEL))


def _ends(values: Mapping[str, Floats], level: float) -> dict[str, tuple[float, float]]:
    """Returns the middle `level` of each metric's values; a metric that is mostly undefined is left out."""
    found = {}
    for name, of_metric in values.items():
        finite = of_metric[np.isfinite(of_metric)]
        if len(finite) * 2 > len(of_metric):
            low, high = np.quantile(finite, [(1 - level) / 2, (1 + level) / 2])
            found[name] = (float(low), float(high))
    return found


def as_csv(records: ImageRecords, files: Sequence[str], folder: str) -> str:
    """Returns the text of `image_scores.csv`.

    Args:
        records: of the evaluated images.
        files: path of each image of the listing; empty where there is none.
        folder: of the data, see `within`.
    """
    columns, names = records.columns(), within(files, folder)
    named = [names[place] if place < len(names) else "" for place in records.places.tolist()]
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["image", "file", *columns])
    rows = zip(records.places.tolist(), named, *columns.values(), strict=True)
    writer.writerows([[_cell(value) for value in row] for row in rows])
    return text.getvalue()


def within(files: Sequence[str], folder: str) -> list[str]:
    """Returns paths relative to a folder; where none lies in it relative to the one above, else as they are.

    The folder of a detector's data is that of its training images, beside that of the validation images.
    """
    bases = [base.rstrip(os.sep) + os.sep for base in (folder, str(Path(folder).parent))]
    base = next((one for one in bases if one != os.sep and any(file.startswith(one) for file in files)), None)
    return [file.removeprefix(base) if base else file for file in files]


def _cell(value: object) -> object:
    """Rounds numbers to six digits, and leaves a cell empty where one is not finite."""
    if not isinstance(value, float):
        return value
    return float(f"{value:.6g}") if math.isfinite(value) else ""


def mean_of(counts: Counts, values: Floats) -> Floats:
    """Returns the means [R] of the values [n] of the images in each choice [R, n]."""
    means: Floats = counts @ values / counts.sum(1)
    return means
