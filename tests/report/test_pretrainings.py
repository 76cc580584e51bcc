"""Weights compared by studies: their names, their ranks in one study, and one table over several tasks."""

import json
import math
from pathlib import Path
from typing import Any

import pytest

from maekit.cli import main
from maekit.report.document import HeatMap, LineChart
from maekit.report.studies.report import study_document
from maekit.report.studies.several import studies_document
from maekit.study.define.labels import weights_labels
from maekit.study.define.space import cell_name
from maekit.study.saved import Study, read_study
from tests.report.helpers import blocks, make_study, table

MAE, DINO, NONE = "files/mae/best.pth", "hf:timm/vit_small_dino", "none"
AXES: dict[str, list[Any]] = {"model.weights": [MAE, DINO, NONE], "optim.layer_decay": [0.65, 1.0]}
VALUES: dict[tuple[Any, ...], list[float | None]] = {
    (MAE, 0.65): [90.0, 92.0],
    (MAE, 1.0): [80.0, 81.0],
    (DINO, 0.65): [89.0, 91.0],
    (DINO, 1.0): [95.0, None],
    (NONE, 0.65): [None, None],
    (NONE, 1.0): [None, None],
}


def study(folder: Path, values: dict[tuple[Any, ...], list[float | None]] = VALUES, **given: Any) -> Study:
    return read_study(make_study(folder, values, axes=given.pop("axes", AXES), **given))


@pytest.mark.parametrize(
    ("values", "labels"),
    [
        (["a/x.pth", "b/y.pth"], ["x", "y"]),
        (["a/x.pth", "b/x.pth"], ["a/x", "b/x"]),
        (["runs/p/0/last.ckpt", "runs/p/1/last.ckpt"], ["0/last", "1/last"]),
        (["mae_vit_base", "none"], ["mae_vit_base", "none"]),
        (["hf:facebook/dinov2-base", "vit-b-300ep.pth.tar"], ["dinov2-base", "vit-b-300ep"]),
        (["x.pth#model", "x.pth#model_ema"], ["x#model", "x#model_ema"]),
        (["x.pth", "x.pt"], ["x.pth", "x.pt"]),
        (["best.ckpt", "a/best.ckpt"], ["best.ckpt", "a/best"]),
    ],
)
def test_weights_have_short_names_that_differ(values: list[str], labels: list[str]) -> None:
    assert list(weights_labels(values).values()) == labels


def test_long_weights_keep_the_other_keys_in_a_runs_name() -> None:
    path = "/data/a_project/with/a/very/long/path/" * 4 + "weights.pth"
    names = [
        cell_name({"model.weights": f"{root}{path}", "optim.layer_decay": decay}, seed)
        for root in ("/a", "/b")
        for decay in (0.65, 1.0)
        for seed in (0, 1)
    ]
    assert len(set(names)) == 8
    assert all(len(name) <= 120 for name in names)
    assert all("weights.pth,layer_decay=0.65,seed=" in name for name in names[:2])


def test_a_study_ranks_its_weights_by_their_best_cell(tmp_path: Path) -> None:
    found = table(study_document(study(tmp_path / "s"), None, "now"), "pretrainings")
    assert found.columns == ("rank", "weights", "top1", "std", "n", "at its best", "missing")
    # DINO's best whole cell counts: a cell that lost a run is not the best
    assert found.rows == (
        ("1", "mae/best", 91.0, math.sqrt(2), 2, "layer_decay=0.65", ""),
        ("2 =", "vit_small_dino", 90.0, math.sqrt(2), 2, "layer_decay=0.65", "1 of 4 runs: loss is NaN"),
        ("", "none", None, None, None, "", "4 of 4 runs: loss is NaN"),
    )


def test_the_curve_over_layer_decay_has_a_line_for_each_weights(tmp_path: Path) -> None:
    document = study_document(study(tmp_path / "s"), None, "now")
    chart = next(chart for chart in blocks(document, LineChart) if chart.name == "by_layer_decay")
    lines = {series.label: series.points for series in chart.series}
    assert lines["weights=mae/best"] == ((0.65, 91.0), (1.0, 80.5))
    assert set(lines) == {"weights=mae/best", "weights=vit_small_dino"}
    (grid,) = blocks(document, HeatMap)
    assert set(grid.y_values) == {"mae/best", "vit_small_dino", "none"}


def test_weights_that_are_not_varied_have_no_ranking(tmp_path: Path) -> None:
    axes = {"optim.layer_decay": [0.65, 1.0]}
    document = study_document(study(tmp_path / "s", {(0.65,): [1.0], (1.0,): [2.0]}, axes=axes), None, "now")
    assert "Pre-trainings" not in [section.title for section in document.sections]


def test_what_a_run_recorded_names_the_pre_training(tmp_path: Path) -> None:
    found = study(tmp_path / "s")
    folder = found.folder / str(found.trials[0]["folder"])
    folder.mkdir(parents=True)
    (folder / "environment.json").write_text(json.dumps({"pretraining": "mae"}))
    rows = table(study_document(found, None, "now"), "pretrainings").rows
    assert [row[2] for row in rows] == ["mae", "", ""]


def test_several_studies_make_one_table_of_weights_by_task(tmp_path: Path) -> None:
    axes = {"model.weights": [DINO, MAE]}
    values: dict[tuple[Any, ...], list[float | None]] = {(DINO,): [50.0, 54.0, 52.0], (MAE,): [40.0, 41.0, 42.0]}
    other = study(tmp_path / "other", values, axes=axes, task="trees")
    document = studies_document([study(tmp_path / "s"), other], "now")
    found = table(document, "weights_by_task")
    assert found.columns == ("weights", "mean rank", "flowers", "trees")
    rows = {row[0]: row[1:] for row in found.rows}
    assert rows == {
        "mae/best": (1.5, "1: 91 ± 1.4 (2)", "2: 41 ± 1 (3)"),
        "vit_small_dino": (1.5, "2 =: 90 ± 1.4 (2)*", "1: 52 ± 2 (3)"),
        "none": (None, "missing", "not in this study"),
    }
    missing = table(document, "missing").rows
    assert ("trees", "none", "not in this study") in missing
    assert ("flowers", "vit_small_dino", "1 of 4 runs: loss is NaN") in missing
    (ranks,) = blocks(document, HeatMap, "Weights by task")
    assert [list(row) for row in ranks.cells] == [[1, 2], [2, 1], [None, None]]
    assert document.summary[0] == "flowers: mae/best is best, top1 91; vit_small_dino is not told from it."


def test_two_studies_of_one_task_are_told_apart(tmp_path: Path) -> None:
    document = studies_document([study(tmp_path / "a"), study(tmp_path / "b")], "now")
    columns = table(document, "weights_by_task").columns
    assert columns[2:] == ("flowers base a", "flowers base b")


def test_the_command_takes_several_studies_and_writes_every_format(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folders = [study(tmp_path / "a").folder, study(tmp_path / "b", task="trees").folder]
    assert main(["report", *map(str, folders), "--output", str(tmp_path / "report")]) == 0
    assert capsys.readouterr().out.startswith("3 weights to start from, in 2 studies\n")
    page = (tmp_path / "report/report.html").read_text()
    assert "Weights by task" in page
    assert r"vit\_small\_dino" in (tmp_path / "report/report.md").read_text()
