"""Reading runs back: whole ones, cut ones, and names that tell them apart. Nothing is guessed."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from maekit.errors import UserError
from maekit.runs.differences import Difference, differences, is_hyper_parameter
from maekit.runs.find import find_runs, labels
from maekit.runs.reached import reached
from maekit.runs.read import Best, read_run


def write_run(folder: Path, *, top1: Any = 99.0, status: str = "finished", **optim: Any) -> Path:
    """A run's folder as a run leaves it, small."""
    folder.mkdir(parents=True)
    recipe = {"optim.layer_decay": 0.75, "model.weights": None, "trainer.max_epochs": 50, "data.root": None}
    (folder / "config.yaml").write_text(
        "model:\n  weights: mae.pth\n  drop_path: 0.1\noptim:\n  layer_decay: 0.75\n"
        "trainer:\n  max_epochs: 50\ndata:\n  root: /d\nrun:\n  seed: 2\n"
    )
    if optim:
        (folder / "config.yaml").write_text(json.dumps({"optim": optim, "run": {"seed": 2}}))
    about = {"task": "t", "recipe": "base", "given": ["model.drop_path"], "recipe_values": recipe}
    (folder / "environment.json").write_text(json.dumps({**about, "monitor": ["val/top1", "max"]}))
    metrics = {"status": status, "step": 10, "val": {"top1": top1, "loss": 0.5}, "best": {"value": 99.5}}
    (folder / "metrics.json").write_text(json.dumps(metrics))
    (folder / "val.csv").write_text("step,top1,extra\n5,50.0,\n10,99.0,nan\n15,9")
    return folder


def test_a_whole_run(tmp_path: Path) -> None:
    run = read_run(write_run(tmp_path / "r"))
    assert (run.task, run.recipe, run.status, run.seed) == ("t", "base", "finished", 2)
    assert (run.val, run.best, run.monitor) == ({"top1": 99.0, "loss": 0.5}, Best(None, 99.5, None), ("top1", "max"))
    assert run.number("step") == 10
    assert run.number("seconds") is None
    assert run.problems == ()
    assert run.rows("val") == [{"step": 5.0, "top1": 50.0}, {"step": 10.0, "top1": 99.0}]
    assert run.rows("layers") == []
    assert differences(run) == [Difference("model.drop_path", None, 0.1)]


@pytest.mark.parametrize(("patience", "expected"), [(None, 70.0), (3, 90.0)])
def test_a_run_with_a_patience_counts_by_its_best_value(tmp_path: Path, patience: int | None, expected: float) -> None:
    """A run that waited in vain for an improvement is by then worse than what it keeps."""
    (tmp_path / "config.yaml").write_text(json.dumps({"run": {"patience": patience}}))
    best = {"metric": "val/top1", "value": 90.0, "step": 4}
    metrics = {"status": "finished", "step": 10, "val": {"top1": 70.0}, "best": best}
    (tmp_path / "metrics.json").write_text(json.dumps(metrics))
    found = reached(tmp_path, None, "val/top1")
    assert found is not None and found.value == expected


def test_a_changed_hyper_parameter_differs(tmp_path: Path) -> None:
    run = read_run(write_run(tmp_path / "r", layer_decay=0.65))
    assert differences(run) == [Difference("optim.layer_decay", 0.75, 0.65)]


def test_what_the_data_decided_is_no_difference(tmp_path: Path) -> None:
    """A recipe's `auto` is settled when a run begins; a flag is the user's own."""
    folder = write_run(tmp_path / "r", layer_decay=0.75)
    about = json.loads((folder / "environment.json").read_text())
    key, differs = "optim.layer_decay", [Difference("optim.layer_decay", "auto", 0.75)]
    for given, flags, expected in (
        ([], [], []),
        ([key], [], differs),
        ([key], ["--ckpt_path=last"], []),
        ([key], ["--ckpt_path=last", f"--{key}=0.75"], differs),
    ):
        changed = {**about, "given": given, "command": flags, "recipe_values": {key: "auto"}, "defaults": {}}
        (folder / "environment.json").write_text(json.dumps(changed))
        assert differences(read_run(folder)) == expected


@pytest.mark.parametrize("length", [0, 1, 20, 60])
@pytest.mark.parametrize("file", ["config.yaml", "environment.json", "metrics.json"])
def test_a_file_cut_anywhere_is_said_and_the_rest_is_read(tmp_path: Path, file: str, length: int) -> None:
    folder = write_run(tmp_path / "runs" / "t" / "base" / "0")
    text = (folder / file).read_text()
    (folder / file).write_text(text[:length])
    run = read_run(folder)
    if file != "config.yaml":  # YAML cut at a line's end is whole YAML
        assert run.problems == (f"{file} is cut off or damaged",)
    assert (run.task, run.recipe) == ("t", "base")
    assert run.status == ("unfinished" if file == "metrics.json" else "finished")
    if file == "environment.json":
        assert differences(run) == []


def test_a_missing_file_is_said(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "r")
    (folder / "metrics.json").unlink()
    run = read_run(folder)
    assert (run.status, run.val, run.problems) == ("unfinished", {}, ("metrics.json is missing",))


@pytest.mark.parametrize("value", [None, float("nan"), float("inf"), "99", True])
def test_a_metric_that_is_no_number_is_left_out_and_said(tmp_path: Path, value: Any) -> None:
    run = read_run(write_run(tmp_path / "r", top1=value))
    assert run.val == {"loss": 0.5}
    assert run.problems == ("metrics.json: top1 is not a number",)


def test_a_size_that_no_object_has_is_said_in_words(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "r")
    val = {"box_AP": 40.0, "box_APl": None, "mask_APl": None, "box_ARs": "x", "box_APs": None, "other": None}
    (folder / "metrics.json").write_text(json.dumps({"val": val}))
    found = read_run(folder).problems
    assert set(found) == {
        "no validation object above 96 x 96 pixels, so no box_APl, mask_APl",
        "no validation object below 32 x 32 pixels, so no box_APs",
        "metrics.json: box_ARs is not a number",
        "metrics.json: other is not a number",
    }
    (folder / "metrics.json").write_text(json.dumps({"val": {**val, "box_AP": None}}))
    assert "metrics.json: box_APl is not a number" in read_run(folder).problems


def test_a_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=re.escape(str(tmp_path))):
        read_run(tmp_path)


def test_runs_are_found_in_order_and_once(tmp_path: Path) -> None:
    for number in (10, 9, 0):
        write_run(tmp_path / "t/base" / str(number))
    write_run(tmp_path / "t/base/9/tensorboard/inner")
    found = find_runs([tmp_path, tmp_path / "t/base/9"])
    assert [run.folder.name for run in found] == ["0", "9", "10"]
    assert [run.folder.name for run in find_runs([tmp_path / "t/base/9"])] == ["9"]


def test_run_10_comes_after_run_9_also_where_a_shell_has_sorted_them(tmp_path: Path) -> None:
    for number in ("9", "10", "2"):
        write_run(tmp_path / number)
    globbed = [tmp_path / number for number in ("10", "2", "9")]
    assert [run.folder.name for run in find_runs(globbed)] == ["2", "9", "10"]
    chosen = [tmp_path / number for number in ("9", "10", "2")]
    assert [run.folder.name for run in find_runs(chosen)] == ["9", "10", "2"]


def test_clashing_names_get_more_of_their_path(tmp_path: Path) -> None:
    for place in ("a/t/base/0", "b/t/base/0", "b/t/base/1"):
        write_run(tmp_path / place)
    runs = find_runs([tmp_path])
    assert list(labels(runs).values()) == ["a/t/base/0", "b/t/base/0", "b/t/base/1"]  # as many parts for all


def test_what_is_missing_is_one_line_with_the_nearest_name(tmp_path: Path) -> None:
    write_run(tmp_path / "runs/0")
    for path, expected in (("rusn", "did you mean 'runs'"), ("runs/0/val.csv", "val.csv is a file")):
        with pytest.raises(UserError, match=expected):
            find_runs([tmp_path / path])
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"no run in .*empty"):
        find_runs([tmp_path / "empty"])


def test_where_and_how_watched_is_no_hyper_parameter() -> None:
    changes = {"optim.layer_decay", "data.total_batch_size", "trainer.max_epochs", "model.weights", "data.image_size"}
    does_not = {"run.seed", "data.root", "data.train_json", "data.num_workers", "trainer.devices", "run.stop_at_step"}
    assert {key for key in changes | does_not if is_hyper_parameter(key)} == changes


def test_reading_waits_for_no_heavy_library() -> None:
    code = "import sys, maekit.runs.find; assert not {'torch', 'numpy', 'lightning', 'optuna'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
