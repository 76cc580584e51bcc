"""How a run's checkpoints were made: devices, time, results, steps of an epoch."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from maekit.runs.read import Best, Run, best_of, finite_values
from maekit.system.plain import JSON, finite_number


@dataclass(frozen=True)
class Record:
    """What was found beside a checkpoint; each part is empty where its file is missing or cut short.

    Attributes:
        environment: `environment.json`.
        metrics: `metrics.json`.
        steps_per_epoch: optimizer steps of an epoch, computed from `val.csv`; None without a row in it.
    """

    environment: Mapping[str, JSON] = field(default_factory=dict)
    metrics: Mapping[str, JSON] = field(default_factory=dict)
    steps_per_epoch: int | None = None

    def values(self) -> dict[str, float]:
        """The last validation's finite numbers by name."""
        return finite_values(self.metrics.get("val"))

    def best(self) -> Best | None:
        """The best validation; None where its value or its step is not recorded."""
        best = best_of(self.metrics)
        return None if best.value is None or best.step is None else best

    def measured_at(self, step: int | None) -> dict[str, float]:
        """What was measured of the weights at a step: the whole last validation, or the best one's one number."""
        if step is not None and self.metrics.get("step") == step:
            return self.values()
        best = self.best()
        return {str(best.metric): best.value} if best and best.value is not None and best.step == step else {}

    def hours(self) -> float | None:
        """Hours from the run's start, or its last resumption, to its end."""
        seconds = finite_number(self.metrics.get("seconds"))
        return None if seconds is None else seconds / 3600

    def resumed(self, total_batch: int | None) -> bool:
        """Whether the hours are of a part of the run: it was resumed, or did more steps than they hold."""
        command = self.environment.get("command")
        if isinstance(command, list) and any(str(word).split("=")[0] == "--ckpt_path" for word in command):
            return True
        step, speed, hours = (
            *(finite_number(self.metrics.get(k)) for k in ("step", "images_per_second")),
            self.hours(),
        )
        if step is None or speed is None or hours is None or total_batch is None:
            return False
        return step * total_batch > 1.05 * speed * hours * 3600


def read_record(folder: Path) -> Record:
    """Reads what a run wrote beside its checkpoints."""
    run = Run(folder)
    last = next(reversed(run.rows("val")), {})  # its epoch is its step divided by the steps of an epoch
    epochs = last.get("epoch", 0.0)
    return Record(run.environment, run.metrics, round(last["step"] / epochs) if epochs > 0 else None)
