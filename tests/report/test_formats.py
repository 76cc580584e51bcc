"""A document as Markdown, LaTeX and CSV: everything is there, escaped, and reads back as it was."""

import csv
import io
import re
from pathlib import Path

import pytest
from PIL import Image

from maekit.cli import main
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
from maekit.report.formats.latex import escape as latex_escape
from maekit.report.formats.latex import latex_table, render_latex
from maekit.report.formats.markdown import escape, render_markdown
from maekit.report.formats.tables_csv import render_csv, tables_of
from maekit.report.formats.write import write_report
from maekit.report.words import setting
from maekit.system.numbers import cell_text, duration, number

NASTY = 'a|b & <c> "d" `e` _f_ *g* #h 50 % $i {j} \\k ~l ^m [n](o) é 😀\nnew'
CURVE = LineChart("curve", "A curve", "step", "loss", (Series("a", ((1, 0.5), (2, 0.25))), Series("b", ((2, 9.0),))))
MAP = HeatMap("map", "A map", "x", "y", ("p", "q"), ("r", "s"), ((1.0, None), (3.0, 4.0)))


def document(*blocks: Block) -> Document:
    return Document("Title", ["one", "two"], (Section("Part", blocks),), "made now")


def markdown(*blocks: Block) -> str:
    return render_markdown(document(*blocks), {}, {})


def test_markdown_tables_align_numbers_and_round_them() -> None:
    text = markdown(Table("t", ("name", "x"), (("a", 1.23456), ("b", None), ("c", 12345)), "Caption", "Note"))
    assert "**Caption**\n\n| name | x |\n|---|---:|\n| a | 1.235 |\n| b |  |\n| c | 12,345 |\n\nNote\n" in text
    assert text.startswith("# Title\n\n- one\n- two\n\n## Part\n")
    assert text.endswith("*made now*\n")


def test_markdown_escapes_all_that_is_markup() -> None:
    text = markdown(Table("t", (NASTY,), ((NASTY,),)), Text((NASTY,)), Facts(((NASTY, NASTY),)))
    for line in text.splitlines():
        if line.startswith("| ") and "new" in line:
            bare = len(re.findall(r"(?<!\\)\|", line))
            assert bare in (2, 3)
            assert "\\<c\\>" in line and "\\`e\\`" in line and "\\_f\\_" in line and "\\[n\\]" in line
    back = re.sub(r"\\([\\`*_{}\[\]<>|#~&$])", r"\1", escape(NASTY))
    assert back == NASTY.replace("\n", " ")


def test_markdown_draws_charts_as_files_and_as_numbers() -> None:
    text = render_markdown(document(CURVE, MAP), {id(CURVE): Path("charts/curve.svg")}, {})
    assert "![A curve](<charts/curve.svg>)" in text
    assert "| step | a | b |\n|---:|---:|---:|\n| 1 | 0.5 |  |\n| 2 | 0.25 | 9 |" in text
    assert "| y \\\\ x | p | q |\n|---|---:|---:|\n| r | 1 |  |\n| s | 3 | 4 |" in text


def test_markdown_code_is_fenced_whatever_is_in_it() -> None:
    text = markdown(Code("a ``` b\n|c|", "Command"))
    assert "Command:\n\n````\na ``` b\n|c|\n````" in text


def test_markdown_links_pictures_from_where_it_is(tmp_path: Path) -> None:
    file = tmp_path / "run dir/examples/a.jpg"
    file.parent.mkdir(parents=True)
    Image.new("RGB", (8, 8)).save(file)
    write_report(document(Pictures("Best", (Picture(file, "a *b*"),))), tmp_path / "out")
    assert "![a \\*b\\*](<../run dir/examples/a.jpg>)" in (tmp_path / "out/report.md").read_text(encoding="utf-8")


def test_latex_escapes_every_special_character() -> None:
    assert latex_escape("\\{}$&#%_^~<>|") == (
        r"\textbackslash{}\{\}\$\&\#\%\_\textasciicircum{}\textasciitilde{}\textless{}\textgreater{}\textbar{}"
    )
    assert latex_escape("é ± 😀 \u2013 --a\n\tb\x00") == r"é \ensuremath{\pm} (U+1F600) -- {-}{-}a b"
    assert latex_escape("[0.9]*") == "{[}0.9{]}{*}"  # a row that begins so would belong to the line's end before
    # every brace closes, and no special character is left bare
    text = render_latex(document(Table("t", (NASTY, "x"), ((NASTY, -1.5),)), Text((NASTY,)), Code(NASTY, NASTY)))
    assert r"\ensuremath{-}1.5 \\" in text
    bare = re.sub(r"\\[\\{}$&#%_]", "", text.split("\\begin{document}")[1])
    assert bare.count("{") == bare.count("}")
    assert not re.search(r"[$#_^~]", bare)


def test_latex_is_booktabs_with_numbers_to_the_right() -> None:
    lines = list(latex_table(Table("t", ("name", "x"), (("a_b", 1.5), ("c", None)), "A & B", "Note")))
    assert lines == [
        r"\begin{table}[H]",
        r"\centering",
        r"\caption{A \& B}",
        r"\begin{tabular}{@{}lr@{}}",
        r"\toprule",
        r"name & x \\",
        r"\midrule",
        r"a\_b & 1.5 \\",
        r"c &  \\",
        r"\bottomrule",
        r"\end{tabular}",
        r"\end{table}",
        "\\noindent Note\n",
    ]


def test_latex_breaks_long_tables_and_shrinks_wide_ones() -> None:
    long = "\n".join(latex_table(Table("t", ("x",), tuple((at,) for at in range(60)), "C")))
    assert r"\begin{longtable}{r}" in long and r"\endhead" in long and long.count(r" \\") >= 60
    wide = "\n".join(latex_table(Table("t", tuple("abcdefghijkl"), (tuple(range(12)),))))
    assert r"\resizebox{\textwidth}{!}{%" in wide and r"\end{tabular}}" in wide
    assert list(latex_table(Table("t", ("x",), (), "Nothing"))) == ["Nothing: no rows.\n"]


def test_latex_environments_are_closed() -> None:
    text = render_latex(document(CURVE, MAP, Facts((("a", "b"),)), Pictures("P", ()), Code("", "")))
    opened = re.findall(r"\\begin\{(\w+)\}", text)
    closed = re.findall(r"\\end\{(\w+)\}", text)
    assert sorted(opened) == sorted(closed)
    assert text.count(r"\toprule") == text.count(r"\bottomrule") == 3


def test_csv_is_rfc_4180_and_nothing_is_rounded() -> None:
    found = Table("t", ("a,b", "x"), ((NASTY, 0.1 + 0.2), (None, float("nan")), ("q", True)))
    text = render_csv(found)
    assert text.endswith("\r\n")
    rows = list(csv.reader(io.StringIO(text, newline="")))
    assert rows == [["a,b", "x"], [NASTY, "0.30000000000000004"], ["", ""], ["q", "true"]]
    assert text.splitlines()[0] == '"a,b",x'


def test_every_table_and_chart_has_a_csv_of_its_own_name() -> None:
    same = Table("Map", ("x",), ())
    odd = Table("../a b/ü", ("x",), ())
    found = tables_of(document(CURVE, MAP, same, odd, Table("ü", ("x",), ())))
    assert list(found) == ["curve", "map", "Map_2", "a_b", "table"]
    assert found["map"].rows == (("r", 1.0, None), ("s", 3.0, 4.0))
    assert found["curve"].columns == ("step", "a", "b")


def test_charts_of_one_name_do_not_replace_each_other(tmp_path: Path) -> None:
    other = LineChart("curve", "Another", "step", "loss", (Series("a", ((1, 7.0), (2, 7.5))),))
    files = write_report(document(CURVE, other), tmp_path)
    charts = sorted(file.name for file in files if file.parent.name == "charts")
    assert charts == ["curve.svg", "curve_2.svg"]
    text = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert "![A curve](<charts/curve.svg>)" in text and "![Another](<charts/curve_2.svg>)" in text
    assert "Another" in (tmp_path / "charts/curve_2.svg").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (99.25, "99.25"),
        (100.0, "100"),
        (0.12183690816, "0.1218"),
        (3.2e-5, "3.2e-05"),
        (125000.4, "125,000"),
        (0.0, "0"),
        (-2.5, "-2.5"),
        (float("inf"), "inf"),
        (float("nan"), "nan"),
    ],
)
def test_numbers_in_words(value: float, said: str) -> None:
    assert number(value) == said


def test_other_words() -> None:
    assert [cell_text(value) for value in (None, True, 12345, 0.5, "x")] == ["", "true", "12,345", "0.5", "x"]
    assert [duration(seconds) for seconds in (46.9, 738.0, 18720.0)] == ["46.9 s", "12.3 min", "5.2 h"]
    assert [setting(value) for value in (None, True, 1e-4, [0.9, 0.95], "a", {"b": 1})] == [
        "null",
        "true",
        "1e-4",
        "[0.9,0.95]",
        "a",
        '{"b": 1}',
    ]


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from tests.report.helpers import make_run

    run = make_run(tmp_path / "0")
    (run / "report").write_text("not a folder")
    assert main(["report", str(run)]) == 2
    error = capsys.readouterr().err
    assert error == f"maekit: {run / 'report'} is a file, expected a folder for the report's files; give --output DIR\n"
