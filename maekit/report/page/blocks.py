"""Views: for each kind of block the name of its template macro, and its content, ready to be printed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from maekit.report.charts.charts import draw, remarks
from maekit.report.charts.frame import NARROW, WIDE
from maekit.report.document import Chart, Code, Facts, Findings, LineChart, Pictures, Table, Text, Value, as_table
from maekit.report.page.pictures import Shown
from maekit.system.numbers import number_texts
from maekit.system.plain import is_number

_CHART_ROWS = 40  # of the table under a chart; the files of tables have all
_CHART_COLUMNS = 24
_LONG = 40  # characters, from which on a cell is given room to wrap


@dataclass(frozen=True)
class TextView:
    """Paragraphs that are not empty."""

    macro: ClassVar = "text"
    lines: Sequence[str]


@dataclass(frozen=True)
class FindingsView:
    """Sentences with the section they rest on; `part` is its number on the page, 0 where it is not there."""

    macro: ClassVar = "findings"
    items: Sequence[tuple[str, str, int]]


@dataclass(frozen=True)
class FactsView:
    """Names and values."""

    macro: ClassVar = "facts"
    pairs: Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Cell:
    """A cell of a table; `look` is its CSS class, `exact` the whole number by which it is sorted."""

    text: str
    look: str = ""
    exact: str | None = None


@dataclass(frozen=True)
class TableView:
    """A table as far as it is printed."""

    macro: ClassVar = "table"
    label: str
    caption: str
    heads: Sequence[Cell]
    rows: Sequence[Sequence[Cell]]
    note: str


@dataclass(frozen=True)
class ChartView:
    """A chart drawn for a desktop and for a phone, and its numbers."""

    macro: ClassVar = "chart"
    name: str
    title: str
    caption: str
    wide: str
    narrow: str
    remarks: Sequence[str]
    numbers: TableView


@dataclass(frozen=True)
class CodeView:
    """Text in a monospaced font."""

    macro: ClassVar = "code"
    text: str
    caption: str


@dataclass(frozen=True)
class PicturesView:
    """The pictures of a block that the page has room for, and why others are not there."""

    macro: ClassVar = "pictures"
    title: str
    pictures: Sequence[Shown]


View = TextView | FindingsView | FactsView | TableView | ChartView | CodeView | PicturesView


def view(
    block: Text | Findings | Facts | Table | Pictures | Code,
    pictures: Mapping[int, Sequence[Shown]],
    most_rows: int,
    titles: Sequence[str],
) -> View:
    """The view of a block other than a chart.

    Args:
        block: the block.
        pictures: `id` of a block of pictures -> its pictures, as far as the page has room for them.
        most_rows: longer tables are cut, and say so.
        titles: of the page's sections, in their order.
    """
    if isinstance(block, Text):
        return TextView([line for line in block.lines if line])
    if isinstance(block, Findings):
        places = {title: place for place, title in reversed([*enumerate(titles, 1)])}
        return FindingsView([(one.text, one.section, places.get(one.section, 0)) for one in block.items])
    if isinstance(block, Facts):
        return FactsView(block.pairs)
    if isinstance(block, Table):
        return table_view(block, most_rows)
    if isinstance(block, Code):
        return CodeView(block.text, block.caption)
    return PicturesView(block.title, pictures[id(block)])


def chart_view(chart: Chart) -> ChartView:
    """The chart's two drawings, and its numbers as a table."""
    wide, narrow = (
        draw(chart, width).replace('class="chart"', f'class="chart {name}"', 1)
        for width, name in ((WIDE, "wide"), (NARROW, "narrow"))
    )
    most = _CHART_ROWS if isinstance(chart, LineChart) else _CHART_COLUMNS
    numbers = table_view(as_table(chart, most), _CHART_ROWS)
    return ChartView(chart.name, chart.title, chart.caption, wide, narrow, remarks(chart), numbers)


def table_view(table: Table, most_rows: int) -> TableView:
    """A table's first rows; numbers stand right and carry their full value for sorting."""
    columns = [[row[at] for row in table.rows] for at in range(len(table.columns))]
    numeric = [_all_numbers(values) for values in columns]
    texts = [number_texts(values) for values in columns]
    rows = [
        [_cell(value, texts[at][place], numeric[at]) for at, value in enumerate(row)]
        for place, row in enumerate(table.rows[:most_rows])
    ]
    heads = [Cell(name, "num" if numeric[at] else "") for at, name in enumerate(table.columns)]
    cut = f"The first {most_rows} of {len(table.rows)} rows; the files of tables have all."
    note = " ".join(part for part in (cut if len(table.rows) > most_rows else "", table.note) if part)
    return TableView(table.caption or table.name, table.caption, heads, rows, note)


def _cell(value: Value, text: str, numeric: bool) -> Cell:
    exact = repr(float(value)) if is_number(value) and text and abs(value) < float("inf") else None
    return Cell(text, "num" if numeric else "long" if len(text) > _LONG else "", exact)


def _all_numbers(values: Sequence[Value]) -> bool:
    kept = [value for value in values if value is not None]
    return bool(kept) and all(map(is_number, kept))
