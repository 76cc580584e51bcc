"""What a study is, so that it can be kept, gone on with elsewhere, and refused when its recipe changed.

Standard library only.
"""

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from maekit.errors import UserError
from maekit.study.define.space import Cell, Choice, Interval, Space, grid_cells, short_value


@dataclass(frozen=True)
class Definition:
    """A study before any of its runs.

    Attributes:
        name: the study's own name, also in its database.
        task: as `--task` finds it again.
        recipe: its recipe's name.
        config: the user's own YAML files, absolute.
        flags: flags that every run is given.
        space: what is varied.
        seeds: each cell is run with each of them.
        sampler: `grid`, `random` or `tpe`.
        num_cells: cells to draw; None for a grid, which has as many as it has.
        pruning: `none`, `median` or `halving`.
        reduction: halving keeps one cell in so many.
        metric: what is compared, such as `val/top1`.
        mode: `max` or `min`.
        max_steps: optimizer steps of a full run, of the longest where the space changes that.
        num_images: training images, by which epochs are counted in steps.
        fixed: dotted key -> value of every hyper-parameter that is not varied.
        preset: the preset the space is of, or None.
        sampler_seed: of random and TPE.
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
    fixed: dict[str, Any] = field(repr=False)
    preset: str | None = None
    sampler_seed: int = 0

    def cells(self) -> list[Cell]:
        """A grid's cells; empty for a sampler, which draws them one by one."""
        return grid_cells(self.space) if self.sampler == "grid" else []

    def runs(self) -> list[tuple[Cell, int]]:
        """A grid's cells with their seeds, in the order that `--trial` counts: the seeds vary fastest."""
        return [(cell, seed) for cell in self.cells() for seed in self.seeds]

    @property
    def total_cells(self) -> int:
        """How many cells the study has in all."""
        return len(self.cells()) if self.num_cells is None else self.num_cells

    def steps_of(self, cell: Cell) -> int:
        """Optimizer steps of a full run of one cell, whose keys may change the epochs or the batch."""
        values = {**self.fixed, **cell}
        batch = values.get("data.total_batch_size")
        epochs, steps = values.get("trainer.max_epochs") or -1, values.get("trainer.max_steps") or -1
        limits = [limit for limit in (steps, epochs * (self.num_images // batch) if batch else -1) if limit > 0]
        return min(limits, default=self.max_steps)

    def full_steps(self) -> int:
        """Optimizer steps of all cells and seeds, each run to its end; of a sampler's cells the most it can be."""
        cells = self.cells()
        one_seed = sum(map(self.steps_of, cells)) if cells else self.total_cells * self.max_steps
        return one_seed * len(self.seeds)

    def as_json(self) -> dict[str, Any]:
        """Plain values, from which `from_json` makes an equal definition."""
        space = [{"kind": type(axis).__name__.lower(), **asdict(axis)} for axis in self.space]
        return {**asdict(self), "space": space}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "Definition":
        """The definition that `as_json` was of.

        Raises:
            UserError: values that are none, such as those of another version of maekit.
        """
        try:
            space = tuple(_axis(dict(axis)) for axis in values["space"])
            tuples = {key: tuple(values[key]) for key in ("config", "flags", "seeds")}
            return cls(**{**values, **tuples, "space": space})
        except (KeyError, TypeError, ValueError) as error:
            raise UserError(f"a study's definition cannot be read ({error}); was it made by this maekit?") from error

    def differences(self, now: "Definition") -> list[str]:
        """What changed under the study, one line a key; empty where nothing that matters for its results did.

        Where things lie and what they run on does not count: folders, devices, the flags' and files' own text.

        Args:
            now: the definition as it would be made today.
        """
        before, after = self._what_matters(), now._what_matters()
        keys = [key for key in {**before, **after} if before.get(key) != after.get(key)]
        return [f"{key}: {_said(before, key)} in the study, {_said(after, key)} now" for key in keys]

    def _what_matters(self) -> dict[str, Any]:
        own = {
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
        if self.pruning == "halving":
            own["reduction"] = self.reduction
        axes = {
            axis.key: list(axis.values)
            if isinstance(axis, Choice)
            else f"{axis.low:g} to {axis.high:g}{', log' if axis.log else ''}"
            for axis in self.space
        }
        return {**own, **axes, **self.fixed}


def _axis(values: dict[str, Any]) -> Choice | Interval:
    if values.pop("kind") == "choice":
        return Choice(values["key"], tuple(values["values"]))
    return Interval(**values)


def _said(values: dict[str, Any], key: str) -> str:
    return short_value(values[key]) if key in values else "nothing"
