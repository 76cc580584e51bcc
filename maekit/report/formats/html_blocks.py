"""Each kind of block as HTML. Wide things scroll in a box of their own that the keyboard can reach."""

from collections.abc import Callable, Sequence
from typing import Any

from maekit.report.charts.charts import draw, remarks
from maekit.report.charts.frame import NARROW, WIDE
from maekit.report.charts.svg import element, escaped
from maekit.report.document import (
    Block,
    Chart,
    Code,
    Facts,
    HeatMap,
    LineChart,
    Pictures,
    Table,
    Text,
    as_table,
    number_texts,
)
from maekit.report.formats.html_pictures import Shown

_CHART_ROWS = 40  # of the table under a chart; the files of tables have all
_CHART_COLUMNS = 24


def block_html(block: Block, pictures: Callable[[Pictures], Sequence[Shown]], most_rows: int) -> str:
    """The block as HTML.

    Args:
        block: What to write.
        pictures: Gives the pictures of a block, as far as the page has room for them.
        most_rows: Longer tables are cut, and say so.
    """
    if isinstance(block, Text):
        return _div("".join(element("p", escaped(line)) for line in block.lines if line))
    if isinstance(block, Facts):
        pairs = (f"<dt>{escaped(name)}</dt><dd>{escaped(value)}</dd>" for name, value in block.pairs)
        return f'<dl class="block">{"".join(pairs)}</dl>' if block.pairs else ""
    if isinstance(block, Table):
        return _div(table_html(block, most_rows))
    if isinstance(block, LineChart | HeatMap):
        return _chart(block)
    if isinstance(block, Code):
        return _code(block)
    return _pictures(block, pictures(block))


def table_html(table: Table, most_rows: int) -> str:
    """A table in a scrolling box; numbers stand right and carry their full value for sorting."""
    numeric = [_numbers([row[i] for row in table.rows]) for i in range(len(table.columns))]
    texts = [number_texts([row[i] for row in table.rows]) for i in range(len(table.columns))]
    heads = (
        f'<th scope="col"{_class("num" if numeric[i] else "")}>{escaped(name)}</th>'
        for i, name in enumerate(table.columns)
    )
    rows = "".join(
        f"<tr>{''.join(_cell(value, texts[i][j], i == 0, numeric[i]) for i, value in enumerate(row))}</tr>"
        for j, row in enumerate(table.rows[:most_rows])
    )
    caption = f"<caption>{escaped(table.caption)}</caption>" if table.caption else ""
    label = escaped(" ".join((table.caption or table.name).split()))
    whole = f"<table>{caption}<thead><tr>{''.join(heads)}</tr></thead><tbody>{rows}</tbody></table>"
    note = " ".join(part for part in (_cut_note(len(table.rows), most_rows), table.note) if part)
    box = f'<div class="scroll" tabindex="0" role="region" aria-label="{label}">{whole}</div>'
    return box + (f'<p class="note">{escaped(note)}</p>' if note else "")


def _cut_note(count: int, most: int) -> str:
    return f"The first {most} of {count} rows; the files of tables have all." if count > most else ""


def _cell(value: Any, text: str, first: bool, numeric: bool) -> str:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    exact = f' data-v="{float(value)!r}"' if number and text and abs(value) < float("inf") else ""
    name = "num" if numeric else "long" if len(text) > 40 else ""
    tag, scope = ("th", ' scope="row"') if first else ("td", "")
    return f"<{tag}{scope}{_class(name)}{exact}>{escaped(text)}</{tag}>"


def _numbers(values: list[Any]) -> bool:
    kept = [value for value in values if value is not None]
    return bool(kept) and all(isinstance(value, int | float) and not isinstance(value, bool) for value in kept)


def _chart(chart: Chart) -> str:
    caption = f"<h3>{escaped(chart.title)}</h3>" + (escaped(chart.caption) if chart.caption else "")
    both = _named(draw(chart, WIDE), "wide") + _named(draw(chart, NARROW), "narrow")
    notes = "".join(f'<p class="note">{escaped(line)}</p>' for line in remarks(chart))
    most = _CHART_ROWS if isinstance(chart, LineChart) else _CHART_COLUMNS
    table = as_table(chart, most)
    numbers = f"<details><summary>Numbers</summary>{table_html(table, _CHART_ROWS)}</details>" if table.rows else ""
    return (
        f'<figure data-chart="{escaped(chart.name)}"><figcaption>{caption}</figcaption>{both}{notes}{numbers}</figure>'
    )


def _named(svg: str, name: str) -> str:
    return svg.replace('class="chart"', f'class="chart {name}"', 1)


def _code(block: Code) -> str:
    label = escaped(" ".join(block.caption.split()) or "code")
    caption = f"<h3>{escaped(block.caption)}</h3>" if block.caption else ""
    code = (
        f'<pre class="scroll" tabindex="0" role="region" aria-label="{label}"><code>{escaped(block.text)}</code></pre>'
    )
    return _div(caption + code)


def _pictures(block: Pictures, shown: Sequence[Shown]) -> str:
    cells = []
    for picture in shown:
        alt = escaped(" ".join(picture.caption.split()))
        image = (
            f'<img src="{picture.data}" width="{picture.width}" height="{picture.height}" alt="{alt}">'
            if picture.data
            else f'<p class="gone">{escaped(picture.reason)}</p>'
        )
        wide = max(picture.width, 140)
        small = _class("small" if wide <= 200 else "")
        cells.append(f'<div{small} style="width:{wide}px">{image}<p>{escaped(picture.caption)}</p></div>')
    if not cells:
        return ""
    title = f"<figcaption><h3>{escaped(block.title)}</h3></figcaption>" if block.title else ""
    return f'<figure>{title}<div class="pictures">{"".join(cells)}</div></figure>'


def _class(name: str) -> str:
    return f' class="{name}"' if name else ""


def _div(inside: str) -> str:
    return f'<div class="block">{inside}</div>' if inside else ""
