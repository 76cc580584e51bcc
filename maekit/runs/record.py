"""What a run's folder says of how its checkpoints came about: devices, time, results, the images of an epoch."""

import csv
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from maekit.system.plain import table


@dataclass(frozen=True)
class Record:
    """What was found beside a checkpoint; each part is empty where its file is missing or cut short.

    Attributes:
        environment: `environment.json`.
        metrics: `metrics.json`.
        steps_per_epoch: optimizer steps of an epoch, off `val.csv`; None where there is none.
    """

    environment: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, Any] = field(default_factory=dict)
    steps_per_epoch: int | None = None

    def values(self) -> dict[str, float]:
        """The last validation's numbers by name; those that are none are left out."""
        found = table(self.metrics.get("val"))
        return {str(name): float(value) for name, value in found.items() if _number(value)}

    def best(self) -> tuple[str, float, int] | None:
        """The best validation: its metric, value and step."""
        found = table(self.metrics.get("best"))
        metric, value, step = (found.get(key) for key in ("metric", "value", "step"))
        if not _number(value) or type(step) is not int:
            return None
        return str(metric).removeprefix("val/"), float(value), step  # type: ignore[arg-type]

    def measured_at(self, step: int | None) -> dict[str, float]:
        """What was measured of the weights at a step: the whole last validation, or the best one's one number."""
        if step is not None and self.metrics.get("step") == step:
            return self.values()
        best = self.best()
        return {best[0]: best[1]} if best and best[2] == step else {}

    def hours(self) -> float | None:
        """Hours from the run's start, or its last resumption, to its end."""
        seconds = self.metrics.get("seconds")
        return float(seconds) / 3600 if _number(seconds) else None  # type: ignore[arg-type]

    def resumed(self, total_batch: int | None) -> bool:
        """Whether the hours are of a part of the run: it was told to go on, or did more steps than they hold."""
        command = self.environment.get("command")
        if isinstance(command, list) and any(str(word).split("=")[0] == "--ckpt_path" for word in command):
            return True
        step, speed, hours = self.metrics.get("step"), self.metrics.get("images_per_second"), self.hours()
        if type(step) is not int or not _number(speed) or hours is None or total_batch is None:
            return False
        return step * total_batch > 1.05 * float(speed) * hours * 3600  # type: ignore[arg-type]


def read_record(folder: Path) -> Record:
    """Reads what a run wrote beside its checkpoints."""
    return Record(_json(folder / "environment.json"), _json(folder / "metrics.json"), _steps(folder / "val.csv"))


def _json(file: Path) -> Mapping[str, Any]:
    try:
        return table(json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError, RecursionError):
        return {}


def _steps(file: Path) -> int | None:
    """A validation's row says its step and its epoch, which is the step by the steps of an epoch."""
    try:
        with file.open(encoding="utf-8", newline="") as lines:
            rows = list(csv.DictReader(lines))
        steps, epochs = int(rows[-1]["step"]), float(rows[-1]["epoch"])
        return round(steps / epochs) if epochs > 0 else None
    except (OSError, ValueError, KeyError, IndexError, TypeError, csv.Error):
        return None


def _number(value: object) -> bool:
    return type(value) in (int, float) and value == value  # not nan, which files of older runs hold
