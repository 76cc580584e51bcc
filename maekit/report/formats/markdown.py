"""A document as Markdown (GitHub's kind), with its charts as the SVG files beside it."""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from maekit.report.document import (
    Block,
    Code,
    Document,
    Facts,
    Findings,
    HeatMap,
    LineChart,
    Pictures,
    Table,
    Text,
    Value,
    as_table,
)
from maekit.system.numbers import cell_text

_MOST_ROWS = 12  # of a chart's table


def render_markdown(document: Document, charts: Mapping[int, Path], pictures: Mapping[Path, Path]) -> str:
    """Returns the Markdown text.

    Args:
        document: what to say.
        charts: `id` of a chart -> its SVG file, as the text shall link it; one that is not there has its numbers alone.
        pictures: a picture's file -> where the text shall link it.
    """
    lines = [f"# {escape(document.title)}", "", *(f"- {escape(line)}" for line in document.summary)]
    for section in document.sections:
        lines += ["", f"## {escape(section.title)}"]
        for block in section.blocks:
            lines += ["", *_block(block, charts, pictures)]
    return "\n".join([*lines, "", f"*{escape(document.created)}*", ""])


def escape(text: str) -> str:
    """Text as it is, on one line: nothing in it becomes mark-up."""
    return re.sub(r"([\\`*_{}\[\]<>|#~&$])", r"\\\1", re.sub(r"\s+", " ", text))


def _block(block: Block, charts: Mapping[int, Path], pictures: Mapping[Path, Path]) -> Iterator[str]:
    if isinstance(block, Text):
        yield from "\n\n".join(escape(line) for line in block.lines).split("\n")
    elif isinstance(block, Findings):
        yield from (f"- {escape(one.text)} (*{escape(one.section)}*)" for one in block.items)
    elif isinstance(block, Facts):
        yield from _rows(("", ""), [(name, value) for name, value in block.pairs])
    elif isinstance(block, Table):
        yield from _table(block)
    elif isinstance(block, Code):
        yield from _code(block)
    elif isinstance(block, Pictures):
        yield f"### {escape(block.title)}"
        yield ""
        for picture in block.pictures:
            link = _link(pictures.get(picture.path, picture.path))
            yield f"![{escape(picture.caption)}]({link}) {escape(picture.caption)}"
            yield ""
    else:
        yield from _chart(block, charts)


def _chart(chart: LineChart | HeatMap, charts: Mapping[int, Path]) -> Iterator[str]:
    yield f"### {escape(chart.title)}"
    yield ""
    if id(chart) in charts:
        yield f"![{escape(chart.title)}]({_link(charts[id(chart)])})"
        yield ""
    if chart.caption:
        yield escape(chart.caption)
        yield ""
    table = as_table(chart, most=_MOST_ROWS)
    yield from _rows(table.columns, table.rows)
    if table.note:
        yield from ("", escape(table.note))


def _table(table: Table) -> Iterator[str]:
    if table.caption:
        yield from (f"**{escape(table.caption)}**", "")
    yield from _rows(table.columns, table.rows)
    if table.note:
        yield from ("", escape(table.note))


def _rows(columns: tuple[str, ...], rows: Sequence[Sequence[Value]]) -> Iterator[str]:
    if not rows:
        yield "*(no rows)*"
        return
    numeric = [all(isinstance(row[at], int | float | None) for row in rows) for at in range(len(columns))]
    yield f"| {' | '.join(escape(name) for name in columns)} |"
    yield f"|{'|'.join('---:' if right else '---' for right in numeric)}|"
    for row in rows:
        yield f"| {' | '.join(escape(cell_text(cell)) for cell in row)} |"


def _code(block: Code) -> Iterator[str]:
    if block.caption:
        yield from (f"{escape(block.caption)}:", "")
    longest = max((len(run) for run in re.findall(r"`+", block.text)), default=0)
    fence = "`" * max(3, longest + 1)
    yield from (fence, *block.text.splitlines(), fence)


def _link(file: Path) -> str:
    """A path as a link's target: in angle brackets it may hold blanks and brackets."""
    return f"<{file.as_posix().replace('<', '%3C').replace('>', '%3E')}>"
