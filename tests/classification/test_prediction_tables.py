"""What `maekit predict` writes for models of whole images: tables with the same numbers, and contact sheets."""

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from maekit.base.predict_options import PredictOptions
from maekit.classification.prediction_tables import ClassTable, GradeTable, ImageTable, LabelTable, ValueTable
from maekit.classification.predictions import ClassScores, ImageGrade, ImageValues, LabelScores
from maekit.errors import UserError

NAMES = ["cat", "dog; hound", "stone"]


def _row(*values: float) -> Any:
    return np.array(values, np.float32)


def _written(table: ImageTable, *predictions: object) -> tuple[list[dict[str, str]], list[dict[str, Any]]]:
    for place, prediction in enumerate(predictions):
        table.write(Path(f"{place}.jpg"), Image.new("RGB", (8, 8)), prediction)
    folder = table.table.folder
    table.close()
    with (folder / "predictions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    images = json.loads((folder / "predictions.json").read_text())["images"]
    assert [row["file"] for row in rows] == [image["file"] for image in images]
    return rows, images


@pytest.mark.parametrize(("top", "score", "listed"), [(None, None, 3), (2, None, 2), (9, 0.2, 2), (1, 0.9, 0)])
def test_the_best_classes_are_listed(tmp_path: Path, top: int | None, score: float | None, listed: int) -> None:
    table = ClassTable(tmp_path, NAMES, PredictOptions(top=top, score=score))
    (row,), (image,) = _written(table, ClassScores(_row(0.125, 0.625, 0.25)))
    expected = [("dog; hound", 1, 0.625), ("stone", 2, 0.25), ("cat", 0, 0.125)][:listed]
    assert [(one["class"], one["label"], one["probability"]) for one in image["classes"]] == expected
    columns = min(top or 5, 3)
    assert list(row) == ["file", *(f"{what}_{i + 1}" for i in range(columns) for what in ("class", "probability"))]
    cells = [(row[f"class_{i + 1}"], row[f"probability_{i + 1}"]) for i in range(columns)]
    assert cells == [(name, f"{p:.6f}") for name, _, p in expected] + [("", "")] * (columns - listed)


def test_equal_probabilities_keep_the_order_of_labels(tmp_path: Path) -> None:
    _, (image,) = _written(ClassTable(tmp_path, NAMES, PredictOptions()), ClassScores(_row(0.25, 0.5, 0.25)))
    assert [one["label"] for one in image["classes"]] == [1, 0, 2]


@pytest.mark.parametrize(("score", "labels"), [(None, ["cat", "stone"]), (0.7, ["stone"]), (0.95, [])])
def test_labels_are_given_from_the_threshold_on(
    tmp_path: Path, score: float | None, labels: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    table = LabelTable(tmp_path, NAMES, 0.5, PredictOptions(score=score), origin="as tuned")
    why = "as tuned" if score is None else "--score"
    said = capsys.readouterr().out
    assert said == f"labels  are given from a probability of {score or 0.5:g} on: {why}\n"
    (row,), (image,) = _written(table, LabelScores(_row(0.5, 0.25, 0.875)))
    assert image["labels"] == labels and row["labels"] == ";".join(labels)
    assert image["probabilities"] == {"cat": 0.5, "dog; hound": 0.25, "stone": 0.875}
    assert {name: float(row[name]) for name in NAMES} == image["probabilities"]


def test_values_and_grades_are_the_same_in_both_files(tmp_path: Path) -> None:
    table: ImageTable = ValueTable(tmp_path / "v", ["age", "weight"], PredictOptions())
    numbers = _row(1 / 3, 1.5e-12), _row(123456.7, float("nan"))
    rows, images = _written(table, *(ImageValues(values) for values in numbers))
    for row, image, values in zip(rows, images, numbers, strict=True):
        for name, value in zip(("age", "weight"), values, strict=True):
            assert float(row[name]) == pytest.approx(float(value), rel=5e-7, nan_ok=True)  # seven digits
            assert image["values"][name] == (None if np.isnan(value) else float(row[name]))
    table = GradeTable(tmp_path / "g", ["none", "mild", "severe"], PredictOptions())
    (row,), (image,) = _written(table, ImageGrade(1, _row(0.5, 0.25, 0.25)))
    assert row == {"file": "0.jpg", "grade": "mild", "none": "0.500000", "mild": "0.250000", "severe": "0.250000"}
    assert (image["grade"], image["probabilities"]) == ("mild", {"none": 0.5, "mild": 0.25, "severe": 0.25})


def test_pictures_are_left_out_where_only_tables_are_asked(tmp_path: Path) -> None:
    for pictures in (True, False):
        folder = tmp_path / str(pictures)
        table = ClassTable(folder, NAMES, PredictOptions(pictures=pictures))
        assert table.writes_images == pictures
        _written(table, ClassScores(_row(1, 0, 0)))
        names = {"predictions.csv", "predictions.json"} | ({"contact_sheet.png"} if pictures else set())
        assert {path.name for path in folder.iterdir()} == names


@pytest.mark.parametrize("flag", ["top", "score", "crops"])
def test_options_without_a_meaning_are_refused_before_a_file_is_written(tmp_path: Path, flag: str) -> None:
    options = {"top": PredictOptions(top=1), "score": PredictOptions(score=0.5), "crops": PredictOptions(crops=True)}
    folder = tmp_path / "out"
    tables: list[Callable[[PredictOptions], ImageTable]] = [
        lambda o: ValueTable(folder, ["age"], o),
        lambda o: GradeTable(folder, NAMES, o),
    ]
    tables += [lambda o: ClassTable(folder, NAMES, o)] * (flag == "crops")
    tables += [lambda o: LabelTable(folder, NAMES, 0.5, o)] * (flag != "score")
    for make in tables:
        with pytest.raises(UserError, match=f"^--{flag}: got it for a model of"):
            make(options[flag])
    assert not folder.exists()
