"""The tables of predictions: CSV and JSON hold the same, and neither appears before all is done."""

import csv
import json
import os
from pathlib import Path

import pytest

from maekit.base.predict_options import PredictOptions
from maekit.base.prediction_table import PredictionTable, number
from maekit.errors import UserError

ODD = 'a "b",\nc.jpg', os.fsdecode(b"caf\xe9.jpg"), "ünïcode.jpg"


def _table(folder: Path) -> PredictionTable:
    return PredictionTable(folder, ["file", "class", "share"], {"kind": "x", "classes": ["a", "b;c"]})


@pytest.mark.parametrize("names", [(), ODD])
def test_both_files_hold_the_same(tmp_path: Path, names: tuple[str, ...]) -> None:
    table = _table(tmp_path / "new")
    for place, name in enumerate(names):
        share = number((place + 1) / 3)
        table.add([(name, "b;c", share), (name, None, 1)], {"file": name, "shares": [share, 1]})
    assert table.close() == tmp_path / "new/predictions.csv"
    with (tmp_path / "new/predictions.csv").open(newline="", encoding="utf-8", errors="surrogateescape") as file:
        head, *rows = csv.reader(file)
    held = json.loads((tmp_path / "new/predictions.json").read_text())
    assert head == ["file", "class", "share"]
    assert (held["kind"], held["classes"]) == ("x", ["a", "b;c"])
    assert [(one["file"], cell) for one in held["images"] for cell in one["shares"]] == [
        (name, float(share)) for name, _, share in rows
    ]
    assert [row[1] for row in rows] == ["b;c", ""] * len(names)
    assert [one["file"] for one in held["images"]] == list(names)


def test_a_run_that_was_stopped_leaves_whole_rows_under_another_name(tmp_path: Path) -> None:
    _table(tmp_path).close()
    before = (tmp_path / "predictions.csv").read_bytes()
    broken = _table(tmp_path)
    broken.add([("a.jpg", "a", 1)], {"file": "a.jpg"})
    assert (tmp_path / "predictions.partial.csv").read_text() == "file,class,share\na.jpg,a,1\n"
    assert (tmp_path / "predictions.csv").read_bytes() == before
    again = _table(tmp_path)
    again.add([("b.jpg", "a", 1)], {"file": "b.jpg"})
    again.close()
    assert (tmp_path / "predictions.csv").read_text() == "file,class,share\nb.jpg,a,1\n"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["predictions.csv", "predictions.json"]


def test_a_table_without_images_so_far_has_no_files(tmp_path: Path) -> None:
    _table(tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_numbers_that_json_cannot_hold_are_null() -> None:
    assert [number(value) for value in (1 / 3, float("nan"), float("-inf"))] == [0.333333, None, None]


@pytest.mark.parametrize(
    ("options", "flag"),
    [
        ({"top": 0}, "--top"),
        ({"score": -0.1}, "--score"),
        ({"score": 1.5}, "--score"),
        ({"score": float("nan")}, "--score"),
    ],
)
def test_options_out_of_range_are_refused(options: dict[str, float], flag: str) -> None:
    with pytest.raises(UserError, match=f"^{flag}: got "):
        PredictOptions(**options)  # type: ignore[arg-type]


def test_options_that_mean_nothing_are_refused_when_given() -> None:
    PredictOptions().refuse("values", "top", "score", "crops")
    PredictOptions(score=0.0).refuse("classes", "crops")
    for options, flag in (
        (PredictOptions(top=1), "top"),
        (PredictOptions(score=0.0), "score"),
        (PredictOptions(crops=True), "crops"),
    ):
        with pytest.raises(UserError, match=f"^--{flag}: got it for a model of values"):
            options.refuse("values", "top", "score", "crops")
