"""What a run of a study has reached, read from its folder."""

from dataclasses import dataclass
from pathlib import Path

from maekit.runs.read import Run


@dataclass(frozen=True)
class Reached:
    """A run's result at its end, or at the rung where it paused.

    Attributes:
        step: optimizer steps done.
        value: the metric there, or its best one of a finished run that has a patience, since that is what such a run
            is for; None where it is no number.
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
    run = Run(folder)
    step = run.number("step")
    ended = run.status == "finished" or (run.status == "paused" and stop is not None and (step or 0) >= stop)
    if step is None or not ended:
        return None
    value = run.val.get(metric.removeprefix("val/"))
    best = run.best
    if run.status == "finished" and run.flat_config.get("run.patience") is not None and f"val/{best.metric}" == metric:
        value = best.value
    if stop is not None and step > stop:  # it has been trained on since: a study whose database was lost
        step, value = stop, dict(curve(folder, metric)).get(stop, value)
    return Reached(
        step=int(step),
        value=value,
        best=run.best.value,
        seconds=run.number("seconds") or 0.0,
        images_per_second=run.number("images_per_second"),
        peak_memory_gib=run.number("peak_memory_gib"),
    )


def seconds_so_far(folder: Path) -> float:
    """Seconds that the run took up to its last pause."""
    return Run(folder).number("seconds") or 0.0


def curve(folder: Path, metric: str) -> list[tuple[int, float]]:
    """(step, value) of the metric at each validation so far."""
    name = metric.removeprefix("val/")
    return [(int(row["step"]), row[name]) for row in Run(folder).rows("val") if name in row]


def last_step(folder: Path) -> int:
    """The last step that a run which did not come to its end has written down; 0 where it has written none."""
    run = Run(folder)
    return max((int(row["step"]) for row in (*run.rows("val"), *run.rows("train"))), default=0)
