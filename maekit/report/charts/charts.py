"""Charts as SVG text: for the page in a desktop's and a phone's size, and as a file of its own."""

import re
from importlib.resources import files

from maekit.report.charts.frame import NARROW, WIDE
from maekit.report.charts.heat import draw_cells, most_columns
from maekit.report.charts.lines import draw_lines
from maekit.report.charts.scale import drawable
from maekit.report.charts.svg import FONT, element, shortened, words
from maekit.report.document import Chart, LineChart

_FILE = files("maekit.report.charts").joinpath("chart.css")
CHART_STYLE = re.sub(r"/\*.*?\*/\n", "", _FILE.read_text(encoding="utf-8"), flags=re.DOTALL)  # without its comment
_EDGE, _TITLE = 16.0, 30.0  # px around a file's chart, and above it for its title


def draw(chart: Chart, width: float = WIDE) -> str:
    """The chart as an `<svg>` of `width` px; the page must contain `CHART_STYLE`."""
    return draw_lines(chart, width) if isinstance(chart, LineChart) else draw_cells(chart, width)


def svg_file(chart: Chart) -> str:
    """The chart as a whole SVG file with its title and style, light or dark as the reader's system is."""
    root, _, marks = draw(chart, WIDE).partition(">")
    width, height = (float(number) for number in root.split('viewBox="0 0 ')[1].split('"')[0].split())
    style = element("style", CHART_STYLE + "svg{background:var(--paper)}.title{font-size:15px;font-weight:600}")
    title = words(shortened(chart.title, width - 2 * _EDGE, 15), 0.0, 15.0, class_="title")
    return element(
        "svg",
        style + element("g", title, class_="chart") + f'{root} y="{_TITLE}">{marks}',
        xmlns="http://www.w3.org/2000/svg",
        viewBox=f"{-_EDGE:.0f} {-_EDGE:.0f} {width + 2 * _EDGE:.0f} {height + _TITLE + 2 * _EDGE:.0f}",
        width=width + 2 * _EDGE,
        height=height + _TITLE + 2 * _EDGE,
        font_size=FONT,
    )


def remarks(chart: Chart) -> list[str]:
    """One line for values that a drawing leaves out, and one for columns that it averages."""
    if isinstance(chart, LineChart):
        hidden = sum(
            not drawable(x, chart.log_x) or not drawable(y, chart.log_y)
            for series in chart.series
            for x, y in (*series.points, *series.dots)
        )
        axis = "finite and above zero, as a log axis needs" if chart.log_x or chart.log_y else "finite"
        return [f"{hidden} of the values are not {axis}, and not drawn."] if hidden else []
    found = []
    drawn = [drawable(value, chart.log) for row in chart.cells for value in row]
    if any(drawn) and not all(drawn):
        found.append("Dashed cells have no value, or none above zero." if chart.log else "Dashed cells have no value.")
    if len(chart.x_values) > most_columns(chart, WIDE):
        found.append(f"Neighbours of the {len(chart.x_values)} columns are drawn as their mean.")
    if len(chart.x_values) > most_columns(chart, NARROW) and not found:
        found.append("On a narrow screen neighbouring columns are drawn as their mean.")
    return found
