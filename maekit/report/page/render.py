"""The report as one HTML file that needs nothing else: no network, no other file, and no script but for sorting."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from importlib.resources import files

from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from markupsafe import Markup, escape

from maekit.report.charts.charts import CHART_STYLE
from maekit.report.charts.svg import without_control
from maekit.report.document import Chart, Document, HeatMap, LineChart, Pictures
from maekit.report.page.blocks import ChartView, chart_view, view
from maekit.report.page.pictures import Shown, fitting

LIMIT = 3_000_000  # bytes of the whole file
_FLAG = re.compile(r"(?<!\w)--\w[\w.-]*\w")
_ROWS = (2000, 200, 40)  # of a table: the most, and where the page grew too large


def render_html(document: Document, limit: int = LIMIT) -> str:
    """The document as a self-contained page of at most `limit` bytes.

    Where it would be larger, pictures are scaled down and then left out, tables are cut, and at last whole sections
    are left out from the end; each says so at its place.
    """
    blocks = [block for section in document.sections for block in section.blocks]
    charts = {id(block): chart_view(block) for block in blocks if isinstance(block, Chart)}
    for most_rows in _ROWS:
        page = _fitted(document, charts, most_rows, limit)
        if len(page.encode()) <= limit:
            return page
    kept = document.sections
    while kept and len(page.encode()) > limit:
        kept = kept[:-1]
        titles = ", ".join(section.title for section in document.sections[len(kept) :])
        left_out = f"Left out, as the page would be too large: {titles[:500]}."
        page = _fitted(replace(document, sections=kept), charts, _ROWS[-1], limit, left_out)
    return page


def _fitted(document: Document, charts: Mapping[int, ChartView], most_rows: int, limit: int, left_out: str = "") -> str:
    """The page, its pictures in the room that all else leaves."""
    places = [block for section in document.sections for block in section.blocks if isinstance(block, Pictures)]
    empty = {id(block): [Shown(picture.caption, reason="x" * 120) for picture in block.pictures] for block in places}
    bare = _page(document, charts, empty, most_rows, left_out)
    if not places:
        return bare
    wanted = [picture for block in places for picture in block.pictures]
    shown = iter(fitting(wanted, max(0, limit - len(bare.encode()))))
    filled = {id(block): [next(shown) for _ in block.pictures] for block in places}
    return _page(document, charts, filled, most_rows, left_out)


def _page(
    document: Document,
    charts: Mapping[int, ChartView],
    pictures: Mapping[int, Sequence[Shown]],
    most_rows: int,
    left_out: str,
) -> str:
    titles = [section.title for section in document.sections]
    sections = [
        {
            "title": section.title,
            "blocks": [
                charts[id(block)]
                if isinstance(block, LineChart | HeatMap)
                else view(block, pictures, most_rows, titles)
                for block in section.blocks
            ],
        }
        for section in document.sections
    ]
    return _template().render(
        title=document.title,
        created=document.created,
        summary=[line for line in document.summary if line],
        sections=sections,
        left_out=left_out,
        style=CHART_STYLE + _file("page.css"),
        script=_file("sort.js"),
    )


@cache
def _template() -> Template:
    """The page's template: whatever is put into it is escaped, and a name that it lacks is an error."""
    environment = Environment(
        loader=PackageLoader("maekit.report.page", ""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_printable,
    )
    environment.filters["one_line"] = _one_line
    environment.filters["whole_flags"] = _whole_flags
    return environment.get_template("page.html.j2")


def _printable(value: object) -> object:
    """Text without the characters that HTML may not hold; markup of our own as it is."""
    return without_control(value) if type(value) is str else value


def _whole_flags(text: str) -> Markup:
    """The text, escaped, whose flags no line break cuts after a hyphen."""
    return Markup(_FLAG.sub(r'<span class="flag">\g<0></span>', str(escape(without_control(text)))))


def _one_line(text: str) -> str:
    return " ".join(text.split())


@cache
def _file(name: str) -> str:
    return files("maekit.report.page").joinpath(name).read_text(encoding="utf-8")
