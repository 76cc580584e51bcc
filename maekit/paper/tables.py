"""The published tables, read from the YAML files beside this one. Every number has its source and how sure it is."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from typing import Any

import yaml

from maekit.errors import UserError, nearest

# How sure a number is: who was read for it, or that nobody was.
CONFIDENCE = ("paper", "repository", "thread", "computed", "from memory")


@dataclass(frozen=True)
class Published:
    """One published number.

    Attributes:
        value: in the unit that the table's title says.
        source: where it stands.
        confidence: one of CONFIDENCE.
    """

    value: float
    source: str
    confidence: str


@dataclass(frozen=True)
class Ours:
    """Which runs belong to a cell.

    Attributes:
        task: the task's name.
        recipes: the recipes; the first is the one whose command is given.
        metric: the name in `metrics.json`, without its split.
        weights: patterns of the weights to start from; one without a slash is a file's name without its ending.
        flags: what the command needs beside recipe and weights.
        start: the weights that the command names.
        when: dotted keys of the configuration and the values they must have.
        classes: how many classes the data must have; None does not ask.
        val_images: how many images must have been measured, where the run says it; None does not ask.
        images: how many images each split of the data must have, where the run records it.
        evaluation: the cell is filled by an evaluation of weights, not by a training.
        noise: the published standard deviation over seeds, in points.
        noise_source: where that stands.
    """

    task: str
    recipes: tuple[str, ...]
    metric: str
    weights: tuple[str, ...]
    flags: tuple[str, ...]
    start: str
    when: Mapping[str, Any] = field(default_factory=dict)
    classes: int | None = None
    val_images: int | None = None
    images: Mapping[str, int] = field(default_factory=dict)
    evaluation: bool = False
    noise: float | None = None
    noise_source: str = ""


@dataclass(frozen=True)
class Cell:
    """A place of a table that a run of ours can fill.

    Attributes:
        table: the table's name.
        row: the row's name.
        column: the column's name.
        published: what was published for it.
        ours: the runs that belong to it.
        lower_is_better: as with errors.
    """

    table: str
    row: str
    column: str
    published: Published
    ours: Ours
    lower_is_better: bool = False

    @property
    def name(self) -> str:
        """Row and column in words."""
        return f"{self.row}, {self.column}"


@dataclass(frozen=True)
class Row:
    """A row of published numbers by column; columns for which nothing was published are left out."""

    name: str
    values: Mapping[str, Published]
    source: str
    confidence: str


@dataclass(frozen=True)
class Table:
    """A published table, with the cells of it that runs of ours can fill."""

    name: str
    title: str
    source: str
    columns: tuple[str, ...]
    notes: tuple[str, ...]
    rows: tuple[Row, ...]
    cells: tuple[Cell, ...]


@cache
def table_names() -> tuple[str, ...]:
    """The tables' names, numbered ones first in their order."""
    folder = files("maekit.paper")
    names = [entry.name.removesuffix(".yaml").removeprefix("table") for entry in folder.iterdir() if _is_table(entry)]
    return tuple(sorted(names, key=lambda name: (not name.isdigit(), int(name) if name.isdigit() else 0, name)))


@cache
def load_table(name: str) -> Table:
    """Reads one table.

    Raises:
        UserError: there is none of that name.
    """
    if name not in table_names():
        raise UserError(
            f"no table '{name}'{nearest(name, table_names())} (known: {', '.join(table_names())}, and all of them: all)"
        )
    file = files("maekit.paper").joinpath(f"table{name}.yaml" if name.isdigit() else f"{name}.yaml")
    return make_table(yaml.load(file.read_text(encoding="utf-8"), _LOADER))


def make_table(found: Mapping[str, Any]) -> Table:
    """A table from what its file says; what a file leaves to the table, row or column is filled in."""
    rows, cells = [], []
    for said in found["rows"]:
        row = Row(
            said["name"],
            {column: _published(value, said, found) for column, value in said["values"].items()},
            str(said.get("source", found["source"])),
            str(said.get("confidence", "paper")),
        )
        rows.append(row)
        cells += [cell for column in row.values if (cell := _cell(found, said, row, column))]
    notes = tuple(found.get("notes", ()))
    return Table(
        found["name"], found["title"], found["source"], tuple(found["columns"]), notes, tuple(rows), tuple(cells)
    )


def _cell(found: Mapping[str, Any], said: Mapping[str, Any], row: Row, column: str) -> Cell | None:
    """The cell of a row and column; None where either says nothing of runs of ours."""
    by_column = [part.get("ours_by_column", {}).get(column) for part in (found, said)]
    if "ours" not in said or by_column == [None, None]:
        return None
    parts = (found.get("ours", {}), by_column[0] or {}, said["ours"], by_column[1] or {})
    merged: dict[str, Any] = {key: value for part in parts for key, value in part.items()}
    if "recipes" not in merged:
        return None
    noise = merged.pop("noise", {})
    ours = Ours(
        task=merged["task"],
        recipes=tuple(merged["recipes"]),
        metric=merged["metric"],
        weights=tuple(merged["weights"]),
        flags=tuple(merged.get("flags", ())),
        start=merged.get("start", merged["weights"][0]),
        when=merged.get("when", {}),
        classes=merged.get("classes"),
        val_images=merged.get("val_images"),
        images=merged.get("images", {}),
        evaluation=merged.get("evaluation", False),
        noise=noise.get("value"),
        noise_source=noise.get("source", ""),
    )
    return Cell(found["name"], row.name, column, row.values[column], ours, said.get("lower_is_better", False))


def _published(value: Any, row: Mapping[str, Any], table: Mapping[str, Any]) -> Published:
    own = value if isinstance(value, dict) else {"value": value}
    said = {"source": table["source"], "confidence": "paper", **{key: row[key] for key in _OF_ROW & set(row)}, **own}
    return Published(float(said["value"]), said["source"], said["confidence"])


def _is_table(entry: Any) -> bool:
    return bool(entry.name.endswith(".yaml"))


_OF_ROW = {"source", "confidence"}

# libyaml where PyYAML was built with it.
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
