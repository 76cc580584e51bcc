"""One row of `maekit runs` for each run below a folder."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from maekit.runs.data import is_made, recorded_data
from maekit.runs.files import CONFIG, ENVIRONMENT, METRICS
from maekit.runs.find import run_folders
from maekit.runs.listing.state import State, state_of
from maekit.runs.read import Best, Mode, Run
from maekit.runs.rows import last_step_of

STUDY_FILES = ("study.json", "study.db")
_WRITTEN = ("last.ckpt", "best.ckpt", METRICS, "val.csv", "train.csv", CONFIG, ENVIRONMENT)


@dataclass(frozen=True)
class RunRow:
    """What is listed of a run; each part is read when it is asked for.

    Attributes:
        run: the run.
        study: the folder of the study that it is of; None for a run of its own.
    """

    run: Run
    study: Path | None = None

    @property
    def folder(self) -> Path:
        """The run's folder."""
        return self.run.folder

    @property
    def task(self) -> str:
        """The task's name, also of a task that was given by its path."""
        return Path(self.run.task).stem if self.run.task.endswith(".py") else self.run.task

    @cached_property
    def state(self) -> State:
        """Whether it is running, and else how it ended."""
        return state_of(self.run)

    @cached_property
    def data(self) -> str:
        """The name of its data's folder, or of the made data; empty where that is not recorded."""
        recorded = recorded_data(self.run)
        if recorded is not None:
            return Path(recorded.folder).name
        values = self.run.flat_config
        given = values.get("data.synthetic") if is_made(values) else values.get("data.root") or values.get("data.table")
        return Path(str(given)).name if given else ""

    @cached_property
    def best(self) -> Best:
        """The best value so far of the metric that chooses best.ckpt; of an evaluation its value."""
        monitor, best = self.run.monitor, self.run.best
        if self.run.status == "validated":
            name = monitor[0] if monitor else next(iter(self.run.val), None)
            return Best(name, self.run.val.get(name or ""), None)
        if best.value is not None and self.state.word != "running":
            return best
        if monitor is None:
            return best
        name, mode = monitor
        seen = [(row[name], int(row["step"])) for row in self.run.rows("val") if name in row]
        if not seen:
            return best if best.metric else Best(name, None, None)
        value, step = (max if mode == "max" else min)(seen, key=lambda one: one[0])
        return Best(name, value, step)

    @property
    def mode(self) -> Mode:
        """Whether more or less of the metric is better."""
        return self.run.monitor[1] if self.run.monitor else "max"

    @cached_property
    def step(self) -> int | None:
        """The last optimizer step that it recorded; None where it recorded none."""
        ended = self.run.number("step")
        if ended is not None and self.state.word not in ("running", "failed", "killed", "stopped"):
            return int(ended)
        seen = [last_step_of(self.folder / name) for name in ("train.csv", "val.csv")]
        steps = [step for step in (*seen, None if ended is None else int(ended)) if step is not None]
        return max(steps, default=None)

    @cached_property
    def written(self) -> float:
        """When it last wrote a record or a checkpoint, in seconds since 1970."""
        times = [entry.stat().st_mtime for name in _WRITTEN if (entry := self.folder / name).is_file()]
        return max(times, default=self.folder.stat().st_mtime)

    @cached_property
    def bytes(self) -> int:
        """The size of its files; what links point to is not counted."""
        return size_of(self.folder)


def size_of(folder: Path) -> int:
    """The bytes of all files in a folder, at any depth, without those that links point to."""
    total = 0
    for here, _, files in os.walk(folder):
        for name in files:
            try:
                total += os.lstat(os.path.join(here, name)).st_size  # noqa: PTH118 - twice as fast as Path
            except FileNotFoundError:  # a live run replaced it
                continue
    return total


def rows_in(folders: Sequence[Path]) -> list[RunRow]:
    """The runs below folders, or that the folders are; those of studies too, which know their study."""
    found: dict[Path, RunRow] = {}
    for top in folders:
        for folder in run_folders(top):
            found.setdefault(folder.resolve(), RunRow(Run(folder), study_of(folder)))
    return list(found.values())


def study_of(folder: Path) -> Path | None:
    """The folder of the study that a run is of, `<study>/runs/<task>/<recipe>/<run>`; None for a run of its own."""
    above: Iterator[Path] = iter(folder.absolute().parents[:4])
    return next((place for place in above if any((place / name).is_file() for name in STUDY_FILES)), None)
