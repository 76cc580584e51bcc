"""`maekit compare`: metrics side by side, the best marked, and where the configurations differ."""

import json
from pathlib import Path
from typing import Any

import pytest

from maekit.cli import main
from maekit.report.runs.side_by_side import better, groups, metrics, varying, watched
from maekit.runs.read import read_run
from tests.report.helpers import make_run


def compared(capsys: pytest.CaptureFixture[str], *words: str | Path) -> dict[str, Any]:
    assert main(["compare", *map(str, words), "--json"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    found: dict[str, Any] = json.loads(out)
    return found


def lines(capsys: pytest.CaptureFixture[str], *words: str | Path) -> list[str]:
    assert main(["compare", *map(str, words)]) == 0
    return capsys.readouterr().out.splitlines()


@pytest.fixture
def two(tmp_path: Path) -> tuple[Path, Path]:
    first = make_run(tmp_path / "a/base/0", top1=90.0)
    second = make_run(tmp_path / "a/base/1", top1=91.5, seed=3, changed={"optim.layer_decay": 0.65})
    return first, second


def test_metrics_side_by_side_with_the_best_marked(
    two: tuple[Path, Path], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    assert lines(capsys, *two) == [
        "                     base/0     base/1",
        "recipe                 base       base",
        "status             finished   finished",
        "top1                     90       91.5*",
        "loss                  0.075      0.075",
        "best                   90.5         92",
        "time                  2.0 h      2.0 h",
        "images/s              123.4      123.4",
        "GiB                     1.5        1.5",
        "optim.layer_decay      0.75       0.65",
        "run.seed                  0          3",
        "* the best of its row",
    ]


def test_json_has_the_same(two: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    found = compared(capsys, *two)
    assert [run["label"] for run in found["runs"]] == ["base/0", "base/1"]
    assert found["runs"][1]["differs_from_recipe"] == [{"key": "optim.layer_decay", "recipe": 0.75, "run": 0.65}]
    assert found["metrics"][0] == {
        "name": "top1",
        "better": "max",
        "values": {"base/0": 90.0, "base/1": 91.5},
        "best": ["base/1"],
    }
    assert found["metrics"][1]["best"] == []  # both are the same
    assert found["differences"] == [
        {"key": "optim.layer_decay", "values": {"base/0": 0.75, "base/1": 0.65}},
        {"key": "run.seed", "values": {"base/0": 0, "base/1": 3}},
    ]
    assert (found["elsewhere"], found["not_in_all"], found["notes"]) == ([], [], [])


def test_less_of_a_loss_is_better(tmp_path: Path) -> None:
    runs = [read_run(make_run(tmp_path / str(at), top1=value)) for at, value in enumerate((1.0, 2.0, 2.0))]
    assert metrics(runs)[0].best == (1, 2)
    lower = [read_run(make_run(tmp_path / f"m{at}", top1=v, monitor=("gap", "min"))) for at, v in enumerate((1.0, 2.0))]
    assert metrics(lower)[0].best == (0,)
    assert [
        better(name, runs) for name in ("loss", "c_mean_error", "c_mce_alexnet", "box_AP50", "psnr", "knn_top1")
    ] == [
        "min",
        "min",
        "min",
        "max",
        "max",
        "max",
    ]
    assert better("number_of_apples", runs) is None


def test_runs_with_clashing_names_are_told_apart(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for place in ("here", "there"):
        make_run(tmp_path / place / "runs/flowers/base/0", top1=90.0 if place == "here" else 80.0)
    found = compared(capsys, tmp_path / "here", tmp_path / "there")
    assert [run["label"] for run in found["runs"]] == ["here/runs/flowers/base/0", "there/runs/flowers/base/0"]
    assert found["metrics"][0]["values"] == {"here/runs/flowers/base/0": 90.0, "there/runs/flowers/base/0": 80.0}
    assert found["elsewhere"] == ["run.folder"]


def test_other_tasks_side_by_side_are_said_and_none_is_the_best(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one = make_run(tmp_path / "a/base/0", top1=90.0)
    other = make_run(tmp_path / "b/base/1", top1=50.0, task="birds", changed={"model.taps": [1, 2]})
    found = compared(capsys, one, other)
    assert all(not metric["best"] for metric in found["metrics"])
    assert found["notes"] == ["the runs are of different tasks (flowers, birds), so no best is marked"]
    assert found["not_in_all"] == ["model.taps"]
    said = "\n".join(lines(capsys, one, other))
    assert [line.split() for line in said.splitlines() if line.startswith("task ")] == [["task", "flowers", "birds"]]
    assert "keys that not all of these runs have, left out: model.taps" in said


def test_unfinished_runs_have_no_result(two: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    (two[1] / "metrics.json").unlink()
    found = compared(capsys, *two)
    assert found["runs"][1]["status"] == "unfinished"
    assert found["metrics"][0]["values"] == {"base/0": 90.0, "base/1": None}
    assert found["metrics"][0]["best"] == []
    assert found["notes"] == [
        "base/1: unfinished, last seen at step 40, the last validation at step 40: top1 91.5",
        "base/1: metrics.json is missing",
    ]


def test_a_nan_is_left_out_and_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folders = [make_run(tmp_path / f"r/{at}", top1=value) for at, value in enumerate((90.0, None, 80.0))]
    text = (folders[1] / "metrics.json").read_text().replace("null", "NaN")
    (folders[1] / "metrics.json").write_text(text)
    found = compared(capsys, *folders)
    assert list(found["metrics"][0]["values"].values()) == [90.0, None, 80.0]
    assert found["metrics"][0]["best"] == ["r/0"]
    assert found["notes"] == ["r/1: metrics.json: top1 is not a number"]


def test_a_lost_configuration_differs_in_nothing(two: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    (two[1] / "config.yaml").write_text("model: {")
    found = compared(capsys, *two)
    assert found["differences"] == []
    assert found["notes"] == ["base/1: config.yaml is cut off or damaged"]


@pytest.mark.parametrize("width", [40, 60, 100])
def test_a_narrow_terminal_gets_blocks_of_numbered_columns(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, width: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    for at in range(12):
        make_run(tmp_path / f"a_long_name_of_a_study/{at}", top1=10.0 + at, seed=at)
    found = lines(capsys, tmp_path)
    assert found[0] == "[1] a_long_name_of_a_study/0"
    table = found[12:]
    assert max(map(len, table)) <= width
    top1 = " ".join(line.removeprefix("top1") for line in table if line.startswith("top1"))
    assert top1.split() == [*(str(10 + at) for at in range(11)), "21*"]
    seeds = " ".join(line.removeprefix("run.seed") for line in table if line.startswith("run.seed"))
    assert seeds.split() == [str(at) for at in range(12)]


def test_values_that_are_equal_to_python_alone_differ(tmp_path: Path) -> None:
    runs = [
        read_run(make_run(tmp_path / str(at), changed={"optim.lr": value})) for at, value in enumerate((1, True, [1]))
    ]
    assert list(varying(runs)) == ["optim.lr"]
    assert [len(group.runs) for group in groups(runs)] == [1, 1, 1]
    same = [read_run(make_run(tmp_path / f"s{seed}", seed=seed)) for seed in range(3)]
    assert [len(group.runs) for group in groups(same)] == [3]


def test_a_run_that_names_no_monitor_is_judged_by_its_best_checkpoint(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "0")
    environment = json.loads((folder / "environment.json").read_text())
    del environment["monitor"]
    (folder / "environment.json").write_text(json.dumps(environment))
    assert watched(read_run(folder)) == ("top1", "max")
    (folder / "metrics.json").unlink()
    assert watched(read_run(folder)) is None


def test_bad_input_is_one_line(two: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty").mkdir()
    for words, said in (
        ([two[0]], f"maekit: got 1 run, {two[0]}, expected two or more to compare; `maekit report` shows one"),
        ([two[0], two[0]], f"maekit: got 1 run, {two[0]}, expected two or more"),
        ([two[0], tmp_path / "emty"], f"maekit: no folder {tmp_path / 'emty'}; did you mean 'empty'?"),
        ([two[0], tmp_path / "empty"], f"maekit: no run in {tmp_path / 'empty'}:"),
    ):
        assert main(["compare", *map(str, words)]) == 2
        out, error = capsys.readouterr()
        assert (out, error.count("\n")) == ("", 1)
        assert error.startswith(said), error
    assert main(["compare"]) == 2
    assert "RUN" in capsys.readouterr().err
