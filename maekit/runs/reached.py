"""What a run of a study has reached, read from its folder."""

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from maekit.runs.rows import number_rows


@dataclass(frozen=True)
class Reached:
    """A run's result at its end, or at the rung where it paused.

    Attributes:
        step: optimizer steps done.
        value: the metric there; None where it is no number.
        best: its best value so far.
        seconds: of the whole run so far, in all its sessions.
        images_per_second: in training.
        peak_memory_gib: of the accelerator, or of the process on a CPU.
    """

    step: int
    value: float | None
    best: float | None
    seconds: float
    images_per_second: float | None
    peak_memory_gib: float | None


def reached(folder: Path, stop: int | None, metric: str) -> Reached | None:
    """The result of a run that has come as far as it was to go; None where it has not.

    Args:
        folder: the run's folder.
        stop: the step at which it was to pause; None for the run's end.
        metric: such as `val/top1`.
    """
    found = _metrics(folder)
    step, status = _number(found.get("step")), found.get("status")
    if step is None or not (status == "finished" or (status == "paused" and stop is not None and step >= stop)):
        return None
    name = metric.removeprefix("val/")
    value = _number((found.get("val") or {}).get(name))
    if stop is not None and step > stop:  # it has gone on since: a study whose database was lost
        step, value = stop, dict(curve(folder, metric)).get(stop, value)
    return Reached(
        step=int(step),
        value=value,
        best=_number((found.get("best") or {}).get("value")),
        seconds=_number(found.get("seconds")) or 0.0,
        images_per_second=_number(found.get("images_per_second")),
        peak_memory_gib=_number(found.get("peak_memory_gib")),
    )


def seconds_so_far(folder: Path) -> float:
    """What the run took up to its last pause."""
    return _number(_metrics(folder).get("seconds")) or 0.0


def curve(folder: Path, metric: str) -> list[tuple[int, float]]:
    """The metric at each validation so far."""
    name = metric.removeprefix("val/")
    return [(int(row["step"]), row[name]) for row in number_rows(folder / "val.csv") if name in row]


def last_step(folder: Path) -> int:
    """The last step a run that did not come to its end has written down."""
    rows = [*number_rows(folder / "val.csv"), *number_rows(folder / "train.csv")]
    return max((int(row["step"]) for row in rows), default=0)


def _metrics(folder: Path) -> dict[str, Any]:
    try:
        found = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _number(value: Any) -> float | None:
    number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return value if number else None
