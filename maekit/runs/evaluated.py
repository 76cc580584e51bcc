"""What a run keeps of an evaluation: intervals of its metrics, and a row of scores for each validation image."""

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from maekit.runs.rows import text_rows
from maekit.system.plain import JSON, finite_number, table


class Interval(NamedTuple):
    """How far a metric may be from what it is, since there are only so many validation images (bootstrap).

    Attributes:
        metric: its name without the split.
        low: in the metric's own unit.
        high: likewise.
        level: share of the resampled values that lie inside, 0 to 1.
        resamples: how often the images were drawn anew.
        images: how many validation images there are.
    """

    metric: str
    low: float
    high: float
    level: float
    resamples: int
    images: int

    @property
    def half_width(self) -> float:
        """Half of the interval's width."""
        return (self.high - self.low) / 2

    def words(self) -> str:
        """`95 % interval over 36 images (1,000 resamples)`."""
        return f"{self.level:.0%} interval over {self.images:,} images ({self.resamples:,} resamples)".replace(
            "%", " %"
        )


def intervals_of(recorded: Mapping[str, JSON]) -> dict[str, Interval]:
    """The intervals by metric of an `evaluation.json` or a `metrics.json`; without those that are damaged."""
    found = table(recorded.get("intervals"))
    level, resamples, images = (finite_number(found.get(key)) for key in ("level", "resamples", "images"))
    if level is None or resamples is None or images is None:
        return {}
    intervals = {}
    for metric, ends in table(found.get("values")).items():
        low, high = (finite_number(end) for end in ends) if isinstance(ends, list) and len(ends) == 2 else (None, None)
        if low is not None and high is not None:
            intervals[str(metric)] = Interval(str(metric), low, high, level, int(resamples), int(images))
    return intervals


def image_rows(file: Path) -> list[dict[str, str | float]]:
    """The rows of `image_scores.csv`, numbers as such; none where it is missing or damaged."""
    try:
        rows = text_rows(file)
    except (OSError, UnicodeDecodeError, csv.Error):
        return []
    words = {"file", "label", "predicted", "labels", "worst_class"}  # also where they look like numbers
    return [{key: text if key in words else _value(text) for key, text in row.items()} for row in rows]


def _value(text: str) -> str | float:
    try:
        number = finite_number(float(text))
    except ValueError:
        return text
    return text if number is None else number
