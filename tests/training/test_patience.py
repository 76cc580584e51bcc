"""A run that no longer improves ends early; the best checkpoints are kept; both go on as if nothing had happened."""

import json
import math
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import maekit
from maekit.cli import main
from maekit.errors import UserError
from maekit.runs.read import read_run
from maekit.runs.rows import text_rows
from maekit.training.callbacks.best import Kept, SaveBest
from maekit.training.callbacks.checkpoints import SaveLast
from maekit.training.callbacks.patience import Patience
from tests.conftest import TINY, few_digits
from tests.helpers_run import environment, same_weights, state, tiny

# The learning rate is so small that the metric stays what it is: the first validation is the best.
PLATEAU: dict[str, Any] = {"optim__base_lr": 1e-12, "trainer__max_steps": 20, "trainer__val_check_interval": 2}


@pytest.mark.parametrize(
    ("mode", "least", "values", "expected"),
    [
        ("max", 0.0, [1, 2, 2, 3], [0, 0, 1, 0]),
        ("min", 0.0, [3, 2, 2, 1], [0, 0, 1, 0]),
        ("max", 0.5, [1, 1.5, 1.4, 1.6, 2.0], [0, 1, 2, 0, 1]),  # more than 0.5 better than the last improvement
        ("min", 0.5, [2, 1.4, 1.0, 0.8], [0, 0, 1, 0]),
        ("max", 0.0, [math.nan, math.inf, 1, math.nan], [1, 2, 0, 1]),
    ],
)
def test_validations_without_improvement_are_counted(
    mode: Any, least: float, values: list[float], expected: list[int]
) -> None:
    patience, found = Patience("val/x", mode, 2, least), []
    for step, value in enumerate(values):
        patience.count(value, step)
        found.append(patience.validations)
    assert found == expected


def test_a_plateaued_run_ends_early_and_says_why(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole = tiny(tmp_path / "whole", **PLATEAU).fit()
    early = tiny(tmp_path / "early", **PLATEAU, run__patience=2).fit()
    out = capsys.readouterr().out
    assert (whole["status"], whole["step"], "early_stop" in whole) == ("finished", 20, False)
    assert (early["status"], early["step"]) == ("finished", 6)
    assert early["best"] == whole["best"]
    assert "stop    when top1 has not improved for 2 validations, about 4 steps" in out
    assert f"early   at step 6 of 20: top1 has not improved on {early['best']['value']:g} of step 2 in 2 val" in out
    run = read_run(Path(early["folder"]))
    assert run.early_stop is not None and (run.early_stop.validations, run.early_stop.step) == (2, 2)
    folder = str(run.folder)
    assert main(["fit", "--ckpt_path", folder]) == 0
    assert "where it ended early" in capsys.readouterr().out
    assert main(["fit", "--ckpt_path", folder, "--run.patience", "4"]) == UserError.status
    assert "add --run.extend true" in capsys.readouterr().err
    assert main(["fit", "--ckpt_path", folder, "--run.patience", "4", "--run.extend", "true"]) == 0
    assert read_run(Path(folder)).number("step") == 10


def test_a_paused_run_ends_at_the_same_step_as_one_without_a_pause(tmp_path: Path) -> None:
    """A pause validates once more, at step 3, which does not count."""
    options: dict[str, Any] = {**PLATEAU, "run__patience": 3, "run__keep_best": 2}
    whole = tiny(tmp_path / "whole", **options).fit()
    paused = tiny(tmp_path / "parts", **options, run__stop_at_step=3).fit()
    assert (paused["status"], paused["step"]) == ("paused", 3)
    parts = tiny(tmp_path / "parts", **options).fit(paused["folder"])
    assert (whole["step"], parts["step"]) == (8, 8)
    same_weights(Path(whole["folder"]) / "last.ckpt", Path(parts["folder"]) / "last.ckpt")
    one, other = (state(Path(run["folder"]) / "last.ckpt")["callbacks"] for run in (whole, parts))
    assert one["Patience"] == other["Patience"] == {"value": whole["best"]["value"], "step": 2, "validations": 3}


def test_the_best_checkpoints_are_kept_and_listed(tmp_path: Path) -> None:
    """Values by validation; of equal ones the earlier is better, and NaN is none."""
    values = [3.0, 5.0, 4.0, math.nan, 5.0, 1.0, 6.0, 2.0, 7.0, 0.5]
    session = tiny(tmp_path, trainer__max_steps=10, trainer__val_check_interval=1, run__keep_best=3)
    calls = iter(values)
    session.model.side_metrics = lambda data: {"top1": next(calls)}  # type: ignore[method-assign]
    result = session.fit()
    files = [("best.ckpt", 7.0, 9), ("step_7_top1_6.ckpt", 6.0, 7), ("step_2_top1_5.ckpt", 5.0, 2)]
    assert [tuple(kept.values()) for kept in result["kept"]] == files
    folder = Path(result["folder"])
    assert json.loads((folder / "metrics.json").read_text())["kept"] == result["kept"]
    assert {file.name for file in folder.glob("*.ckpt")} == {"last.ckpt", *(name for name, *_ in files)}
    for name, _, step in files:
        assert state(folder / name)["maekit"]["step"] == step
        assert "optimizer_states" not in state(folder / name)
    again = SaveBest(folder, "val/top1", "max", 3)
    again.load_state_dict(state(folder / "last.ckpt")["callbacks"]["SaveBest"])
    assert again.others == [Kept(6.0, 7), Kept(5.0, 2)]


@pytest.mark.parametrize("dies_at", [2, 3])
def test_a_kept_file_holds_what_its_name_says_where_a_session_died_before_its_last_save(
    dies_at: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """best.ckpt is then newer than last.ckpt, from which the run goes on."""

    options: dict[str, Any] = {"trainer__max_steps": 4, "trainer__val_check_interval": 1, "run__keep_best": 3}

    def session(first: int) -> maekit.Session:
        made, values = tiny(tmp_path, **options), iter(range(first, 9))
        made.model.side_metrics = lambda data: {"top1": float(next(values))}  # type: ignore[method-assign]
        return made

    write = SaveLast._write

    def full_disk(self: SaveLast, trainer: Any) -> None:
        if trainer.global_step >= dies_at:
            raise OSError("no space left")
        write(self, trainer)

    monkeypatch.setattr(SaveLast, "_write", full_disk)
    with pytest.raises(OSError, match="no space left"):
        session(1).fit()
    monkeypatch.setattr(SaveLast, "_write", write)
    folder = tmp_path / "imagenet_finetune/smoke/0"
    assert state(folder / "best.ckpt")["maekit"]["step"] == dies_at
    assert state(folder / "last.ckpt")["global_step"] == dies_at - 1
    result = session(dies_at).fit(folder)
    assert [kept["step"] for kept in result["kept"]] == [4, 3, 2]
    for kept in result["kept"]:
        assert state(folder / kept["file"])["maekit"]["step"] == kept["step"] == kept["value"]
    assert len(list(folder.glob("step_*.ckpt"))) == 2


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"run__patience": 2, "trainer__val_check_interval": 30}, "before the run's last step, 20"),
        ({"run__patience": 2, "trainer__val_check_interval": None, "trainer__check_val_every_n_epoch": 5}, "step, 20"),
        ({"run__patience": 2, "trainer__limit_val_batches": 0}, "limit_val_batches is 0"),
        ({"run__keep_best": 2, "trainer__limit_val_batches": 0}, "limit_val_batches is 0"),
        ({"run__min_delta": 0.5}, "without --run.patience"),
        ({"run__patience": 0}, "run.patience: got 0"),
        ({"run__patience": 1, "run__min_delta": -0.5}, "run.min_delta: got -0.5"),
        ({"run__keep_best": 0}, "run.keep_best: got 0"),
    ],
)
def test_a_metric_that_never_comes_is_refused(values: dict[str, Any], expected: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=expected) as caught:
        tiny(tmp_path, **(PLATEAU | values)).fit()
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.rglob("config.yaml"))


def test_a_recipes_patience_refuses_no_short_run_of_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    values = {"data.root": few_digits(), "run.folder": tmp_path, "model.backbone": "vit_test_patch8"}
    values |= {"model.weights": "none", "data.image_size": 32, "trainer.max_epochs": 1, "trainer.precision": "32-true"}
    result = maekit.build("imagenet_finetune", "few", {**values, "trainer.accelerator": "cpu"}).fit()
    assert result["status"] == "finished"
    assert "note    --run.patience 25 cannot end this run early: it validates 0 times" in capsys.readouterr().out


def test_few_images_are_answered_with_the_recipe_for_them(tmp_path: Path) -> None:
    values = {"data.root": few_digits(), "run.folder": tmp_path, "model.backbone": "vit_test_patch8"}
    session = maekit.build("imagenet_finetune", None, {**values, "model.weights": "none", "data.image_size": 32})
    with pytest.raises(UserError, match=r"80 training images, fewer than the total batch of 1024; use --recipe few, "):
        session.fit()


def test_a_monitor_that_the_model_does_not_measure_is_refused_before_the_first_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = tiny(tmp_path, trainer__max_steps=2)
    monkeypatch.setattr(type(session.model), "monitor", ("f1", "max"))
    with pytest.raises(UserError, match=r"got no val/f1 .* expected one of .*val/top1"):
        session.fit()
    assert not list(tmp_path.rglob("config.yaml"))


def test_a_patience_that_cannot_end_the_run_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tiny(tmp_path, trainer__max_steps=3, trainer__val_check_interval=1, run__patience=2).fit()
    assert "--run.patience 2 cannot end this run early: it validates 2 times" in capsys.readouterr().out


FLAGS = [*TINY, "--optim.base_lr=1e-12", "--trainer.max_steps=200", "--trainer.val_check_interval=2"]


def fit(folder: Path, *more: str) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-m", "maekit", "fit", *more]
    return subprocess.Popen(command, cwd=folder, env=environment(), stdout=subprocess.DEVNULL)


@pytest.mark.slow
def test_killed_runs_end_at_the_same_step(tmp_path: Path) -> None:
    """kill -9 as soon as two validations are done; then on two processes."""
    start = ["--task=imagenet_finetune", "--recipe=smoke", *FLAGS, f"--data.root={few_digits()}"]
    start += ["--run.patience=9", "--run.keep_best=3", "--run.save_every_minutes=0", "--trainer.accelerator=cpu"]
    killed = fit(tmp_path, *start)
    run = tmp_path / "runs/imagenet_finetune/smoke/0"
    for _ in range(600):
        if len(text_rows(run / "val.csv") if (run / "val.csv").exists() else []) >= 2:
            break
        time.sleep(0.1)
    killed.kill()
    killed.wait()
    assert not (run / "metrics.json").exists()
    assert fit(tmp_path, "--ckpt_path", str(run)).wait(timeout=240) == 0
    assert read_run(run).number("step") == 20
    twice = fit(tmp_path, *start, "--trainer.devices=2", "--data.device_batch_size=8")
    assert twice.wait(timeout=240) == 0
    other = read_run(run.with_name("1"))
    assert (other.number("step"), other.status) == (20, "finished")
    assert other.best == read_run(run).best
