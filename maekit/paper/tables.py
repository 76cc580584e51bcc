"""The published tables, read from the YAML files beside this one; every number has a source and a confidence."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from typing import NotRequired, TypedDict

import yaml

from maekit.errors import UserError, nearest
from maekit.system.plain import JSON
from maekit.system.yaml_loader import YAML_LOADER

# How sure a number is: what was read for it.
CONFIDENCE = ("paper", "repository", "thread", "computed", "from memory")


@dataclass(frozen=True)
class Published:
    """One published number.

    Attributes:
        value: in the unit that the table's title says.
        source: where it was published.
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
        weights: patterns of the weights to start from; one without a slash is a file's name without its ending. None:
            any of its pre-training, where no such file was released.
        flags: what the command needs beside recipe and weights.
        start: the weights that the command names, or a variable of the shell where no such file was released.
        when: dotted keys of the configuration and the values they must have.
        classes: how many classes the data must have; None does not ask.
        val_images: how many images must have been measured, where the run says it; None does not ask.
        images: how many images each split of the data must have, where the run records it.
        evaluation: the cell is filled by an evaluation of weights, not by a training.
        comparison: the row compares another pre-training than the recipe's: only runs from its weights belong to it.
        pretraining: the word for the pre-training of the row's weights, such as moco_v3; empty where any may be in it.
        noise: the published standard deviation over seeds, in points.
        noise_source: where that stands.
    """

    task: str
    recipes: tuple[str, ...]
    metric: str
    weights: tuple[str, ...]
    flags: tuple[str, ...]
    start: str
    when: Mapping[str, JSON] = field(default_factory=dict)
    classes: int | None = None
    val_images: int | None = None
    images: Mapping[str, int] = field(default_factory=dict)
    evaluation: bool = False
    comparison: bool = False
    pretraining: str = ""
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
    entries = [entry.name for entry in files("maekit.paper").iterdir() if entry.name.endswith(".yaml")]
    names = [name.removesuffix(".yaml").removeprefix("table") for name in entries]
    return tuple(sorted(names, key=lambda name: (not name.isdigit(), int(name) if name.isdigit() else 0, name)))


@cache
def load_table(name: str) -> Table:
    """Reads one table.

    Raises:
        UserError: no table has that name.
    """
    if name not in table_names():
        raise UserError(
            f"no table '{name}'{nearest(name, table_names())} (known: {', '.join(table_names())}, and all of them: all)"
        )
    file = files("maekit.paper").joinpath(f"table{name}.yaml" if name.isdigit() else f"{name}.yaml")
    return make_table(yaml.load(file.read_text(encoding="utf-8"), YAML_LOADER))


def make_table(found: "_TableFile") -> Table:
    """A table from what its file holds; a row's own source and confidence take precedence over the table's."""
    rows, cells = [], []
    for given in found["rows"]:
        source, confidence = given.get("source", found["source"]), given.get("confidence", "paper")
        values = {column: _published(value, source, confidence) for column, value in given["values"].items()}
        row = Row(given["name"], values, source, confidence)
        rows.append(row)
        cells += [cell for column in values if (cell := _cell(found, given, row, column))]
    return Table(
        found["name"],
        found["title"],
        found["source"],
        tuple(found["columns"]),
        tuple(found.get("notes", ())),
        tuple(rows),
        tuple(cells),
    )


def _cell(found: "_TableFile", given: "_RowFile", row: Row, column: str) -> Cell | None:
    """The cell of a row and column; None where either names no runs of ours."""
    of_table, of_row = (part.get("ours_by_column", {}).get(column) for part in (found, given))
    if "ours" not in given or (of_table is None and of_row is None):
        return None
    merged: _OursFile = {}
    for part in (found.get("ours"), of_table, given["ours"], of_row):  # later ones take precedence
        merged.update(part or {})
    if "recipes" not in merged:
        return None
    noise = merged.get("noise")
    ours = Ours(
        task=merged["task"],
        recipes=tuple(merged["recipes"]),
        metric=merged["metric"],
        weights=tuple(merged["weights"]),
        flags=tuple(merged.get("flags", ())),
        start=merged["start"] if "start" in merged else merged["weights"][0],
        when=merged.get("when", {}),
        classes=merged.get("classes"),
        val_images=merged.get("val_images"),
        images=merged.get("images", {}),
        evaluation=merged.get("evaluation", False),
        comparison=merged.get("comparison", False),
        pretraining=merged.get("pretraining", ""),
        noise=noise["value"] if noise else None,
        noise_source=noise["source"] if noise else "",
    )
    return Cell(found["name"], row.name, column, row.values[column], ours, given.get("lower_is_better", False))


def _published(value: "float | _PublishedFile", source: str, confidence: str) -> Published:
    if not isinstance(value, dict):
        return Published(float(value), source, confidence)
    return Published(float(value["value"]), value.get("source", source), value.get("confidence", confidence))


class _PublishedFile(TypedDict):
    """A number with a source of its own."""

    value: float
    source: NotRequired[str]
    confidence: NotRequired[str]


class _NoiseFile(TypedDict):
    value: float
    source: str


class _OursFile(TypedDict, total=False):
    """The fields of `Ours`, spread over a table, its columns, its rows and their columns."""

    task: str
    recipes: list[str]
    metric: str
    weights: list[str]
    flags: list[str]
    start: str
    when: dict[str, JSON]
    classes: int
    val_images: int
    images: dict[str, int]
    evaluation: bool
    comparison: bool
    pretraining: str
    noise: _NoiseFile


class _RowFile(TypedDict):
    name: str
    values: dict[str, float | _PublishedFile]
    source: NotRequired[str]
    confidence: NotRequired[str]
    lower_is_better: NotRequired[bool]
    ours: NotRequired[_OursFile]
    ours_by_column: NotRequired[dict[str, _OursFile]]


class _TableFile(TypedDict):
    name: str
    title: str
    source: str
    columns: list[str]
    rows: list[_RowFile]
    notes: NotRequired[list[str]]
    ours: NotRequired[_OursFile]
    ours_by_column: NotRequired[dict[str, _OursFile]]
