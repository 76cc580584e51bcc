"""Heat maps as SVG: a ramp of lightness, so that they read without colour, and the numbers in the cells."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from maekit.report.charts.frame import NARROW, NARROWEST_GAP, Box, drawing, nothing
from maekit.report.charts.scale import Scale, drawable, fitted
from maekit.report.charts.svg import FONT, element, hint, px, shortened, text_width, words
from maekit.report.document import HeatMap
from maekit.system.numbers import number, number_text, number_texts

NUM_LEVELS = 21
_MOST_CELLS = {True: 1600, False: 900}  # of a wide and a narrow drawing: what an eye tells apart, and a page can carry
_SMALL = 10.5  # px, of the numbers in cells


@dataclass(frozen=True)
class _Grid:
    """The drawn cells: the columns' names short and in full, the rows' names, and each row's values."""

    columns: tuple[str, ...]
    ranges: tuple[str, ...]
    rows: tuple[str, ...]
    cells: tuple[tuple[float | None, ...], ...]
    of_numbers: bool  # then some columns' names may be left out


def draw_cells(chart: HeatMap, width: float) -> str:
    """The chart as one `<svg>` of at most `width` px; long rows of numbers are averaged to what can be seen."""
    values = [value for row in chart.cells for value in row if drawable(value, chart.log) and value is not None]
    if not values:
        filled = any(value is not None for row in chart.cells for value in row)
        reason = "No value that can be drawn." if filled else "No values were recorded."
        return nothing(width, chart.title, reason)
    grid = averaged(chart, most_columns(chart, width))
    ramp = fitted(values, 0.0, NUM_LEVELS - 1.0, chart.log)
    left = min(max(text_width(name) for name in grid.rows), width * 0.28) + 10
    cell_width = min((width - left - 2) / len(grid.columns), 110.0)
    cell_height = _cell_height(chart, len(grid.rows))
    top = 56.0
    box = Box(left, top, left + cell_width * len(grid.columns), top + cell_height * len(grid.rows))
    parts = [words(shortened(chart.y_label, width), 0.0, FONT, class_="axis"), _key(chart, values, ramp, width)]
    parts.append(_cells(chart, grid, box, ramp))
    parts.append(_row_names(grid.rows, box))
    below, height = _column_names(grid, box, width)
    middle = min(max((box.left + box.right) / 2, text_width(chart.x_label) / 2), width)
    name = words(shortened(chart.x_label, width), middle, box.bottom + height + 16, text_anchor="middle", class_="axis")
    label = (
        f"{chart.title}: {chart.y_label} by {chart.x_label}, {number_text(min(values))} to {number_text(max(values))}"
    )
    return drawing("".join(parts) + below + name, width, box.bottom + height + 26, f"{label} {chart.unit}".rstrip())


def most_columns(chart: HeatMap, width: float) -> int:
    """How many columns a drawing of `width` px shows: all if they are names, else as many as the eye can separate."""
    if not _of_numbers(chart):
        return len(chart.x_values)
    return max(12, _MOST_CELLS[width > NARROW] // max(len(chart.y_values), 1))


def averaged(chart: HeatMap, most: int) -> _Grid:
    """The map with at most `most` columns, each the mean of as many neighbours (of those that have a value)."""
    names, rows = tuple(map(_name, chart.x_values)), tuple(map(_name, chart.y_values))
    size = math.ceil(len(names) / most)
    if size <= 1:
        return _Grid(names, names, rows, chart.cells, _of_numbers(chart))
    groups = [range(start, min(start + size, len(names))) for start in range(0, len(names), size)]
    ranges = tuple(f"{names[group[0]]} to {names[group[-1]]}" for group in groups)
    cells = tuple(tuple(_mean([row[i] for i in group]) for group in groups) for row in chart.cells)
    return _Grid(tuple(names[group[0]] for group in groups), ranges, rows, cells, True)


def _of_numbers(chart: HeatMap) -> bool:
    return all(isinstance(value, int | float) for value in chart.x_values)


def _mean(values: Sequence[float | None]) -> float | None:
    kept = [value for value in values if value is not None and drawable(value)]
    return fmean(kept) if kept else None


def _cell_height(chart: HeatMap, num_rows: int) -> float:
    if num_rows * 30 <= 260:
        return 30.0
    return max(18.0 if chart.annotate and num_rows <= 40 else 6.0, min(18.0, 420.0 / num_rows))


def _cells(chart: HeatMap, grid: _Grid, box: Box, ramp: Scale) -> str:
    wide, high = box.width / len(grid.columns), box.height / len(grid.rows)
    gap = 1.0 if wide > 12 and high > 12 else -0.6  # small cells overlap, or seams would show between them
    flat = iter(number_texts([value for row in grid.cells for value in row]))
    texts = [[next(flat) for _ in row] for row in grid.cells]
    longest = max(text_width(text, _SMALL) for row in texts for text in row)
    printed = chart.annotate and longest <= wide - 2 and high >= _SMALL + 3
    parts = []
    for i, row in enumerate(grid.cells):
        for j, value in enumerate(row):
            x, y = box.left + j * wide, box.top + i * high
            level = round(ramp(value)) if value is not None and drawable(value, chart.log) else None
            where = f"{chart.y_label} {grid.rows[i]}, {chart.x_label} {grid.ranges[j]}"
            title = hint(f"{where}: {texts[i][j] or 'none'} {chart.unit}".rstrip())
            look = "none" if level is None else f"h{level}"
            parts.append(element("rect", title, x=x, y=y, width=wide - gap, height=high - gap, class_=look))
            if printed and texts[i][j]:
                ink = "soft" if level is None else f"t{level}"
                at = (x + (wide - gap) / 2, y + (high - gap) / 2 + _SMALL * 0.36)
                parts.append(words(texts[i][j], *at, text_anchor="middle", font_size=_SMALL, class_=ink))
    return "".join(parts)


def _key(chart: HeatMap, values: list[float], ramp: Scale, width: float) -> str:
    """The ramp with its two ends, under the y axis' name."""
    shown = number if chart.unit else number_text  # counts have separators
    low, high = shown(min(values)), shown(max(values))
    x, y, step = text_width(low) + 6, 22.0, 5.0
    parts = [words(low, 0.0, y + 10, class_="soft")]
    parts += [
        element("rect", x=x + i * step, y=y, width=step + 0.4, height=12.0, class_=f"h{i}") for i in range(NUM_LEVELS)
    ]
    more = [chart.unit] if chart.unit else []
    more += ["log scale"] if ramp.log else []
    right = x + NUM_LEVELS * step + 6
    text = f"{high} {', '.join(more)}".rstrip()
    return "".join(parts) + words(shortened(text, width - right), right, y + 10, class_="soft")


def _row_names(names: Sequence[str], box: Box) -> str:
    high = box.height / len(names)
    every = max(1, math.ceil((FONT + 1) / high))
    parts = []
    for i in range(0, len(names), every):
        y = box.top + (i + 0.5) * high + 4
        text = shortened(names[i], box.left - 8)
        parts.append(words(text, box.left - 8, y, text_anchor="end", class_="soft"))
    return "".join(parts)


def _column_names(grid: _Grid, box: Box, width: float) -> tuple[str, float]:
    """The columns' names and their height in px: lying if they fit, else every k-th of numbers, else slanted."""
    wide = box.width / len(grid.columns)
    longest = max(text_width(text) for text in grid.columns)
    if grid.of_numbers or longest + 4 <= wide:
        every = 1 if longest + 4 <= wide else math.ceil((longest + NARROWEST_GAP / 2) / wide)
        parts = []
        for i in range(0, len(grid.columns), every):
            x = min(box.left + (i + 0.5) * wide, width - text_width(grid.columns[i]) / 2)
            parts.append(words(grid.columns[i], x, box.bottom + 16, text_anchor="middle", class_="soft"))
        return "".join(parts), 20.0
    parts = []
    for i in range(0, len(grid.columns), max(1, math.ceil((FONT + 1) / wide))):
        x, y = box.left + (i + 0.5) * wide + 3, box.bottom + 10
        turned = f"rotate(-55 {px(x)} {px(y)})"
        parts.append(words(shortened(grid.columns[i], 90.0), x, y, text_anchor="end", transform=turned, class_="soft"))
    return "".join(parts), min(longest, 90.0) * 0.82 + 18


def _name(value: str | float) -> str:
    return number_text(value) if isinstance(value, float) else " ".join(str(value).split())
