"""Line charts as SVG: bands, curves, markers with hover titles, and labels at the curves' ends."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

from maekit.report.charts.frame import NARROW, Box, drawing, nothing, x_axis, y_axis, y_axis_width
from maekit.report.charts.marks import LINE, colour, curve, end_labels, legend, marker
from maekit.report.charts.scale import Scale, drawable, fitted
from maekit.report.charts.svg import element, hint, px, shortened, text_width
from maekit.report.charts.thin import stretches, thinned, thinned_band
from maekit.report.document import LineChart, Series, picked

_MOST_MARKERS = 30  # a series with more points has markers at some of them only
_LONGEST_LABEL = 240.0  # px: longer ones stand under the plot
_FEW_TICKS = 10  # so many different x are ticks themselves: the values of a study, not of a clock


@dataclass(frozen=True)
class _Plot:
    """Where things stand: the box, both scales and the labels' column (None: a legend under the plot)."""

    box: Box
    x: Scale
    y: Scale
    labels_at: float | None


def draw_lines(chart: LineChart, width: float) -> str:
    """The chart as one `<svg>` of `width` px. A chart with nothing to draw says so."""
    shown = [series for series in chart.series if any(_places(chart, series))]
    if not shown:
        empty = not any(series.points or series.dots for series in chart.series)
        reason = "No values were recorded." if empty else "No value that can be drawn."
        return nothing(width, chart.title, reason)
    plot = _plot(chart, shown, width)
    few = sorted({x for series in shown for x, _ in _places(chart, series)})
    parts = [y_axis(plot.box, plot.y, chart.y_label)]
    parts.append(x_axis(plot.box, plot.x, chart.x_label, few if len(few) <= _FEW_TICKS else ()))
    parts += [_band(series, plot, index) for index, series in enumerate(shown)]
    parts += [_marks(chart, series, plot, index) for index, series in enumerate(shown)]
    bottom = plot.box.bottom + 46
    labels = [series.label for series in shown]
    if plot.labels_at is not None:
        room = width - plot.labels_at - 14
        ends = [_end(chart, series, plot) for series in shown]
        fitting = [shortened(label, room) for label in labels]
        parts.append(end_labels(ends, fitting, plot.labels_at, plot.box.top, plot.box.bottom))
    elif _wants_labels(chart, shown):
        below, height = legend(labels, 0.0, bottom + LINE / 2, width)
        parts.append(below)
        bottom += height + 4
    return drawing("".join(parts), width, bottom, _described(chart, shown))


def _plot(chart: LineChart, shown: list[Series], width: float) -> _Plot:
    height = 250.0 if width > NARROW else 200.0
    top = 28.0
    capacity = height / LINE
    longest = max((text_width(" ".join(series.label.split())) for series in shown), default=0.0)
    beside = width > NARROW and _wants_labels(chart, shown) and len(shown) <= capacity and longest <= _LONGEST_LABEL
    right = width - (longest + 44 if beside else 14)
    xs = [x for series in shown for x, _ in _places(chart, series)]
    ys = [y for series in shown for _, y in _places(chart, series)]
    ys += [end for series in shown for _, *ends in series.band for end in ends]
    y = fitted(ys, top + height, top, chart.log_y, margin=0.05)
    box = Box(y_axis_width(y, height), top, right, top + height)
    inset = 10 if len(set(xs)) <= _MOST_MARKERS else 0
    x = fitted(xs, box.left + inset, box.right - inset, chart.log_x)
    return _Plot(box, x, y, right + 26 if beside else None)


def _band(series: Series, plot: _Plot, index: int) -> str:
    """The area between a band's low and high."""
    kept = sorted(
        (plot.x(x), plot.y(low), plot.y(high))
        for x, low, high in series.band
        if drawable(x, plot.x.log) and drawable(low, plot.y.log) and drawable(high, plot.y.log)
    )
    if len(kept) < 2:
        return ""
    places = thinned_band(kept)
    there = [f"{px(x)} {px(high)}" for x, _, high in places]
    back = [f"{px(x)} {px(low)}" for x, low, _ in reversed(places)]
    return element("path", d="M" + "L".join(there + back) + "z", class_=f"band {colour(index)}")


def _marks(chart: LineChart, series: Series, plot: _Plot, index: int) -> str:
    """The curve, its single values and its markers."""
    pieces = [thinned(piece) for piece in stretches(series.points, plot.x, plot.y)]
    travel = sum(abs(b[1] - a[1]) for piece in pieces for a, b in pairwise(piece))
    parts = [curve(piece, index, fine=travel > 5 * plot.box.height) for piece in pieces if len(piece) > 1]
    for x, y in series.dots:
        if drawable(x, chart.log_x) and drawable(y, chart.log_y):
            title = hint(_hover(chart, series, x, y))
            parts.append(element("circle", title, cx=plot.x(x), cy=plot.y(y), r=2.5, class_=f"dot {colour(index)}"))
    alone = {(round(x), round(y)): (x, y) for (x, y), *more in pieces if not more}
    parts += [element("circle", cx=x, cy=y, r=1.5, class_=f"mark {colour(index)}") for x, y in alone.values()]
    return "".join(parts) + _points(chart, series, plot, index)


def _points(chart: LineChart, series: Series, plot: _Plot, index: int) -> str:
    """Markers, and invisible points whose value shows under the pointer, at most one each 8 px."""
    points = sorted(
        point for point in series.points if drawable(point[0], chart.log_x) and drawable(point[1], chart.log_y)
    )
    count, parts = len(points), []
    few = count <= _MOST_MARKERS
    marked = set(picked(count, count if few else 8)) if few or len(chart.series) > 1 else set()
    for i in sorted(marked | set(picked(count, round(plot.box.width / 8)))):
        x, y = points[i]
        title = _hover(chart, series, x, y)
        if i in marked:
            parts.append(marker(plot.x(x), plot.y(y), index, title))
        else:
            parts.append(element("circle", hint(title), cx=plot.x(x), cy=plot.y(y), r=6.0, class_="hit"))
    return "".join(parts)


def _end(chart: LineChart, series: Series, plot: _Plot) -> tuple[float, float]:
    """Where the series' last value is, in px."""
    x, y = max(_places(chart, series), key=lambda place: place[0])
    return plot.x(x), plot.y(y)


def _places(chart: LineChart, series: Series) -> Iterator[tuple[float, float]]:
    """All values of a series that have a place on the axes: those of the curve, then its single ones."""
    for x, y in (*series.points, *series.dots):
        if drawable(x, chart.log_x) and drawable(y, chart.log_y):
            yield x, y


def _wants_labels(chart: LineChart, shown: list[Series]) -> bool:
    return len(shown) > 1 or (bool(shown[0].label) and shown[0].label not in (chart.y_label, chart.title))


def _hover(chart: LineChart, series: Series, x: float, y: float) -> str:
    spread = next((f" ({low:.4g} to {high:.4g})" for at, low, high in series.band if at == x), "")
    return f"{series.label}\n{chart.x_label} {x:.6g}: {y:.5g}{spread}"


def _described(chart: LineChart, shown: list[Series]) -> str:
    """What a screen reader says of the drawing; the numbers themselves follow in a table."""
    names = ", ".join(series.label for series in shown[:6]) + (f" and {len(shown) - 6} more" if len(shown) > 6 else "")
    return f"{chart.title}: {chart.y_label} over {chart.x_label}, {names}"
