"""What a report says of a study: its best cell and how sure that is, its charts, its cost, and halving's agreement."""

import json
import math
from pathlib import Path
from typing import Any

import pytest

from maekit.cli import main
from maekit.report.document import Document, Facts, HeatMap, LineChart, Table, Text
from maekit.report.studies.report import study_document
from maekit.study.saved import read_study
from tests.report.helpers import blocks, make_study, table

DECAYS, RATES = [0.55, 0.75, 1.0], [0.001, 0.01]
AXES: dict[str, list[Any]] = {"optim.layer_decay": DECAYS, "optim.lr": RATES}
VALUES: dict[tuple[Any, ...], list[float | None]] = {
    (0.55, 0.001): [80.0, 82.0, 84.0],
    (0.55, 0.01): [70.0, 71.0, 72.0],
    (0.75, 0.001): [90.0, 92.0, 94.0],
    (0.75, 0.01): [89.0, 91.0, 93.0],
    (1.0, 0.001): [60.0, None, 64.0],
    (1.0, 0.01): [None, None, None],
}
KEPT = (((0.75, 0.001), (0.75, 0.01)), ((0.75, 0.01),))


def report_of(folder: Path, full: Path | None = None) -> Document:
    return study_document(read_study(folder), read_study(full) if full else None, "now")


@pytest.fixture
def grid(tmp_path: Path) -> Path:
    return make_study(tmp_path / "grid", VALUES, axes=AXES)


def test_curve_of_each_learning_rate_with_bands_and_seeds(grid: Path) -> None:
    chart = blocks(report_of(grid), LineChart)[0]
    assert (chart.name, chart.x_label, chart.y_label) == ("by_layer_decay", "layer_decay", "top1")
    lines = {series.label: series for series in chart.series}
    assert set(lines) == {"lr=0.001", "lr=0.01"}
    low = lines["lr=0.001"]
    assert low.points == ((0.55, 82.0), (0.75, 92.0), (1.0, 62.0))
    spread = math.sqrt(8)  # of 60 and 64, with n - 1
    assert low.band[:2] == ((0.55, 80.0, 84.0), (0.75, 90.0, 94.0))
    assert low.band[2] == pytest.approx((1.0, 62 - spread, 62 + spread))
    assert low.dots[:3] == ((0.55, 80.0), (0.55, 82.0), (0.55, 84.0))
    assert [x for x, _ in lines["lr=0.01"].points] == [0.55, 0.75]  # no run of the third came to its end


def test_heat_map_of_two_keys(grid: Path) -> None:
    [found] = blocks(report_of(grid), HeatMap)
    assert (found.x_label, found.y_label) == ("layer_decay", "lr")
    assert (found.x_values, found.y_values) == (("0.55", "0.75", "1.0"), ("0.001", "0.01"))
    assert found.cells == ((82.0, 92.0, 62.0), (71.0, 91.0, None))


def test_a_third_key_gives_the_best_over_it(tmp_path: Path) -> None:
    axes = {"model.drop_path": [0.1, 0.2], "optim.layer_decay": [0.5, 1.0], "optim.base_lr": [1e-3, 2e-3]}
    values: dict[tuple[Any, ...], list[float | None]] = {}
    for d, drop in enumerate(axes["model.drop_path"]):
        for e, decay in enumerate(axes["optim.layer_decay"]):
            for f, rate in enumerate(axes["optim.base_lr"]):
                values[drop, decay, rate] = [10.0 * d + 2 * e - 30 * d * e + f]
    document = report_of(make_study(tmp_path / "s", values, axes=axes))
    [found] = blocks(document, HeatMap)
    assert (found.x_label, found.y_label) == ("layer_decay", "base_lr")
    assert found.cells == ((10.0, 2.0), (11.0, 3.0))
    assert "the best over drop_path" in found.caption
    assert len(blocks(document, LineChart)[0].series) == 4


def test_ranking_has_means_errors_and_failures(grid: Path) -> None:
    found = table(report_of(grid), "ranking")
    assert found.columns == ("rank", "layer_decay", "lr", "top1", "std", "std error", "n", "failed")
    first: tuple[object, ...] = found.rows[0]
    assert first == (1, 0.75, 0.001, 92.0, 2.0, pytest.approx(2 / math.sqrt(3)), 3, 0)
    assert [row[1:3] for row in found.rows] == [
        (0.75, 0.001),
        (0.75, 0.01),
        (0.55, 0.001),
        (0.55, 0.01),
        (1.0, 0.001),
        (1.0, 0.01),
    ]
    assert found.rows[-1] == (None, 1.0, 0.01, None, None, None, 0, 3)


def test_summary_says_what_cannot_be_told_apart(grid: Path) -> None:
    lines = list(report_of(grid).summary)
    assert lines[0] == (
        "Best: layer_decay=0.75, lr=0.001 with top1 92 ± 2 (mean and standard deviation of 3 seeds). "
        "Not told apart from it: layer_decay=0.75, lr=0.01, within one standard error of it (1.155)."
    )
    assert lines[1] == "6 cells x 3 seeds; 18 trials (14 complete, 4 failed)."
    assert lines[2] == "It took 1,800 optimizer steps, 100 % of the 1,800 of every cell and seed, in 10.8 min of runs."


def test_one_seed_says_nothing_of_chance(tmp_path: Path) -> None:
    values: dict[tuple[Any, ...], list[float | None]] = {(0.5,): [80.0], (1.0,): [70.0]}
    document = report_of(make_study(tmp_path / "s", values, axes={"optim.layer_decay": [0.5, 1.0]}, recipe="smoke"))
    assert "top1 80, of 1 seed: how much of that is chance, one seed does not tell." in document.summary[0]
    assert document.summary[1].startswith("This is a study on a toy, not the paper's data")
    assert not blocks(document, HeatMap)
    assert blocks(document, LineChart)[0].series[0].band == ()


def test_failures_and_cost(grid: Path) -> None:
    document = report_of(grid)
    assert {row[1:] for row in table(document, "failures").rows} == {
        ("layer_decay=1.0, lr=0.001", 1, 100, "loss is NaN"),
        *(("layer_decay=1.0, lr=0.01", seed, 100, "loss is NaN") for seed in range(3)),
    }
    cost = dict(blocks(document, Facts, "Cost")[0].pairs)
    assert cost["hours of runs"] == "0.18"
    assert cost["share of that"] == "100 %"
    assert cost["most memory of a run"] == "0.5 GiB"
    assert len(table(document, "trials").rows) == 18


def test_curves_of_cells_are_means_over_seeds(grid: Path) -> None:
    chart = next(chart for chart in blocks(report_of(grid), LineChart) if chart.name == "cells")
    assert chart.series[0].label == "layer_decay=0.75, lr=0.001"
    assert chart.series[0].points == ((50.0, 82.0), (100.0, 92.0))


def test_curves_come_from_the_runs_where_the_study_has_none(grid: Path) -> None:
    told = json.loads((grid / "study.json").read_text())
    for trial in told["trials"]:
        trial["intermediate"] = {}
        trial["folder"] = f"runs/{trial['number']}"
        folder = grid / trial["folder"]
        folder.mkdir(parents=True)
        (folder / "val.csv").write_text(f"step,top1\n25,{trial['number']}\n")
    (grid / "study.json").write_text(json.dumps(told))
    chart = next(chart for chart in blocks(report_of(grid), LineChart) if chart.name == "cells")
    assert chart.series[0].points == ((25.0, 7.0),)  # trials 6, 7 and 8


def test_halving_says_both_numbers(tmp_path: Path, grid: Path) -> None:
    halving = make_study(tmp_path / "halving", VALUES, axes=AXES, rungs=(11, 33, 100), kept=KEPT)
    document = report_of(halving, grid)
    rungs = table(document, "rungs").rows
    assert [row[:3] for row in rungs] == [(11, 6, 2), (33, 2, 1), (100, 1, None)]
    assert rungs[1][3] == "layer_decay=0.75, lr=0.01"
    steps = 18 * 11 + 6 * 22 + 3 * 67
    assert document.summary[-1] == (
        "Halving found a cell within one standard error of the full grid's best (1 apart, standard error 1.155), "
        f"for 29.5 % of its steps ({steps} of 1,800)."
    )
    facts = dict(blocks(document, Facts, "Successive halving")[0].pairs)
    assert facts["halving's best cell"] == "layer_decay=0.75, lr=0.01"
    assert facts["the full grid's best cell"] == "layer_decay=0.75, lr=0.001"
    assert facts["within one standard error"] == "yes"
    stopped = table(document, "ranking")
    assert stopped.columns[-3:] == ("stopped", "at step", "value there")
    assert stopped.rows[1][1:4] == (0.75, 0.001, None)


def test_rungs_of_one_key_are_lines(tmp_path: Path) -> None:
    values: dict[tuple[Any, ...], list[float | None]] = {
        (0.5,): [80.0, 82.0],
        (0.7,): [70.0, 74.0],
        (1.0,): [60.0, 62.0],
    }
    axes = {"optim.layer_decay": [0.5, 0.7, 1.0]}
    document = report_of(make_study(tmp_path / "s", values, axes=axes, rungs=(33, 100), kept=(((0.5,),),)))
    chart = blocks(document, LineChart, "Successive halving")[0]
    assert [(series.label, series.points) for series in chart.series] == [
        ("step 33", ((0.5, 81.0), (0.7, 72.0), (1.0, 61.0))),
        ("step 100", ((0.5, 81.0),)),
    ]
    assert document.summary[0].endswith("No other cell went to its end.")


def test_halving_that_missed_says_so(tmp_path: Path, grid: Path) -> None:
    kept = (((0.55, 0.001), (0.55, 0.01)), ((0.55, 0.001),))
    halving = make_study(tmp_path / "halving", VALUES, axes=AXES, rungs=(11, 33, 100), kept=kept)
    assert (
        report_of(halving, grid)
        .summary[-1]
        .startswith("Halving did not find the full grid's best cell, nor one within one standard error of it (10 apart")
    )
    alone = report_of(halving)
    assert not any("Halving" in line for line in alone.summary)


def test_a_study_that_has_just_begun(grid: Path) -> None:
    told = json.loads((grid / "study.json").read_text())
    (grid / "study.json").write_text(json.dumps({**told, "trials": []}))
    document = report_of(grid)
    assert document.summary[0] == "No run has come to its end yet, so there is no best cell."
    assert blocks(document, Text, "What it is worth")[0].lines == ("Nothing to draw yet: no run has a value.",)
    (grid / "study.json").write_text(json.dumps({**told, "trials": told["trials"][:4]}))
    assert report_of(grid).summary[0].startswith("Best so far: layer_decay=0.55, lr=0.001 with top1 82 ")
    running = {**told["trials"][0], "state": "running", "value": None, "steps": None, "seconds": None, "end_step": None}
    (grid / "study.json").write_text(json.dumps({**told, "trials": [running]}))
    assert "1 trial (1 running)" in report_of(grid).summary[1]


def test_a_drawn_study_shows_its_runs_as_dots(grid: Path) -> None:
    told = json.loads((grid / "study.json").read_text())
    told["definition"]["sampler"] = "random"
    told["definition"]["num_cells"] = 6
    told["definition"]["space"][1] = {"kind": "interval", "key": "optim.lr", "low": 1e-3, "high": 1e-2, "log": True}
    (grid / "study.json").write_text(json.dumps(told))
    document = report_of(grid)
    charts = {chart.name: chart for chart in blocks(document, LineChart)}
    assert len(charts["by_layer_decay"].series[0].dots) == 14
    assert charts["by_lr"].log_x and not charts["by_layer_decay"].log_x
    assert not blocks(document, HeatMap)
    [study] = blocks(document, Facts, "The study")
    assert dict(study.pairs)["optim.lr"] == "0.001 to 0.01, on a log scale"


def test_command_on_a_study(grid: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", str(grid)]) == 0
    assert capsys.readouterr().out.startswith("Study of layer_decay, lr: flowers, base\n  Best: layer_decay=0.75")
    assert (grid / "report/charts/heat_map.svg").is_file()
    assert (grid / "report/tables/ranking.csv").read_text(encoding="utf-8").startswith("rank,layer_decay,lr,top1")
    text = (grid / "study.json").read_text()
    (grid / "study.json").write_text(text[: len(text) // 2])
    assert main(["report", str(grid)]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"maekit: {grid / 'study.json'} is cut off or damaged")
    assert error.count("\n") == 1
    assert isinstance(table(report_of(make_study(tmp_path / "x", VALUES, axes=AXES)), "fixed"), Table)
