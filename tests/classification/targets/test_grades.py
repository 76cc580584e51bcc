"""Grades in an order: tables and class folders, what they cannot mean, a short run, its results and predictions."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sklearn.metrics
import torch
from PIL import Image

from maekit.classification.data.graded_images import GradedImages
from maekit.classification.targets.losses import OrderedThresholds, grade_probabilities
from maekit.cli import main
from maekit.data.digit_pairs import GRADES, pairs_root
from maekit.errors import UserError
from maekit.runs.read import read_run
from tests.classification.targets.helpers import Change, data, made
from tests.conftest import TINY


def grades(table: Path | None, **flags: Any) -> GradedImages:
    return data(GradedImages, table, **flags)


def graded(names: str) -> Change:
    """A grade for each image in turn, of names with blanks between."""
    words = names.split()
    return lambda rows: [row | {"grade": words[number % len(words)]} for number, row in enumerate(rows)]


def sorted_of(found: GradedImages) -> list[tuple[str, int]]:
    train = found.read_splits(found.data_root()).train
    return sorted(zip(train.names, train.labels.tolist(), strict=True))


def test_numbers_are_in_their_own_order_and_names_in_the_given_one(tmp_path: Path) -> None:
    numbers = grades(made(tmp_path, graded("2 10 1")), label_column="grade")
    assert numbers.spec().class_names == ("1", "2", "10")
    assert [label for _, label in sorted_of(numbers)] == [1, 2, 0] * 3
    floats = grades(made(tmp_path, graded("2.0 10.0 +1")), label_column="grade")
    assert floats.spec().class_names == ("+1", "2.0", "10.0")
    unhurt = grades(made(tmp_path, graded("none severe mild")), label_column="grade", classes="none,mild,severe")
    assert [label for _, label in sorted_of(unhurt)] == [0, 2, 1] * 3
    table = made(tmp_path, graded("mild severe moderate"))
    named = grades(table, label_column="grade", classes="mild,moderate,severe")
    assert (named.spec().class_names, named.spec().target) == (("mild", "moderate", "severe"), "grades")
    assert [label for _, label in sorted_of(named)] == [0, 2, 1] * 3
    assert "grades mild < moderate < severe" in named.summary()


def test_class_folders_are_grades_too(tmp_path: Path) -> None:
    for number, name in enumerate(("2", "10", "1") * 2):
        (tmp_path / name).mkdir(exist_ok=True)
        Image.new("RGB", (16, 16)).save(tmp_path / name / f"{number}.png")
    found = grades(None, root=str(tmp_path), val_fraction=0.5)
    assert found.spec().class_names == ("1", "2", "10")
    assert {name.split("/")[0]: label for name, label in sorted_of(found)} == {"1": 0, "2": 1, "10": 2}
    turned = grades(None, root=str(tmp_path), val_fraction=0.5, classes=["10", "2", "1"])
    assert {name.split("/")[0]: label for name, label in sorted_of(turned)} == {"1": 2, "2": 1, "10": 0}
    with pytest.raises(UserError, match=r"grade '3' is in the data\.classes alone"):
        grades(None, root=str(tmp_path), classes=["10", "2", "1", "3"]).setup()


def test_names_without_an_order_are_refused(tmp_path: Path) -> None:
    table = made(tmp_path, graded("mild severe moderate"))
    with pytest.raises(UserError, match=r"whose order is not known.*add --data\.classes LOWEST"):
        grades(table, label_column="grade").setup()
    with pytest.raises(UserError, match="row 3 has label 'severe', expected one of the 2 classes"):
        grades(table, label_column="grade", classes="mild,moderate").setup()


def test_probabilities_of_grades_are_those_between_thresholds() -> None:
    thresholds = OrderedThresholds(4)
    torch.nn.init.normal_(thresholds.steps)
    logits = thresholds(torch.linspace(-5, 5, 11)[:, None])
    shares = grade_probabilities(logits)
    assert (shares >= 0).all()
    torch.testing.assert_close(shares.sum(1), torch.ones(11))
    torch.testing.assert_close(shares[:, 2:].sum(1), logits[:, 1].sigmoid())


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of 4 steps on the grades of pairs of digits."""
    folder = tmp_path_factory.mktemp("grades")
    limits = [flag for flag in TINY if "limit_val" not in flag] + ["--trainer.limit_val_batches=3"]
    flags = ["--trainer.max_steps=4", "--run.name=run", f"--run.folder={folder}", "--model.monitor=accuracy"]
    assert main(["fit", "--task", "ordinal_finetune", "--recipe", "smoke", *limits, *flags]) == 0
    return folder / "ordinal_finetune/smoke/run"


def test_a_run_keeps_the_confusion_of_grades_in_order(run: Path) -> None:
    val = json.loads((run / "metrics.json").read_text())["val"]
    confusion = json.loads((run / "confusion.json").read_text())
    assert (confusion["classes"], confusion["ordered"]) == (list(GRADES), True)
    counts = np.array(confusion["counts"])
    true, predicted = (np.repeat(axis.ravel(), counts.ravel()) for axis in np.indices(counts.shape))
    expected = sklearn.metrics.cohen_kappa_score(true, predicted, weights="quadratic", labels=range(len(GRADES)))
    assert val["kappa"] == pytest.approx(expected, abs=1e-6, nan_ok=True)
    assert val["accuracy"] == pytest.approx(100 * (true == predicted).mean())
    assert val["mae"] == pytest.approx(np.abs(true - predicted).mean())
    assert json.loads((run / "per_class.json").read_text())["metric"] == "accuracy"
    assert read_run(run).monitor == ("accuracy", "max")


def test_predictions_are_a_grade_and_its_probabilities(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    images = tmp_path / "images"
    images.mkdir()
    for path in sorted((pairs_root() / "val").iterdir())[:3]:
        (images / path.name).write_bytes(path.read_bytes())
    assert main(["predict", "--ckpt_path", str(run), "--images", str(images)]) == 0
    with (tmp_path / "predictions/predictions.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 3
    for row in rows:
        shares = [float(row[name]) for name in GRADES]
        assert sum(shares) == pytest.approx(1, abs=1e-5)
        above = [sum(shares[place:]) for place in range(1, len(GRADES))]
        assert row["grade"] == GRADES[sum(share > 0.5 for share in above)]
