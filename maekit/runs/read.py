"""One run, read from its folder. What is missing or damaged is reported, and never guessed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal, NamedTuple

from maekit.errors import UserError
from maekit.recipes.moved import in_todays_form, todays_key, todays_values
from maekit.recipes.recipe import flat
from maekit.runs.early import EarlyStop, early_stop_of
from maekit.runs.evaluated import Interval, image_rows, intervals_of
from maekit.runs.files import (
    CLASSES,
    CONFIG,
    CONFUSION,
    CURVES,
    DATA,
    ENVIRONMENT,
    EVALUATION,
    IMAGE_SCORES,
    METRICS,
    Content,
    read_mapping,
)
from maekit.runs.lock import holder
from maekit.runs.rows import Row, number_rows
from maekit.system.folds import Fold, parse_fold
from maekit.system.plain import JSON, finite_number, table

Status = Literal["finished", "stopped", "validated", "paused", "unfinished"]
Mode = Literal["max", "min"]
FILES = (CONFIG, ENVIRONMENT, METRICS)

# COCO's metrics of small, medium and large objects are empty where no object has that size.
_SIZES = {
    ("APs", "ARs"): "below 32 x 32 pixels",
    ("APm", "ARm"): "of 32 x 32 to 96 x 96 pixels",
    ("APl", "ARl"): "above 96 x 96 pixels",
}


class Best(NamedTuple):
    """The best value of the monitored metric, as `best.ckpt` has it; None for what is not recorded.

    Attributes:
        metric: its name without the split.
        value: finite.
        step: the optimizer step at which it was measured.
    """

    metric: str | None
    value: float | None
    step: int | None


@dataclass(frozen=True)
class Run:
    """A run's folder; each file is read once, when it is first asked for.

    `read_run` makes one of a folder that holds a run. Of any other folder everything is empty.
    """

    folder: Path

    @cached_property
    def config(self) -> Mapping[str, JSON]:
        """`config.yaml` by section, with today's keys for a run of an earlier version; empty where it is missing."""
        return in_todays_form(self._config.values)

    @property
    def environment(self) -> Mapping[str, JSON]:
        """`environment.json`; empty where it is missing."""
        return self._environment.values

    @property
    def metrics(self) -> Mapping[str, JSON]:
        """`metrics.json`; empty where it is missing: the run has not come to its end."""
        return self._metrics.values

    @cached_property
    def problems(self) -> tuple[str, ...]:
        """One line for each of the three files that is missing or damaged, and for each metric that is no number.

        A run that is written now has no metrics.json yet, which is no problem.
        """
        files = (self._config, self._environment, *(() if self.is_live else (self._metrics,)))
        return (*(file.problem for file in files if file.problem), *_not_numbers(table(self.metrics.get("val"))))

    @cached_property
    def is_live(self) -> bool:
        """Whether a process writes into the folder now."""
        return holder(self.folder) is not None

    @property
    def task(self) -> str:
        """The task as it was given by `--task`, else as the folder's place in `runs/<task>/<recipe>/` has it."""
        return str(self.environment.get("task") or _parent(self.folder, 1))

    @property
    def recipe(self) -> str:
        """The recipe's name, as `environment.json` or the folder's place has it."""
        return str(self.environment.get("recipe") or _parent(self.folder, 0))

    @property
    def status(self) -> Status:
        """How far the run came; `stopped` means by a callback, `validated` an evaluation without training."""
        recorded = self.metrics.get("status")
        known: tuple[Status, ...] = ("finished", "stopped", "validated", "paused")
        return next((status for status in known if status == recorded), "unfinished")

    @cached_property
    def flat_config(self) -> dict[str, JSON]:
        """The resolved configuration by dotted keys."""
        return dict(flat(self.config))

    @cached_property
    def recipe_values(self) -> dict[str, JSON]:
        """The recipe's own values by dotted keys of today, as they were when the run began; empty if not recorded."""
        recorded = table(self.environment.get("recipe_values"))
        return todays_values(recorded)

    @property
    def defaults(self) -> dict[str, JSON] | None:
        """The defaults of the keys that were given and are not the recipe's; None where not recorded."""
        recorded = self.environment.get("defaults")
        if not isinstance(recorded, dict):
            return None
        return todays_values(recorded)

    @property
    def given(self) -> list[str]:
        """The dotted keys of today that were given as flags, or by a checkpoint's card."""
        return [todays_key(key) for key in _texts(self.environment.get("given"))]

    @property
    def command(self) -> list[str]:
        """The arguments with which the process was started, the program first."""
        return _texts(self.environment.get("command"))

    @property
    def total_steps(self) -> int | None:
        """Optimizer steps of the whole run."""
        return _integer(self.environment.get("total_steps"))

    @property
    def total_batch(self) -> int | None:
        """Images of an optimizer step."""
        return _integer(self.environment.get("total_batch"))

    @property
    def fold(self) -> Fold | None:
        """The fold that the run was validated on; None for a run without folds."""
        given = self.flat_config.get("data.fold")
        try:
            return parse_fold(given) if isinstance(given, str) else None
        except UserError:
            return None

    @property
    def seed(self) -> int | None:
        """The run's seed; None where it is not recorded."""
        return _integer(self.flat_config.get("run.seed"))

    @property
    def val(self) -> dict[str, float]:
        """The last evaluation's metrics; those that are no finite numbers are left out."""
        return finite_values(self.metrics.get("val"))

    @property
    def best(self) -> Best:
        """The best value of the monitored metric."""
        return best_of(self.metrics)

    @cached_property
    def intervals(self) -> Mapping[str, Interval]:
        """How far the metrics of best.ckpt may be from what they are, by name; empty where that is not recorded."""
        return intervals_of(read_mapping(self.folder / EVALUATION).values) or intervals_of(self.metrics)

    @property
    def interval(self) -> Interval | None:
        """The interval of the metric by which the run is judged; None where that is not recorded."""
        return None if self.monitor is None else self.intervals.get(self.monitor[0])

    @cached_property
    def image_scores(self) -> list[dict[str, str | float]]:
        """What best.ckpt makes of each validation image, with its `file` within the data's folder; maybe none."""
        return image_rows(self.folder / IMAGE_SCORES)

    @cached_property
    def data_facts(self) -> Mapping[str, JSON]:
        """`data.json`: folder, summary, images, classes, their balance, sizes; empty where it is missing."""
        return read_mapping(self.folder / DATA).values

    @cached_property
    def confusion(self) -> Mapping[str, JSON]:
        """`confusion.json`: classes, and counts or the most frequent pairs; empty where it is missing."""
        return read_mapping(self.folder / CONFUSION).values

    @cached_property
    def curves(self) -> Mapping[str, JSON]:
        """`curves.json`: precision over recall of boxes and masks, for all classes and each; empty where missing."""
        return read_mapping(self.folder / CURVES).values

    @property
    def monitor(self) -> tuple[str, Mode] | None:
        """The metric by which the run is judged, without its split, and whether more or less of it is better."""
        recorded = self.environment.get("monitor")
        if isinstance(recorded, list) and len(recorded) == 2 and recorded[1] in ("max", "min"):
            return str(recorded[0]).removeprefix("val/"), "max" if recorded[1] == "max" else "min"
        return None

    @property
    def pretraining(self) -> str:
        """The pre-training of the weights it started from, such as `moco_v3`; empty where that is not recorded."""
        recorded = self.environment.get("pretraining")
        return recorded if isinstance(recorded, str) else ""

    @property
    def early_stop(self) -> EarlyStop | None:
        """Why a finished run ended before its last step; None where it did not."""
        return early_stop_of(self.metrics)

    @cached_property
    def class_names(self) -> tuple[str, ...] | None:
        """The classes of the run's data in label order; None where `classes.txt` is missing."""
        try:
            return tuple((self.folder / CLASSES).read_text(encoding="utf-8").splitlines())
        except (OSError, UnicodeDecodeError):
            return None

    def number(self, name: str) -> float | None:
        """A number of `metrics.json`, such as `seconds`, `images_per_second`, `peak_memory_gib` or `step`."""
        return finite_number(self.metrics.get(name))

    def rows(self, name: Literal["train", "val", "layers"]) -> list[Row]:
        """The whole rows of `<name>.csv`; a cell that is empty or no finite number is left out."""
        return number_rows(self.folder / f"{name}.csv")

    @cached_property
    def _config(self) -> Content:
        return read_mapping(self.folder / CONFIG)

    @cached_property
    def _environment(self) -> Content:
        return read_mapping(self.folder / ENVIRONMENT)

    @cached_property
    def _metrics(self) -> Content:
        return read_mapping(self.folder / METRICS)


def read_run(folder: Path) -> Run:
    """Reads a run's folder; a damaged one is read as far as it goes.

    Raises:
        UserError: nothing of a run is there.
    """
    if not any((folder / name).is_file() for name in FILES):
        raise UserError(f"{folder} is no run's folder, expected one of {', '.join(FILES)} in it")
    return Run(folder)


def started_from(folder: Path) -> str:
    """The pre-training that a run recorded so far; empty for a new run."""
    return Run(folder).pretraining


def finite_values(values: object) -> dict[str, float]:
    """The finite numbers of a mapping, by name; empty where it is none."""
    return {str(name): float(value) for name, value in table(values).items() if finite_number(value) is not None}


def best_of(metrics: Mapping[str, JSON]) -> Best:
    """The best value that a `metrics.json` holds."""
    found = table(metrics.get("best"))
    metric, value, step = (found.get(key) for key in ("metric", "value", "step"))
    name = metric.removeprefix("val/") if isinstance(metric, str) else None
    return Best(name, finite_number(value), _integer(step))


def _not_numbers(val: Mapping[str, JSON]) -> list[str]:
    """Returns one line for each metric without a number, and one for COCO's numbers of a size that no object has."""
    lacking = [name for name, value in val.items() if finite_number(value) is None]
    lines = []
    for ending, size in _SIZES.items():
        names = [name for name in lacking if name.endswith(ending) and val[name] is None]
        if names and finite_number(val.get("box_AP")) is not None:
            lines.append(f"no validation object {size}, so no {', '.join(names)}")
            lacking = [name for name in lacking if name not in names]
    return [f"metrics.json: {name} is not a number" for name in lacking] + lines


def _integer(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _texts(values: object) -> list[str]:
    return [str(value) for value in values] if isinstance(values, Sequence) and not isinstance(values, str) else []


def _parent(folder: Path, up: int) -> str:
    parents = folder.absolute().parents
    return parents[up].name if len(parents) > up else ""
