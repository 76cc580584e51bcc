"""The page in a real Chromium: it loads alone, draws, sorts, and reads on a phone, in the dark and without colour."""

import math
import random
import re
from pathlib import Path

import pytest
from PIL import Image

from maekit.report.document import (
    Block,
    Code,
    Document,
    Facts,
    HeatMap,
    LineChart,
    Picture,
    Pictures,
    Section,
    Series,
    Table,
    Text,
)
from maekit.report.page.render import LIMIT, render_html
from tests.report.browser import Browser, browser

assert browser  # the fixture

NASTY = "<script>window.hacked = 1</script><img src=x onerror='window.hacked=1'> & \"two\"\nlines 🐙"
VALUES = [3.0, None, 20.0, 1e-5, 100.0, -7.5, 20.0, math.nan]
FIXED = re.compile(r"xmlns=\"http://www\.w3\.org/2000/svg\"")


def document(*blocks: Block, title: str = "A report") -> Document:
    return Document(title, ["The result."], (Section("All", blocks), Section("Rest", (Text(("end",)),))), "now")


def noise(file: Path, side: int) -> Path:
    Image.effect_noise((side, side), 90).convert("RGB").save(file)
    return file


def curves() -> LineChart:
    draws = random.Random(0)
    series = tuple(
        Series(
            f"optim.base_lr={lr}, long",
            tuple((d, 90 + draws.random() * 5) for d in (0.55, 0.65, 0.75, 0.85, 1.0)),
            band=tuple((d, 89.5 + i, 91.0 + i) for d in (0.55, 0.65, 0.75, 0.85, 1.0)),
        )
        for i, lr in enumerate(("5e-4", "1e-3", "2e-3", "4e-3"))
    )
    return LineChart("decay", "Layer decay by learning rate", "optim.layer_decay", "top1 (%)", series)


def everything(tmp_path: Path) -> Document:
    loss = Series("loss", tuple((float(i), 3 * math.exp(-i / 3000) + 0.1) for i in range(10000)))
    names = tuple(f"a class with a long name {i}" for i in range(12))
    steps = tuple(float(i) for i in range(0, 20000, 100))
    counts = tuple(tuple(range(i, i + 12)) for i in range(12))
    rows = tuple((f"row {i}", value, "word " * 20) for i, value in enumerate(VALUES))
    rate = tuple(tuple(0.75 ** (13 - i) * (1 + j) for j in range(len(steps))) for i in range(14))
    return document(
        Facts((("device", "cpu " * 30), ("git", "abc" * 40))),
        Text(("A paragraph.", NASTY)),
        curves(),
        LineChart("loss", "Loss", "step", "loss", (loss,), log_y=True),
        LineChart("none", "Nothing", "step", "loss", ()),
        HeatMap("rate", "Learning rate", "step", "layer", steps, tuple(range(14)), rate, log=True),
        HeatMap("confusion", "Confusion", "predicted", "true", names, names, counts),
        Table("numbers", ("name", "value", "a long heading of a column"), rows, caption="Numbers"),
        Pictures("Worst", (Picture(noise(tmp_path / "a.png", 96), "true 3"), Picture(tmp_path / "gone.jpg", "true 8"))),
        Code("maekit fit " + "--optim.layer_decay 0.75 " * 20, "Command"),
    )  # fmt: skip


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("a folder & more")
    (folder / "report.html").write_text(render_html(everything(folder)))
    return folder / "report.html"


def test_page_loads_alone_without_errors_and_draws(browser: Browser, page: Path) -> None:
    browser.open(page)
    assert browser.errors() == []
    assert browser.requests() == [page.as_uri()]
    drawn = browser.run(
        """return Array.from(document.querySelectorAll("svg.wide")).map((svg) => {
            const paths = Array.from(svg.querySelectorAll(".line")).map((line) => line.getTotalLength());
            const boxes = Array.from(svg.querySelectorAll("rect[class^=h]")).map((rect) => rect.getBBox().width);
            return [svg.getBoundingClientRect().width, paths, boxes.length, Math.min(...boxes)];
        });"""
    )
    assert [round(chart[0]) for chart in drawn] == [760] * 5
    assert [len(chart[1]) for chart in drawn] == [4, 1, 0, 0, 0]
    assert all(length > 300 for chart in drawn for length in chart[1])
    assert drawn[3][2] == 14 * 100 + 21  # 200 steps in pairs, and the key's levels
    assert drawn[4][2] == 144 + 21
    assert all(chart[3] > 4 for chart in drawn[3:])
    pictures = browser.run("return Array.from(document.images).map((i) => [i.complete, i.naturalWidth, i.alt]);")
    assert pictures == [[True, 96, "true 3"]]
    assert browser.run("return document.querySelector('.gone').textContent") == "The file is missing."
    assert browser.run("return document.querySelectorAll('svg.narrow')[0].getBoundingClientRect().width") == 0


def test_a_flag_is_one_piece_of_a_line_and_text_stays_text() -> None:
    page = render_html(document(Text(("Use <b> --run.seed 1.",)), Code("maekit fit --task a--b", "Next")))
    assert '<p>Use &lt;b&gt; <span class="flag">--run.seed</span> 1.</p>' in page
    assert '<code>maekit fit <span class="flag">--task</span> a--b</code>' in page


def column(browser: Browser, index: int) -> list[str]:
    script = (
        "return Array.from(document.querySelectorAll(arguments[1])).map((row) => row.cells[arguments[0]].textContent)"
    )
    found = browser.run(script, index, ".block table tbody tr")
    assert isinstance(found, list)
    return found


def test_tables_sort_by_click_and_by_keyboard(browser: Browser, page: Path) -> None:
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys

    browser.open(page)
    head = browser.driver.find_elements(By.CSS_SELECTOR, ".block table thead th")[1]
    button = head.find_element(By.TAG_NAME, "button")
    assert head.get_attribute("aria-sort") is None
    button.click()
    numbers = sorted(value for value in VALUES if value is not None and value == value)
    up = [f"row {VALUES.index(value)}" for value in numbers]
    up[up.index("row 2") + 1] = "row 6"  # equal values stay as they were
    assert column(browser, 0) == [*up, "row 1", "row 7"]
    assert head.get_attribute("aria-sort") == "ascending"
    button.send_keys(Keys.ENTER)
    assert head.get_attribute("aria-sort") == "descending"
    assert column(browser, 0)[:3] == ["row 4", "row 2", "row 6"]
    assert column(browser, 0)[-2:] == ["row 1", "row 7"]  # empty cells stay last
    first = browser.driver.find_elements(By.CSS_SELECTOR, ".block table thead th button")[0]
    first.send_keys(Keys.SPACE)
    assert column(browser, 0) == [f"row {i}" for i in range(len(VALUES))]
    assert head.get_attribute("aria-sort") is None


def test_page_holds_without_script(browser: Browser, page: Path) -> None:
    browser.command("Emulation.setScriptExecutionDisabled", value=True)
    try:
        browser.open(page)
        assert browser.errors() == []
        found = browser.command(
            "Runtime.evaluate",
            expression="[document.querySelectorAll('button').length, document.querySelectorAll('.block td').length]",
            returnByValue=True,
        )
        assert found["result"]["value"] == [0, 2 * len(VALUES)]
    finally:
        browser.command("Emulation.setScriptExecutionDisabled", value=False)


OUTSIDE = """
const out = [];
for (const svg of document.querySelectorAll("svg.chart")) {
  const frame = svg.getBoundingClientRect();
  if (frame.width === 0) continue;
  for (const word of svg.querySelectorAll("text")) {
    const box = word.getBoundingClientRect();
    const across = box.left < frame.left - 1 || box.right > frame.right + 1;
    if (across || box.top < frame.top - 1 || box.bottom > frame.bottom + 1)
      out.push([word.textContent, box.left - frame.left, box.right - frame.right]);
  }
}
return out;
"""
OVERLAPS = """
const out = [];
for (const svg of document.querySelectorAll("svg.chart")) {
  const lying = Array.from(svg.querySelectorAll("text:not([transform])"));
  const boxes = lying.map((word) => [word.textContent, word.getBoundingClientRect()]);
  boxes.forEach(([a, p], i) => boxes.slice(i + 1).forEach(([b, q]) => {
    const across = p.width && q.width && p.left < q.right - 1 && q.left < p.right - 1;
    if (across && p.top < q.bottom - 3 && q.top < p.bottom - 3)
      out.push([a, b]);
  }));
}
return out;
"""


@pytest.mark.parametrize("width", [360, 760, 1280])
def test_no_word_is_cut_or_covered(browser: Browser, page: Path, width: int) -> None:
    browser.open(page, width)
    assert browser.run(OUTSIDE) == []
    assert browser.run(OVERLAPS) == []


def test_phone(browser: Browser, page: Path) -> None:
    browser.open(page, 360, 740)
    assert browser.run("return [innerWidth, document.documentElement.scrollWidth]") == [360, 360]
    sizes = browser.run(
        """return Array.from(document.querySelectorAll("svg.narrow")).map((svg) => {
            const scale = svg.getBoundingClientRect().width / svg.viewBox.baseVal.width;
            const sizes = Array.from(svg.querySelectorAll("text")).map((t) => parseFloat(getComputedStyle(t).fontSize));
            return [scale, Math.min(...sizes) * scale];
        });"""
    )
    assert len(sizes) == 5
    assert all(scale > 0.9 and smallest >= 9.5 for scale, smallest in sizes), sizes
    body = browser.run("return parseFloat(getComputedStyle(document.body).fontSize)")
    assert body >= 16
    scrolls = browser.run(
        "const b = document.querySelector('.block .scroll'); b.scrollLeft = 50; "
        "return [b.scrollWidth > b.clientWidth, b.scrollLeft, b.tabIndex, "
        "b.querySelector('tbody th').getBoundingClientRect().left - b.getBoundingClientRect().left]"
    )
    assert scrolls[:3] == [True, 50, 0]
    assert 0 <= scrolls[3] <= 2  # the rows' names stay in sight


def test_dark_and_print(browser: Browser, page: Path) -> None:
    script = """const style = (q) => getComputedStyle(document.querySelector(q));
        return [style("body").backgroundColor, style("body").color, style("svg .line").stroke, style("nav").display];"""
    browser.open(page)
    light = browser.run(script)
    browser.open(page, prefers_color_scheme="dark")
    dark = browser.run(script)
    assert light[0] == "rgb(245, 246, 248)"
    assert all(a != b for a, b in zip(light[:3], dark[:3], strict=True))
    assert max(map(int, re.findall(r"\d+", dark[0]))) < 40 < 200 < min(map(int, re.findall(r"\d+", dark[1])))
    browser.command(
        "Emulation.setEmulatedMedia", media="print", features=[{"name": "prefers-color-scheme", "value": "dark"}]
    )
    printed = browser.run(script)
    browser.command("Emulation.setEmulatedMedia", media="", features=[])
    assert printed[0] == "rgb(255, 255, 255)"
    assert printed[1:] == [*light[1:3], "none"]


def test_charts_read_without_colour(browser: Browser, page: Path, tmp_path: Path) -> None:
    browser.open(page)
    looks = browser.run(
        """return Array.from(document.querySelector("svg.wide").querySelectorAll(".line")).map(
            (line) => getComputedStyle(line).strokeDasharray)"""
    )
    assert len(set(looks)) == len(looks) == 4
    names = browser.run(
        "return Array.from(document.querySelector('svg.wide').querySelectorAll('.name')).map((n) => n.textContent)"
    )
    assert names == [series.label for series in curves().series]
    browser.command("Emulation.setEmulatedVisionDeficiency", type="achromatopsia")
    try:
        browser.run("document.querySelector('[data-chart=confusion]').scrollIntoView()")
        browser.screenshot(tmp_path / "grey.png")
    finally:
        browser.command("Emulation.setEmulatedVisionDeficiency", type="none")
    corners = browser.run(
        """return Array.from(document.querySelectorAll(arguments[0])).slice(21).map(
            (rect) => rect.getBoundingClientRect()).map((b) => [b.left + scrollX + 3, b.top + scrollY + 3])""",
        "[data-chart=confusion] svg.wide rect[class^=h]",
    )
    with Image.open(tmp_path / "grey.png") as picture:
        seen = [picture.convert("RGB").getpixel((round(x), round(y))) for x, y in corners]
    shades = [shade for shade in seen if isinstance(shade, tuple)]
    assert all(max(shade) - min(shade) <= 2 for shade in shades)  # grey indeed
    by_value = [shades[12 * i][0] for i in range(12)]  # the first column counts up from 0 to 11
    assert by_value == sorted(by_value, reverse=True)
    assert by_value[0] - by_value[-1] > 60


def test_any_text_is_only_text(browser: Browser, tmp_path: Path) -> None:
    (tmp_path / "p.html").write_text(
        render_html(
            Document(
                NASTY,
                [NASTY],
                (
                    Section(NASTY, (Text((NASTY,)), Facts(((NASTY, NASTY),)), Code(NASTY, NASTY))),
                    Section("T", (Table(NASTY, (NASTY, "b"), ((NASTY, 1), ("x", 2)), caption=NASTY, note=NASTY),)),
                    Section("C", (LineChart(NASTY, NASTY, NASTY, NASTY, (Series(NASTY, ((1.0, 2.0), (2.0, 3.0))),)),)),
                    Section(
                        "M", (HeatMap(NASTY, NASTY, NASTY, NASTY, (NASTY, "b"), (NASTY,), ((1.0, 2.0),), unit=NASTY),)
                    ),
                    Section("P", (Pictures(NASTY, (Picture(noise(tmp_path / "a.png", 8), NASTY),)),)),
                ),
                NASTY,
            )
        )
    )
    browser.open(tmp_path / "p.html")
    assert browser.errors() == []
    assert browser.run("return [window.hacked, document.scripts.length, document.images.length]") == [None, 1, 1]
    texts = "h1, .created, .summary li, #part-1 h2, #part-1 p, dt, dd, code, caption, thead th, .block tbody th, .note"
    found = browser.run(f"return Array.from(document.querySelectorAll({texts!r})).map((e) => e.textContent)")
    assert found.count(NASTY) >= 12
    assert browser.run("return document.images[0].alt") == " ".join(NASTY.split())


def test_contents_lead_to_every_section(browser: Browser, page: Path) -> None:
    browser.open(page)
    links = browser.run(
        "return Array.from(document.querySelectorAll('nav a'))"
        ".map((link) => [link.textContent, !!document.querySelector(link.hash)])"
    )
    assert links == [["All", True], ["Rest", True]]
    ids = browser.run("return Array.from(document.querySelectorAll('[id]')).map((e) => e.id)")
    assert len(ids) == len(set(ids))
    headings = browser.run("return Array.from(document.querySelectorAll('h1,h2,h3')).map((h) => h.tagName)")
    assert headings.count("H1") == 1


def test_numbers_of_a_chart_are_reachable_as_text(tmp_path: Path) -> None:
    text = render_html(document(curves()))
    rows = re.findall(r"<th scope=\"row\" class=\"num\" data-v=\"([\d.]+)\">", text)
    assert rows == ["0.55", "0.65", "0.75", "0.85", "1.0"]


def test_page_names_no_other_place(tmp_path: Path) -> None:
    text = render_html(everything(tmp_path))
    assert not re.findall(r"https?://", FIXED.sub("", text))
    assert str(tmp_path) not in text


def test_pictures_are_scaled_down_only_when_needed(tmp_path: Path) -> None:
    pictures = tuple(Picture(noise(tmp_path / f"{i}.png", 640), f"number {i}") for i in range(4))  # some 1.1 MB each
    one = render_html(document(Pictures("p", pictures[:1])))
    assert 'width="640"' in one
    all_of_them = render_html(document(Pictures("p", pictures)))
    assert len(all_of_them.encode()) <= LIMIT
    assert all_of_them.count('width="480"') == 4
    assert "Left out" not in all_of_them


def test_largest_pictures_go_at_last(tmp_path: Path) -> None:
    small = Picture(noise(tmp_path / "small.png", 24), "small")
    large = [Picture(noise(tmp_path / f"{i}.png", 400), f"large {i}") for i in range(3)]
    text = render_html(document(Pictures("p", (large[0], small, *large[1:]))), limit=80_000)
    assert len(text.encode()) <= 80_000
    assert 'alt="small"' in text
    assert 1 <= text.count("Left out: the page would be too large.") <= 3
    assert all(f"large {i}" in text for i in range(3))


@pytest.mark.parametrize("cut", [0, 10, 700])
def test_broken_pictures_are_said(tmp_path: Path, cut: int) -> None:
    noise(tmp_path / "whole.png", 32)
    (tmp_path / "cut.png").write_bytes((tmp_path / "whole.png").read_bytes()[:cut])
    text = render_html(document(Pictures("p", (Picture(tmp_path / "cut.png", "a caption"),))))
    assert "The file cannot be read" in text
    assert "a caption" in text
    assert "<img" not in text


def test_long_tables_and_sections_give_way() -> None:
    table = Table("long", ("a", "b"), tuple((i, "x" * 30) for i in range(5000)))
    text = render_html(document(table))
    assert "The first 2000 of 5000 rows" in text
    assert "The first 200 of 5000 rows" in render_html(document(table), limit=60_000)
    sections = tuple(Section(f"part {i}", (Code("y" * 9000),)) for i in range(9))
    short = render_html(Document("T", [], sections, "now"), limit=40_000)
    assert len(short.encode()) <= 40_000
    assert "Left out, as the page would be too large: part " in short
    assert "part 8." in short
