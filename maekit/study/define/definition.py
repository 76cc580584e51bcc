"""A study's definition: saved with it, so that it can be resumed on another machine, or refused if its recipe changed.

Standard library only.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from maekit.errors import UserError
from maekit.study.define.space import Cell, Choice, Interval, Space, grid_cells, short_value
from maekit.system.folds import all_folds
from maekit.system.plain import JSON


class Repeat(NamedTuple):
    """What the runs of one cell differ in: the seed, and the fold, as `2/5`; None without folds."""

    seed: int
    fold: str | None


@dataclass(frozen=True)
class Definition:
    """A study before any of its runs.

    Attributes:
        name: the study's own name, also in its database.
        task: the value of `--task`.
        recipe: its recipe's name.
        config: the user's own YAML files, absolute.
        flags: flags of every run.
        space: what is varied.
        seeds: each cell is run with each of them.
        sampler: `grid`, `random` or `tpe`.
        num_cells: cells to sample; None for a grid, which has all of its cells.
        pruning: `none`, `median` or `halving`.
        reduction: halving keeps one cell in so many.
        metric: the metric that cells are compared by, such as `val/top1`.
        mode: `max` or `min`.
        max_steps: optimizer steps of a full run; of the longest if cells differ.
        num_images: training images, which give the steps of an epoch.
        fixed: dotted key -> value of every hyper-parameter that is not varied.
        preset: the preset that gave the space, or None.
        sampler_seed: seed of the random and the TPE sampler.
        folds: each cell and seed is run on each of so many folds; None without folds.
    """

    name: str
    task: str
    recipe: str
    config: tuple[str, ...]
    flags: tuple[str, ...]
    space: Space
    seeds: tuple[int, ...]
    sampler: str
    num_cells: int | None
    pruning: str
    reduction: int
    metric: str
    mode: str
    max_steps: int
    num_images: int
    fixed: Mapping[str, JSON] = field(repr=False)
    preset: str | None = None
    sampler_seed: int = 0
    folds: int | None = None

    def cells(self) -> list[Cell]:
        """A grid's cells; empty for a sampler, which samples them one by one."""
        return grid_cells(self.space) if self.sampler == "grid" else []

    @property
    def repeats(self) -> tuple[Repeat, ...]:
        """The runs of each cell: every seed, with folds on every fold."""
        folds = (None,) if self.folds is None else all_folds(self.folds)
        return tuple(Repeat(seed, fold) for seed in self.seeds for fold in folds)

    @property
    def one_run(self) -> str:
        """What there is a run of, in words."""
        return "cell and seed" if self.folds is None else "cell, seed and fold"

    @property
    def repeated_over(self) -> str:
        """What a cell's mean is over, in words."""
        if self.folds is None:
            return "seeds"
        return "folds and seeds" if len(self.seeds) > 1 else "folds"

    def runs(self) -> list[tuple[Cell, Repeat]]:
        """A grid's cells with their repeats, in the order that `--trial` counts: folds, then seeds vary fastest."""
        return [(cell, repeat) for cell in self.cells() for repeat in self.repeats]

    @property
    def total_cells(self) -> int:
        """The number of cells of the whole study."""
        return len(self.cells()) if self.num_cells is None else self.num_cells

    def steps_of(self, cell: Cell) -> int:
        """Optimizer steps of a full run of one cell, which may vary the epochs or the batch size."""
        values = {**self.fixed, **cell}
        batch, epochs, steps = (
            _limit(values.get(key)) for key in ("data.total_batch_size", "trainer.max_epochs", "trainer.max_steps")
        )
        limits = [] if steps is None else [steps]
        if batch is not None and epochs is not None and self.num_images >= batch:
            limits.append(epochs * (self.num_images // batch))
        return min(limits, default=self.max_steps)

    def full_steps(self) -> int:
        """Optimizer steps of all cells, seeds and folds, each run to its end; with a sampler an upper bound."""
        cells = self.cells()
        once = sum(map(self.steps_of, cells)) if cells else self.total_cells * self.max_steps
        return once * len(self.repeats)

    def as_json(self) -> dict[str, JSON]:
        """Plain values, from which `from_json` makes an equal definition."""
        space = [{"kind": type(axis).__name__.lower(), **asdict(axis)} for axis in self.space]
        return {**asdict(self), "space": space}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "Definition":
        """Reads what `as_json` wrote.

        Raises:
            UserError: other values, such as those of another version of maekit.
        """
        try:
            space = tuple(_axis(**axis) for axis in values["space"])
            tuples = {key: tuple(values[key]) for key in ("config", "flags", "seeds")}
            return cls(**{**values, **tuples, "space": space})
        except (KeyError, TypeError, ValueError) as error:
            raise UserError(f"a study's definition cannot be read ({error}); was it made by this maekit?") from error

    def differences(self, now: "Definition") -> list[str]:
        """What changed that matters for the study's results, one line a key.

        Folders, devices, and how flags and files are written do not count.

        Args:
            now: the definition as it would be made today.
        """
        before, after = self.settings(), now.settings()
        keys = [key for key in {**before, **after} if before.get(key) != after.get(key)]
        return [f"{key}: {_shown(before, key)} in the study, {_shown(after, key)} now" for key in keys]

    def settings(self) -> dict[str, object]:
        """Everything that the study's results depend on, by dotted key or by name."""
        own: dict[str, object] = {
            "task": Path(self.task).stem,
            "recipe": self.recipe,
            "seeds": list(self.seeds),
            "sampler": self.sampler,
            "trials": self.num_cells,
            "pruner": self.pruning,
            "metric": f"{self.metric} ({self.mode})",
            "sampler's seed": self.sampler_seed,
            "training images": self.num_images,
            "steps": self.max_steps,
        }
        if self.folds is not None:
            own["folds"] = self.folds
        if self.pruning == "halving":
            own["reduction"] = self.reduction
        for axis in self.space:
            if isinstance(axis, Choice):
                own[axis.key] = list(axis.values)
            else:
                own[axis.key] = f"{axis.low:g} to {axis.high:g}{', log' if axis.log else ''}"
        return {**own, **self.fixed}


def _axis(kind: str, **values: Any) -> Choice | Interval:
    if kind == "choice":
        return Choice(values["key"], tuple(values["values"]))
    return Interval(**values)


def _limit(value: object) -> int | None:
    """A number of epochs, steps or images; None, 0 and -1 mean no limit."""
    return int(value) if isinstance(value, int | float) and value > 0 else None


def _shown(settings: Mapping[str, object], key: str) -> str:
    return short_value(settings[key]) if key in settings else "nothing"
