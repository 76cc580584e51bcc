"""Numbers of an image: tables, what they cannot mean, a short run, its results and predictions."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sklearn.metrics
import torch

from maekit.base.checkpoint_card import read_card
from maekit.base.spec import Draw
from maekit.classification.data.value_table import ValueTable
from maekit.classification.targets.heads import ValueHead
from maekit.cli import main
from maekit.data.digit_pairs import pairs_root
from maekit.errors import UserError
from maekit.report.document import Block, LineChart
from maekit.report.runs import classes as report
from maekit.runs.read import Run, read_run
from tests.classification.targets.helpers import Change, changed, data, made, without
from tests.conftest import TINY

SMOKE = ["--task", "regression_finetune", "--recipe", "smoke"]


def values(table: Path, **flags: Any) -> ValueTable:
    return data(ValueTable, table, **{"label_column": "age", **flags})


def test_values_are_standardised_by_the_training_images(tmp_path: Path) -> None:
    found = values(made(tmp_path), label_column="age, weight")
    spec = found.spec()
    assert (spec.target, spec.value_names, spec.class_names) == ("values", ("age", "weight"), ())
    assert spec.value_mean == pytest.approx((4.0, 46.5))
    assert spec.value_std == pytest.approx([np.arange(9).std()] * 2)
    assert np.asarray(found.val_dataset()[Draw(0, 2)][1]).tolist() == [11, 39.5]
    assert "age (mean 4, deviation 2.582), weight (mean 46.5, deviation 2.582)" in found.summary()
    marked = values(made(tmp_path, changed("age", "-9999")))
    assert "'age' is -9999 in 1 row, far from all others: if it marks a missing value" in marked.summary()
    assert "far from" not in found.summary()
    head = ValueHead(8, spec.value_mean, spec.value_std, pooling="class", init_std=0.02)
    label = torch.tensor([[4.0, 46.5], [0.0, 50.5]])
    torch.testing.assert_close(head.in_unit(head.standardised(label)), label)
    assert head.standardised(label)[0].tolist() == [0, 0]


def test_each_fold_has_low_and_high_values(tmp_path: Path) -> None:
    table = made(tmp_path, without("split"))
    for fold in ("1/3", "2/3", "3/3"):
        ages = values(table, fold=fold).read_splits(tmp_path).val.labels[:, 0]
        assert len(ages) == 4
        assert ages.min() < 6 <= ages.max()


REFUSED: list[tuple[Change, dict[str, Any], str]] = [
    (changed("age", "old"), {}, r"row 5 has 'old' in 'age', expected a number.*--task imagenet_finetune"),
    (changed("age", ""), {}, "row 5 has '' in 'age', expected a number"),
    (changed("age", "nan"), {}, "row 5 has 'nan' in 'age', expected a finite number"),
    (changed("age", "inf"), {}, "row 5 has 'inf' in 'age', expected a finite number"),
    (changed("age", "1_0"), {}, "row 5 has '1_0' in 'age', expected a number"),
    (changed("age", "1e300"), {}, r"row 5 has '1e300' in 'age', expected a number up to 1e\+15"),
    (
        lambda rows: [row | {"age": f"{1e9 + at / 100}"} for at, row in enumerate(rows)],
        {},
        r"'age' is from 1000000000 to 1000000000\.11, which 32 bits round by up to .*; subtract 1000000000 from all",
    ),
    (changed("age", "7", range(9)), {}, "'age' is 7 in all 9 training images, expected numbers that differ"),
    (changed("age", "7", range(9, 12)), {}, "'age' is 7 in all 3 validation images"),
    (lambda rows: rows, {"label_column": "age,wieght"}, "no column 'wieght'.*did you mean 'weight'"),
    (lambda rows: rows, {"label_column": None}, "no number|row 2 has"),
]


@pytest.mark.parametrize(("change", "flags", "expected"), REFUSED, ids=[case[2][:30] for case in REFUSED])
def test_what_a_table_of_values_cannot_mean_is_refused(
    tmp_path: Path, change: Change, flags: dict[str, Any], expected: str
) -> None:
    with pytest.raises(UserError, match=expected) as error:
        values(made(tmp_path, change), **flags).setup()
    assert "\n" not in str(error.value)


def test_a_metric_that_the_task_does_not_measure_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fit", *SMOKE, "--model.monitor=r3"]) == 2
    assert "model.monitor: got r3, expected one of r2, mae, rmse" in capsys.readouterr().err


def report_values(run: Run) -> tuple[Block, ...]:
    section = report.values(run, [])
    assert section is not None
    return section.blocks


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of 4 steps on the sums of pairs of digits."""
    folder = tmp_path_factory.mktemp("values")
    limits = [flag for flag in TINY if "limit_val" not in flag] + ["--trainer.limit_val_batches=3"]
    flags = ["--trainer.max_steps=4", "--run.name=run", f"--run.folder={folder}", "--model.mixup=0.4"]
    flags += ["--model.monitor=mae"]
    assert main(["fit", *SMOKE, *limits, *flags]) == 0
    return folder / "regression_finetune/smoke/run"


def test_a_run_keeps_values_in_their_unit(run: Path) -> None:
    measured, found = (json.loads((run / name).read_text()) for name in ("metrics.json", "values.json"))
    shown = found["shown"]
    true, predicted = (np.array([row[name] for row in shown]) for name in ("true", "predicted"))
    assert found["images"] == len(shown) == 48
    assert true.min() >= 0 and true.max() <= 18
    val = measured["val"]
    assert val["mae"] == pytest.approx(sklearn.metrics.mean_absolute_error(true, predicted), abs=1e-6)
    assert val["r2"] == pytest.approx(sklearn.metrics.r2_score(true, predicted), abs=1e-6)
    assert found["values"][0]["name"] == "sum"
    assert (measured["best"]["metric"], read_run(run).monitor) == ("val/mae", ("mae", "min"))
    [plot] = [block for block in report_values(read_run(run)) if isinstance(block, LineChart)]
    assert sorted(plot.series[1].dots) == sorted((row["true"][0], row["predicted"][0]) for row in shown)
    card = read_card(run / "best.ckpt")
    assert card.spec.value_mean == pytest.approx([found["values"][0]["mean"]])
    assert not (run / "classes.txt").exists() and not (run / "confusion.json").exists()


def test_predictions_are_in_the_unit_of_the_data(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    images = tmp_path / "images"
    images.mkdir()
    shown = json.loads((run / "values.json").read_text())["shown"][:3]
    for row in shown:
        name = f"{row['image']:05}.png"
        (images / name).write_bytes((pairs_root() / "val" / name).read_bytes())
    assert main(["predict", "--ckpt_path", str(run), "--images", str(images)]) == 0
    with (tmp_path / "predictions/predictions.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [float(row["sum"]) for row in rows] == pytest.approx([row["predicted"][0] for row in shown], abs=1e-4)


def test_a_head_of_other_values_is_refused(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = made(tmp_path)
    words = ["fit", *SMOKE, "--trainer.max_steps=1", *TINY, f"--model.weights={run / 'best.ckpt'}"]
    words += [f"--data.table={table}", "--data.label_column=age", f"--run.folder={tmp_path}"]
    assert main([*words, "--data.total_batch_size=8", "--data.device_batch_size=8"]) == 2
    assert "its head predicts the values sum, expected the values age" in capsys.readouterr().err
    assert main(["validate", "--ckpt_path", str(run), *words[6:-1], *TINY[2:5]]) == 2
