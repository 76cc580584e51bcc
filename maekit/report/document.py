"""A report as plain data: sections of text, tables, charts and pictures.

HTML, Markdown, LaTeX, CSV and JSON are all written from one `Document`, so all of them have the same content.
"""

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from maekit.system.plain import JSON

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Point = tuple[float, float]
Value = str | float | bool | None  # of a cell of a table


@dataclass(frozen=True)
class Text:
    """Paragraphs, one for each element of `lines`."""

    lines: tuple[str, ...]


@dataclass(frozen=True)
class Finding:
    """A sentence, and the title of the section that has the numbers on which it rests."""

    text: str
    section: str


@dataclass(frozen=True)
class Findings:
    """Sentences that each rest on numbers of another section."""

    items: tuple[Finding, ...]


@dataclass(frozen=True)
class Facts:
    """Names and their values, such as the parts of a machine."""

    pairs: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Table:
    """Rows under named columns. Numbers stay numbers, so that they sort and align; None is an empty cell.

    `name` is the table's short name, good for a file (`ranking`); `note` stands under the table.
    """

    name: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Value, ...], ...]
    caption: str = ""
    note: str = ""


@dataclass(frozen=True)
class Series:
    """One curve: its points in the order of x. A y that is NaN or infinite is a gap.

    `band` is (x, low, high) around it, such as one standard deviation over seeds; `dots` are single values, such as
    each seed's.
    """

    label: str
    points: tuple[Point, ...]
    band: tuple[tuple[float, float, float], ...] = ()
    dots: tuple[Point, ...] = ()


@dataclass(frozen=True)
class LineChart:
    """Curves over one x. Log axes leave out values that are not positive, and say how many."""

    name: str
    title: str
    x_label: str
    y_label: str
    series: tuple[Series, ...]
    log_x: bool = False
    log_y: bool = False
    caption: str = ""


@dataclass(frozen=True)
class HeatMap:
    """Values over two lists: `cells[row of y][column of x]`, None or NaN where there is none.

    `x_values` run from left to right and `y_values` from top to bottom, numbers or names. With `annotate` each cell
    prints its number where the cells are large enough for it.
    """

    name: str
    title: str
    x_label: str
    y_label: str
    x_values: tuple[str | float, ...]
    y_values: tuple[str | float, ...]
    cells: tuple[tuple[float | None, ...], ...]
    log: bool = False
    unit: str = ""
    caption: str = ""
    annotate: bool = True


@dataclass(frozen=True)
class Picture:
    """A JPEG or PNG file and what it shows."""

    path: Path
    caption: str


@dataclass(frozen=True)
class Pictures:
    """Pictures side by side under one heading."""

    title: str
    pictures: tuple[Picture, ...]


@dataclass(frozen=True)
class Code:
    """Text in a monospaced font: a command, a configuration."""

    text: str
    caption: str = ""


Chart = LineChart | HeatMap
Block = Text | Findings | Facts | Table | LineChart | HeatMap | Pictures | Code


@dataclass(frozen=True)
class Section:
    """A heading and what stands under it."""

    title: str
    blocks: tuple[Block, ...]


@dataclass(frozen=True)
class Document:
    """A whole report; `summary` is its main results, one line each, and `created` its date and version."""

    title: str
    summary: Sequence[str]
    sections: tuple[Section, ...]
    created: str


def as_table(chart: Chart, most: int | None = None) -> Table:
    """The numbers of a chart as a table of the same name, for those who read text.

    Args:
        chart: What to tell.
        most: At most so many rows of a line chart, or columns of a heat map, evenly picked with the first and the
            last one; the note says how many there are. None: all.
    """
    return _of_lines(chart, most) if isinstance(chart, LineChart) else _of_cells(chart, most)


def as_json(document: Document) -> dict[str, JSON]:
    """The document as plain JSON values: each block says its `type`; NaN and infinities are null, paths are text."""
    return _fields(document)


def picked(count: int, most: int | None) -> list[int]:
    """At most `most` of the positions 0..count-1, evenly spaced, with the first and the last."""
    if most is None or count <= most:
        return list(range(count))
    if most < 2:
        return [count - 1]
    return [round(i * (count - 1) / (most - 1)) for i in range(most)]


def _of_lines(chart: LineChart, most: int | None) -> Table:
    every = sorted({x for series in chart.series for x, *_ in (*series.points, *series.band, *series.dots)})
    columns = [pair for series in chart.series for pair in _columns(series)]
    kept = picked(len(every), most)
    rows = tuple((every[i], *(_finite(values.get(every[i])) for _, values in columns)) for i in kept)
    note = f"{len(kept)} of {len(every)} points." if len(kept) < len(every) else ""
    return Table(chart.name, (chart.x_label, *(name for name, _ in columns)), rows, caption=chart.title, note=note)


def _columns(series: Series) -> Iterator[tuple[str, Mapping[float, Value]]]:
    """A series' columns: its value at each x, then its band's two ends and its single values, if it has them."""
    yield series.label, dict(series.points)
    if series.band:
        yield f"{series.label}, low", {x: low for x, low, _ in series.band}
        yield f"{series.label}, high", {x: high for x, _, high in series.band}
    if series.dots:
        single: dict[float, str] = {}
        for x, y in series.dots:
            single[x] = f"{single[x]}; {y:.6g}" if x in single else f"{y:.6g}"
        yield f"{series.label}, single values", single


def _of_cells(chart: HeatMap, most: int | None) -> Table:
    kept = picked(len(chart.x_values), most)
    columns = (f"{chart.y_label} \\ {chart.x_label}", *(str(chart.x_values[i]) for i in kept))
    rows = tuple(
        (name, *(_finite(row[i]) for i in kept)) for name, row in zip(chart.y_values, chart.cells, strict=True)
    )
    notes = [f"In {chart.unit}."] if chart.unit else []
    if len(kept) < len(chart.x_values):
        notes.append(f"{len(kept)} of {len(chart.x_values)} columns.")
    return Table(chart.name, columns, rows, caption=chart.title, note=" ".join(notes))


def _finite(value: Value) -> Value:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _fields(block: "DataclassInstance") -> dict[str, JSON]:
    values = {field.name: _plain(getattr(block, field.name)) for field in dataclasses.fields(block)}
    return {"type": type(block).__name__, **values}


def _plain(value: object) -> JSON:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return _fields(value)
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        return _finite(value)
    return value if value is None or isinstance(value, int | str) else str(value)
