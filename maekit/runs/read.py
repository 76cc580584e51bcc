"""One run, read from its folder. What is missing or cut is said, and never guessed."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeGuard

import yaml

from maekit.errors import UserError
from maekit.recipes.recipe import Values, flat
from maekit.runs.rows import Row, number_rows

Status = Literal["finished", "stopped", "validated", "paused", "unfinished"]
Mode = Literal["max", "min"]
FILES = ("config.yaml", "environment.json", "metrics.json")

# Where a run stands, on what and how it is watched: none of it changes what is learned.
_ELSEWHERE = (
    "data.root",
    "data.num_workers",
    "data.device_batch_size",
    "model.gradient_checkpointing",
    "trainer.accelerator",
    "trainer.devices",
    "trainer.num_nodes",
    "trainer.strategy",
    "trainer.log_every_n_steps",
    "trainer.val_check_interval",
    "trainer.check_val_every_n_epoch",
    "trainer.num_sanity_val_steps",
    "trainer.enable_progress_bar",
    "trainer.enable_model_summary",
    "trainer.profiler",
    "trainer.sync_batchnorm",
    "trainer.precision",
)
_PLACES = ("_root", "_images", "_json", "_list", "_folder")  # ends of keys under `data` that name files

# COCO's metrics of small, medium and large objects are empty where no object has that size.
_SIZES = {
    ("APs", "ARs"): "below 32 x 32 pixels",
    ("APm", "ARm"): "of 32 x 32 to 96 x 96 pixels",
    ("APl", "ARl"): "above 96 x 96 pixels",
}


class Difference(NamedTuple):
    """A hyper-parameter in which a run differs from its recipe, or from the default where the recipe leaves it out."""

    key: str
    recipe: Any
    run: Any


@dataclass(frozen=True)
class Run:
    """What a run's folder holds.

    Attributes:
        folder: the folder.
        config: `config.yaml` by section; empty where it is missing.
        metrics: `metrics.json`; empty where it is missing: the run has not come to its end.
        environment: `environment.json`; empty where it is missing.
        problems: one line for each file that is missing, cut or unreadable, and for each metric that is no number.
    """

    folder: Path
    config: Values = field(repr=False)
    metrics: Mapping[str, Any] = field(repr=False)
    environment: Mapping[str, Any] = field(repr=False)
    problems: tuple[str, ...]

    @property
    def task(self) -> str:
        """The task as `--task` was told it; of a folder that does not say, what its place says."""
        return str(self.environment.get("task") or _parent(self.folder, 1))

    @property
    def recipe(self) -> str:
        """The recipe's name."""
        return str(self.environment.get("recipe") or _parent(self.folder, 0))

    @property
    def status(self) -> Status:
        """How far it came: a finished run has results, one that a callback stopped, and an evaluation of weights."""
        said = self.metrics.get("status")
        return said if said in ("finished", "stopped", "validated", "paused") else "unfinished"

    @cached_property
    def flat_config(self) -> dict[str, Any]:
        """The resolved configuration by dotted keys."""
        return dict(flat(self.config))

    @property
    def seed(self) -> int | None:
        """The run's seed."""
        seed = self.flat_config.get("run.seed")
        return seed if isinstance(seed, int) else None

    @property
    def val(self) -> dict[str, float]:
        """The last evaluation's metrics; those that are no finite numbers are left out."""
        return {name: float(value) for name, value in _mapping(self.metrics.get("val")).items() if _finite(value)}

    @property
    def best(self) -> float | None:
        """The best value of the monitored metric, as `best.ckpt` has it."""
        value = _mapping(self.metrics.get("best")).get("value")
        return float(value) if _finite(value) else None

    @property
    def monitor(self) -> tuple[str, Mode] | None:
        """The metric by which the run is judged, without its split, and whether more or less of it is better."""
        said = self.environment.get("monitor")
        if isinstance(said, list) and len(said) == 2 and said[1] in ("max", "min"):
            return str(said[0]).removeprefix("val/"), said[1]
        return None

    def number(self, name: str) -> float | None:
        """A number of `metrics.json`, such as `seconds`, `images_per_second`, `peak_memory_gib` or `step`."""
        value = self.metrics.get(name)
        return float(value) if _finite(value) else None

    def rows(self, name: Literal["train", "val", "layers"]) -> list[Row]:
        """The whole rows of `<name>.csv`; a cell that is empty or no finite number is left out."""
        return number_rows(self.folder / f"{name}.csv")

    def differences(self) -> list[Difference]:
        """The hyper-parameters in which the run differs from its shipped recipe, as both were when it began.

        What the recipe leaves to a default counts where a flag set it.
        """
        recipe = _mapping(self.environment.get("recipe_values"))
        if not recipe:
            return []
        defaults = self._defaults()
        given = [key for key in self.environment.get("given") or [] if key not in recipe and key in defaults]
        keys = [key for key in (*recipe, *given) if is_hyper_parameter(key) and key in self.flat_config]
        pairs = [Difference(key, {**defaults, **recipe}[key], self.flat_config[key]) for key in keys]
        return [pair for pair in pairs if pair.recipe != pair.run and not self.stands_for_recipe(pair)]

    def stands_for_recipe(self, pair: Difference) -> bool:
        """Whether a value is what the recipe asks for: weights where it names none, what the data decided of `auto`."""
        if pair.key == "model.weights":
            return pair.recipe is None
        flags = self._flags()
        given = pair.key in flags or (pair.key in (self.environment.get("given") or []) and "ckpt_path" not in flags)
        return pair.recipe == "auto" and not given  # a checkpoint's card gives every key

    def _flags(self) -> set[str]:
        words = [str(word) for word in self.environment.get("command") or []]
        return {word.partition("=")[0].removeprefix("--") for word in words if word.startswith("--")}

    def _defaults(self) -> Mapping[str, Any]:
        """The defaults of the keys that were given and are not the recipe's.

        A run of an older version does not record them, and calls whatever a checkpoint's card holds given: of it only
        what its command names counts.
        """
        known = self.environment.get("defaults")
        if isinstance(known, dict):
            return known
        flags = self._flags()
        given = [str(key) for key in self.environment.get("given") or []]
        from_card = "ckpt_path" in flags and self.status == "validated"
        return {key: None for key in given if key in flags or not from_card}


def is_hyper_parameter(key: str) -> bool:
    """Whether a dotted key may change what a run learns, not merely where, on what or how watched it runs."""
    if key.startswith("run.") or key in _ELSEWHERE:
        return False
    return not names_data(key)


def names_data(key: str) -> bool:
    """Whether a dotted key names files of the data."""
    return key == "data.root" or (key.startswith("data.") and key.endswith(_PLACES))


def read_run(folder: Path) -> Run:
    """Reads a run's folder; a damaged one is read as far as it goes.

    Raises:
        UserError: nothing of a run is there.
    """
    if not any((folder / name).is_file() for name in FILES):
        raise UserError(f"{folder} is no run's folder, expected one of {', '.join(FILES)} in it")
    problems: list[str] = []
    config = _read(folder / "config.yaml", problems)
    environment = _read(folder / "environment.json", problems)
    metrics = _read(folder / "metrics.json", problems)
    problems += _not_numbers(_mapping(metrics.get("val")))
    return Run(folder, config, metrics, environment, tuple(problems))


def _not_numbers(val: Mapping[str, Any]) -> list[str]:
    """Returns one line for each metric without a number, and one for COCO's numbers of a size that no object has."""
    lacking = [name for name, value in val.items() if not _finite(value)]
    lines = []
    for ending, size in _SIZES.items():
        names = [name for name in lacking if name.endswith(ending) and val[name] is None]
        if names and _finite(val.get("box_AP")):
            lines.append(f"no validation object {size}, so no {', '.join(names)}")
            lacking = [name for name in lacking if name not in names]
    return [f"metrics.json: {name} is not a number" for name in lacking] + lines


def _read(file: Path, problems: list[str]) -> dict[str, Any]:
    try:
        text = file.read_text(encoding="utf-8")
        found = json.loads(text) if file.suffix == ".json" else yaml.load(text, _LOADER)
    except FileNotFoundError:
        problems.append(f"{file.name} is missing")
        return {}
    except (OSError, ValueError, yaml.YAMLError, RecursionError):
        problems.append(f"{file.name} is cut off or damaged")
        return {}
    if not isinstance(found, dict):
        problems.append(f"{file.name} is cut off or damaged")
        return {}
    return found


# libyaml where PyYAML was built with it: a hundred configurations in a second, not in five.
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _finite(value: Any) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _parent(folder: Path, up: int) -> str:
    parents = folder.absolute().parents
    return parents[up].name if len(parents) > up else ""
