"""What a report holds, before anybody draws it: sections of text, tables, charts and pictures, as plain data.

HTML, Markdown, LaTeX, CSV and JSON are all written from the one `Document`, so no form says more than another.
"""

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

Point = tuple[float, float]


@dataclass(frozen=True)
class Text:
    """Paragraphs, one a line of the tuple."""

    lines: tuple[str, ...]


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
    rows: tuple[tuple[Any, ...], ...]
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
    x_values: tuple[Any, ...]
    y_values: tuple[Any, ...]
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
    """Text to be read letter by letter: a command, a configuration."""

    text: str
    caption: str = ""


Chart = LineChart | HeatMap
Block = Text | Facts | Table | LineChart | HeatMap | Pictures | Code


@dataclass(frozen=True)
class Section:
    """A heading and what stands under it."""

    title: str
    blocks: tuple[Block, ...]


@dataclass(frozen=True)
class Document:
    """A whole report. `summary` is what a reader in a hurry must know; `created` says when and by what it was made."""

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


def as_json(document: Document) -> dict[str, Any]:
    """The document as plain JSON values: each block says its `type`; NaN and infinities are null, paths are text."""
    found = _plain(document)
    assert isinstance(found, dict)
    return found


def picked(count: int, most: int | None) -> list[int]:
    """At most `most` of the positions 0..count-1, evenly spaced, with the first and the last."""
    if most is None or count <= most:
        return list(range(count))
    if most < 2:
        return [count - 1]
    return [round(i * (count - 1) / (most - 1)) for i in range(most)]


def number_text(value: Any) -> str:
    """A cell's value as a reader wants it: four significant digits, `yes` and `no`, nothing for None and NaN."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if not isinstance(value, float):
        return str(value)
    if math.isinf(value):
        return "inf" if value > 0 else "-inf"
    if 1000 <= abs(value) < 1e7:
        return f"{value:.0f}"
    if 0 < abs(value) < 1e-4 or abs(value) >= 1e7:
        mantissa, exponent = f"{value:.3e}".split("e")
        return f"{mantissa.rstrip('0').rstrip('.')}e{int(exponent)}"
    return f"{value:.4g}"


def number_texts(values: Sequence[Any]) -> list[str]:
    """The values of one column as text: numbers of like size with the same number of decimals, so that they align."""
    kept = [value for value in values if value is not None and value == value]
    sizes = [abs(value) for value in kept if value and isinstance(value, float)]
    alike = bool(sizes) and all(isinstance(value, float) for value in kept) and max(sizes) / min(sizes) <= 100
    if not alike or max(sizes) >= 1e5 or min(sizes) < 1e-3:
        return [number_text(value) for value in values]
    needed = max(len(number_text(value).partition(".")[2]) for value in kept)
    digits = max(3 - math.floor(math.log10(median(sizes))), 1 - math.floor(math.log10(min(sizes))))
    decimals = max(0, min(needed, digits))  # four digits of the middle one, two of the smallest
    return [f"{value:.{decimals}f}" if number_text(value) else "" for value in values]


def _of_lines(chart: LineChart, most: int | None) -> Table:
    every = sorted({x for series in chart.series for x, *_ in (*series.points, *series.band, *series.dots)})
    columns = [chart.x_label]
    readers: list[dict[float, Any]] = []
    for series in chart.series:
        for name, values in _columns(series).items():
            columns.append(name)
            readers.append(values)
    kept = picked(len(every), most)
    rows = tuple((every[i], *(_finite(values.get(every[i])) for values in readers)) for i in kept)
    note = f"{len(kept)} of {len(every)} points." if len(kept) < len(every) else ""
    return Table(chart.name, tuple(columns), rows, caption=chart.title, note=note)


def _columns(series: Series) -> dict[str, dict[float, Any]]:
    """A series' columns: its value at each x, then its band's two ends and its single values, if it has them."""
    columns: dict[str, dict[float, Any]] = {series.label: dict(series.points)}
    if series.band:
        columns[f"{series.label}, low"] = {x: low for x, low, _ in series.band}
        columns[f"{series.label}, high"] = {x: high for x, _, high in series.band}
    if series.dots:
        single: dict[float, Any] = {}
        for x, y in series.dots:
            single[x] = f"{single[x]}; {y:.6g}" if x in single else f"{y:.6g}"
        columns[f"{series.label}, single values"] = single
    return columns


def _of_cells(chart: HeatMap, most: int | None) -> Table:
    kept = picked(len(chart.x_values), most)
    columns = (f"{chart.y_label} \\ {chart.x_label}", *(str(chart.x_values[i]) for i in kept))
    rows = tuple(
        (name, *(_finite(row[i]) for i in kept)) for name, row in zip(chart.y_values, chart.cells, strict=True)
    )
    said = [f"In {chart.unit}."] if chart.unit else []
    if len(kept) < len(chart.x_values):
        said.append(f"{len(kept)} of {len(chart.x_values)} columns.")
    return Table(chart.name, columns, rows, caption=chart.title, note=" ".join(said))


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _plain(value: Any) -> Any:
    """`value` in JSON's own kinds."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
        return {"type": type(value).__name__, **fields}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if value is None or isinstance(value, bool | int | str):
        return value
    return _finite(value) if isinstance(value, float) else str(value)
