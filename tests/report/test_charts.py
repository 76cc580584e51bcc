"""Charts are read back as a browser would: from the SVG's own coordinates, against the data."""

import itertools
import json
import math
import random
import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

from maekit.report.charts import heat as charts_heat
from maekit.report.charts import marks as charts_marks
from maekit.report.charts import scale as charts_scale
from maekit.report.charts import thin as charts_thin
from maekit.report.charts.charts import draw, remarks, svg_file
from maekit.report.charts.frame import NARROW, WIDE
from maekit.report.document import (
    Document,
    HeatMap,
    LineChart,
    Picture,
    Pictures,
    Section,
    Series,
    Table,
    as_json,
    as_table,
)
from maekit.system.numbers import number_text, number_texts

SVG = "{http://www.w3.org/2000/svg}"
NASTY = "<b>&\"'\n🐙 \x00\udcff ]]>"
WIDTHS = pytest.mark.parametrize("width", [WIDE, NARROW])


def lines(*series: Series, log_x: bool = False, log_y: bool = False) -> LineChart:
    return LineChart("curve", "A curve", "step", "loss", series, log_x=log_x, log_y=log_y)


def cells(rows: list[list[float | None]], log: bool = False) -> HeatMap:
    columns, names = tuple(range(len(rows[0]))), tuple(f"row {i}" for i in range(len(rows)))
    return HeatMap("map", "A map", "x", "y", columns, names, tuple(map(tuple, rows)), log=log)


def parsed(svg: str) -> ElementTree.Element:
    return ElementTree.fromstring(svg)


def of_class(root: ElementTree.Element, name: str) -> list[ElementTree.Element]:
    return [found for found in root.iter() if name in found.get("class", "").split()]


def places(path: ElementTree.Element) -> list[tuple[float, float]]:
    numbers = [float(number) for number in re.findall(r"-?[\d.]+", path.get("d", ""))]
    return list(zip(numbers[::2], numbers[1::2], strict=True))


def axis(root: ElementTree.Element, vertical: bool) -> list[tuple[float, float]]:
    """(px, value) of the ticks as a reader sees them."""
    anchor, coordinate, shift = ("end", "y", -4) if vertical else ("middle", "x", 0)
    words = [word for word in root.iter(f"{SVG}text") if word.get("text-anchor") == anchor]
    return [
        (float(word.get(coordinate, "")) + shift, float(word.text or ""))
        for word in words
        if word.get("class") == "soft"
    ]


def read_off(ticks: list[tuple[float, float]], px: float, log: bool) -> float:
    """The value at a place, from the first and the last tick alone."""
    (a, low), (b, high) = ticks[0], ticks[-1]
    share = (px - a) / (b - a)
    return low * (high / low) ** share if log else low + (high - low) * share


@WIDTHS
@pytest.mark.parametrize(("log_x", "log_y"), [(False, False), (True, False), (False, True), (True, True)])
def test_curve_can_be_read_off_the_axes(log_x: bool, log_y: bool, width: float) -> None:
    points = tuple((float(x), 30 * math.exp(-x / 100) + 0.02) for x in range(1, 1000, 37))
    root = parsed(draw(lines(Series("loss", points), log_x=log_x, log_y=log_y), width))
    (path,) = of_class(root, "line")
    across, up = axis(root, vertical=False), axis(root, vertical=True)
    assert len(across) >= 2
    assert len(up) >= 3
    for (x, y), (px_x, px_y) in zip(points, places(path), strict=True):
        assert read_off(across, px_x, log_x) == pytest.approx(x, rel=0.02, abs=0 if log_x else 2)
        assert read_off(up, px_y, log_y) == pytest.approx(y, rel=0.02, abs=0 if log_y else 0.1)


@pytest.mark.parametrize("seed", range(40))
def test_ticks_are_round_rise_and_lie_inside(seed: int) -> None:
    draws = random.Random(seed)
    low = draws.uniform(-1, 1) * 10 ** draws.uniform(-6, 6)
    high = low + 10 ** draws.uniform(-3, 6) * max(abs(low), 1e-5)
    scale = charts_scale.fitted([low, high], 0, 400)
    wanted = draws.randint(2, 8)
    found = charts_scale.ticks(scale, wanted)
    assert 1 <= len(found) <= wanted + 1
    assert all(scale.low - 1e-9 * abs(scale.low) <= v <= scale.high + 1e-9 * abs(scale.high) for v in found)
    steps = {round((b - a) / (found[1] - found[0]), 6) for a, b in itertools.pairwise(found)}
    assert steps <= {1.0}
    if len(found) > 1:
        leading = f"{found[1] - found[0]:.6e}".split("e")[0].rstrip("0").rstrip(".")
        assert leading in ("1", "2", "2.5", "5")
        texts = charts_scale.tick_texts(found)
        assert len(set(texts)) == len(texts)
        gap = found[1] - found[0]
        assert all(abs(float(t) - v) <= 0.05 * gap + 5e-4 * abs(v) for t, v in zip(texts, found, strict=True))


@pytest.mark.parametrize(("low", "high"), [(1e-9, 1e3), (0.003, 0.02), (1.0, 1.4), (5.0, 5.0), (1e-300, 1e299)])
def test_log_ticks(low: float, high: float) -> None:
    scale = charts_scale.fitted([low, high], 0, 300, log=True)
    found = charts_scale.ticks(scale, 5)
    assert 2 <= len(found) <= 12
    assert found == sorted(set(found))
    assert all(scale.low * 0.99 <= value <= scale.high * 1.01 for value in found)


def test_thinned_curve_keeps_every_columns_extremes() -> None:
    draws = random.Random(3)
    curve = [(i * 600 / 20000, draws.gauss(100, 20)) for i in range(20000)]
    kept = charts_thin.thinned(curve)
    assert len(kept) <= 4 * 301
    assert set(kept) <= set(curve)
    ends = []
    for points in (curve, kept):
        columns = [[y for _, y in group] for _, group in itertools.groupby(points, key=lambda point: point[0] // 2)]
        ends.append([(min(column), max(column)) for column in columns])
    assert len(ends[0]) == 300
    assert ends[0] == ends[1]
    assert (kept[0], kept[-1]) == (curve[0], curve[-1])
    assert kept == sorted(kept)


def test_gaps_and_lone_points() -> None:
    values = [1.0, 2.0, math.nan, 3.0, math.inf, 2.0, 1.5, 1.0]
    series = Series("loss", tuple((float(i), value) for i, value in enumerate(values)))
    root = parsed(draw(lines(series)))
    assert [len(places(path)) for path in of_class(root, "line")] == [2, 3]
    alone = [round(float(mark.get("cx", "")), 1) for mark in of_class(root, "mark") if mark.get("r") == "1.5"]
    all_marks = [float(mark.get("cx", "")) for mark in of_class(root, "mark") if mark.get("r") == "4"]
    assert alone == [all_marks[2]]
    assert len(all_marks) == 6
    assert remarks(lines(series)) == ["2 of the values are not finite, and not drawn."]


@WIDTHS
@pytest.mark.parametrize(
    ("series", "said"),
    [
        ((), "No values were recorded."),
        ((Series("a", ()),), "No values were recorded."),
        ((Series("a", ((1.0, math.nan),)),), "No value that can be drawn."),
    ],
)
def test_empty_chart_says_so(series: tuple[Series, ...], said: str, width: float) -> None:
    root = parsed(draw(lines(*series), width))
    assert [word.text for word in root.iter(f"{SVG}text")] == [said]


@WIDTHS
@pytest.mark.parametrize("value", [0.0, 12.5, -3.0, 1e-30, 1e30])
@pytest.mark.parametrize("log", [False, True])
@pytest.mark.parametrize("count", [1, 2])
def test_one_point_and_equal_values_stand_in_the_middle(count: int, log: bool, value: float, width: float) -> None:
    if log and value <= 0:
        return
    root = parsed(draw(lines(Series("a", tuple((5.0 + i, value) for i in range(count))), log_y=log), width))
    marks = [mark for mark in of_class(root, "mark") if mark.get("r") == "4"]
    heights = {float(mark.get("cy", "")) for mark in marks}
    top, bottom = 28, 28 + (250 if width == WIDE else 200)
    assert heights == {(top + bottom) / 2}
    assert len(marks) == count


def test_bands_dots_and_hover() -> None:
    series = Series(
        "lr 1e-3", ((0.5, 80.0), (0.75, 82.0), (1.0, 79.0)), ((0.5, 79.0, 81.0), (0.75, 81.5, 82.5), (1.0, 78.0, 80.0)),
        ((1.0, 79.6), (0.5, 80.8)),
    )  # fmt: skip
    root = parsed(draw(lines(series, Series("lr 1e-4", ((0.5, 70.0), (1.0, 71.0))))))
    up = axis(root, vertical=True)
    (band,) = of_class(root, "band")
    ends = [read_off(up, y, False) for _, y in places(band)]
    assert ends == pytest.approx([81, 82.5, 80, 78, 81.5, 79], abs=0.1)
    dots = [read_off(up, float(dot.get("cy", "")), False) for dot in of_class(root, "dot")]
    assert dots == pytest.approx([79.6, 80.8], abs=0.1)
    leads = [read_off(up, places(lead)[0][1], False) for lead in of_class(root, "lead")]
    assert leads == pytest.approx([79, 71], abs=0.1)
    said = [title.text for title in root.iter(f"{SVG}title")]
    assert "lr 1e-3\nstep 0.75: 82 (81.5 to 82.5)" in said
    assert [mark for mark, _ in axis(root, vertical=False)] == sorted(
        {float(c.get("cx", "")) for c in of_class(root, "mark") if c.get("r") == "4"}
    )


def test_series_differ_without_colour() -> None:
    looks = {
        (re.sub(r"[-\d.]+", "", charts_marks.marker(50, 50, i)).split("class")[0],
         re.findall(r'dasharray="([^"]*)"', charts_marks.curve([(0, 0), (9, 9)], i)).__str__())
        for i in range(6)
    }  # fmt: skip
    assert len(looks) == 6
    assert len({dash for _, dash in looks}) == 6


@pytest.mark.parametrize("seed", range(30))
def test_labels_stand_apart_and_inside(seed: int) -> None:
    draws = random.Random(seed)
    wanted = [draws.choice((draws.uniform(0, 250), 125.0)) for _ in range(draws.randint(1, 14))]
    found = charts_marks.spread(wanted, 0, 250)
    assert min(found) >= 0
    assert max(found) <= 250
    assert all(b - a >= 16.99 for a, b in itertools.pairwise(sorted(found)))
    order = sorted(range(len(wanted)), key=lambda i: wanted[i])
    assert [found[i] for i in order] == sorted(found)
    if all(b - a >= 17 for a, b in itertools.pairwise(sorted(wanted))):
        assert found == wanted


@WIDTHS
@pytest.mark.parametrize("log", [False, True])
def test_heat_map_darkens_with_the_value(log: bool, width: float) -> None:
    values = [10 ** (i / 7) for i in range(28)]
    order = random.Random(0).sample(range(28), 28)
    rows: list[list[float | None]] = [[values[order[4 * i + j]] for j in range(4)] for i in range(7)]
    rows.append([None, math.nan, 0.0, -1.0] if log else [None, math.nan, math.inf, 1.0])
    root = parsed(draw(cells(rows, log), width))
    drawn = [rect for rect in root.iter(f"{SVG}rect") if rect.find(f"{SVG}title") is not None]
    assert len(drawn) == 32
    levels = [rect.get("class", "") for rect in drawn]
    assert levels[28:] == (["none"] * 4 if log else ["none"] * 3 + ["h0"])
    low, high = 1.0, values[-1]
    for level, place in zip(levels, order, strict=False):
        share = math.log(values[place] / low) / math.log(high / low) if log else (values[place] - low) / (high - low)
        assert level == f"h{round(share * 20)}"
    title = drawn[5].find(f"{SVG}title")
    assert title is not None
    assert (title.text or "").startswith("y row 1, x 1: ")
    assert float((title.text or "").split(": ")[1]) == pytest.approx(values[order[5]], rel=0.01)
    printed = [word.text for word in root.iter(f"{SVG}text") if re.fullmatch(r"t\d+", word.get("class", ""))]
    assert len(printed) == (28 if log else 29)
    assert remarks(cells(rows, log)) == [
        "Dashed cells have no value, or none above zero." if log else "Dashed cells have no value."
    ]
    assert remarks(cells([[None, math.nan]], log)) == []  # nothing is drawn at all, which the chart says itself


def test_heat_map_averages_what_an_eye_cannot_tell_apart() -> None:
    rows: list[list[float | None]] = [[float(i * j) for j in range(1001)] for i in range(1, 15)]
    rows[3][:500] = [None] * 500
    chart = cells(rows)
    most = charts_heat.most_columns(chart, WIDE)
    grid = charts_heat.averaged(chart, most)
    size = math.ceil(1001 / most)
    assert len(grid.columns) == math.ceil(1001 / size) <= most
    assert grid.ranges[1] == f"{size} to {2 * size - 1}"
    assert grid.cells[1][2] == pytest.approx(sum(2 * j for j in range(2 * size, 3 * size)) / size)
    assert grid.cells[3][0] is None
    assert len(draw(chart)) < 250_000
    assert remarks(chart)[-1] == "Neighbours of the 1001 columns are drawn as their mean."


def test_heat_map_of_one_value_and_of_none() -> None:
    root = parsed(draw(cells([[3.0, 3.0]])))
    drawn = [rect.get("class") for rect in root.iter(f"{SVG}rect") if rect.find(f"{SVG}title") is not None]
    assert drawn == ["h10", "h10"]
    for empty in (HeatMap("m", "M", "x", "y", (), (), ()), cells([[None, math.nan]])):
        assert "No value" in "".join(parsed(draw(empty)).itertext())


@WIDTHS
def test_any_name_is_escaped(width: float) -> None:
    curve = LineChart(
        "n", NASTY, NASTY, NASTY, tuple(Series(f"{i}{NASTY}", ((1.0, 2.0), (2.0, 3.0))) for i in range(3))
    )
    grid = HeatMap("n", NASTY, NASTY, NASTY, (NASTY, "b"), (NASTY, "d"), ((1.0, 2.0), (3.0, None)), unit=NASTY)
    for chart in (curve, grid):
        for svg in (draw(chart, width), svg_file(chart)):
            root = parsed(svg)
            assert not list(root.iter("b"))
            assert "<b>&\"'" in "".join(root.itertext())
            svg.encode()


def test_svg_file_stands_alone() -> None:
    svg = svg_file(lines(Series("a", ((1.0, 2.0), (2.0, 3.0)))))
    root = parsed(svg)
    assert ".chart .line{" in "".join(root.itertext())
    assert "A curve" in [word.text for word in root.iter(f"{SVG}text")]
    assert not re.findall(r"(?:href|src|url|@import)", svg)


def test_chart_as_table() -> None:
    first = Series("a", ((1.0, 10.0), (2.0, math.nan)), band=((1.0, 9.0, 11.0),), dots=((1.0, 9.5), (1.0, 10.5)))
    table = as_table(lines(first, Series("b", ((2.0, 5.0), (3.0, 6.0)))))
    assert table.columns == ("step", "a", "a, low", "a, high", "a, single values", "b")
    assert table.rows == (
        (1.0, 10.0, 9.0, 11.0, "9.5; 10.5", None),
        (2.0, None, None, None, None, 5.0),
        (3.0, None, None, None, None, 6.0),
    )
    long = lines(Series("a", tuple((float(i), float(i * i)) for i in range(1000))))
    short = as_table(long, most=5)
    assert [row[0] for row in short.rows] == [0.0, 250.0, 500.0, 749.0, 999.0]
    assert short.note == "5 of 1000 points."
    grid = as_table(cells([[1.0, math.nan, 3.0], [4.0, None, 6.0]]))
    assert grid.columns == ("y \\ x", "0", "1", "2")
    assert grid.rows == (("row 0", 1.0, None, 3.0), ("row 1", 4.0, None, 6.0))
    assert as_table(cells([[float(i) for i in range(50)]]), most=3).columns == ("y \\ x", "0", "24", "49")


def test_document_as_json_is_strict() -> None:
    document = Document(
        "T",
        ["one"],
        (
            Section("S", (Table("t", ("a", "b"), ((1, math.nan), (None, True))),)),
            Section("P", (Pictures("p", (Picture(Path("a.jpg"), "c"),)), lines(Series("a", ((1.0, math.inf),))))),
        ),
        "now",
    )
    found = json.loads(json.dumps(as_json(document), allow_nan=False))
    assert found["sections"][0]["blocks"] == [
        {
            "type": "Table",
            "name": "t",
            "columns": ["a", "b"],
            "rows": [[1, None], [None, True]],
            "caption": "",
            "note": "",
        }
    ]
    assert found["sections"][1]["blocks"][0]["pictures"] == [{"type": "Picture", "path": "a.jpg", "caption": "c"}]
    assert found["sections"][1]["blocks"][1]["series"][0]["points"] == [[1.0, None]]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, ""), (math.nan, ""), (True, "yes"), (3, "3"), (99.5, "99.5"), (83.664, "83.66"), (1032.0, "1032"),
        (6.5e-5, "6.5e-5"), (0.00065, "0.00065"), (0.0, "0"), (-0.12345, "-0.1235"), (1.5e8, "1.5e8"),
        (-math.inf, "-inf"),
        ("x", "x"), (1e-4, "0.0001"),
    ],
)  # fmt: skip
def test_number_text(value: object, text: str) -> None:
    assert number_text(value) == text


def test_numbers_of_a_column_align() -> None:
    assert number_texts([99.5, 98.25, None, 100.0]) == ["99.50", "98.25", "", "100.00"]
    assert number_texts([0.383, 0.008117]) == ["0.3830", "0.0081"]
    assert number_texts([1, 2.5]) == ["1", "2.5"]
    assert number_texts([99.5, 0.127]) == ["99.5", "0.127"]
    assert number_texts([1e-5, 2e-5]) == ["1e-5", "2e-5"]
    assert number_texts(["a", 1.25]) == ["a", "1.25"]
