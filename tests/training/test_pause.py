"""A run that pauses and goes on is the run that never paused."""

import shlex
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, Trainer

import maekit
from maekit.cli import main
from maekit.runs.differences import differences
from maekit.runs.next_commands import next_commands
from maekit.runs.read import read_run
from maekit.runs.rows import text_rows
from tests.conftest import TINY, few_digits


def session(folder: Path, config: tuple[Path, ...] = (), **run: Any) -> maekit.Session:
    """A tiny session of ten steps; everything that draws is on."""
    values: dict[str, Any] = {flag[2:].split("=")[0]: flag.split("=")[1] for flag in TINY}
    values |= {"run.folder": str(folder), "data.root": str(few_digits()), "trainer.max_epochs": 2}
    values |= {"model.drop_path": 0.3, "model.mixup": 0.8, "data.device_batch_size": 8}
    values |= {f"run.{key}": value for key, value in run.items()}
    return maekit.build("imagenet_finetune", "smoke", values, config)


def state(run: Path) -> dict[str, Any]:
    found: dict[str, Any] = torch.load(run / "last.ckpt", weights_only=True)
    return found


def test_a_run_with_pauses_ends_as_one_without(tmp_path: Path) -> None:
    whole = Path(session(tmp_path, name="whole").fit()["folder"])
    first = session(tmp_path, name="parts", stop_at_step=3).fit()
    parts = Path(first["folder"])
    assert (first["status"], first["step"], read_run(parts).status) == ("paused", 3, "paused")
    assert [row["step"] for row in text_rows(parts / "val.csv")] == ["3"]
    second = session(tmp_path, stop_at_step=5).fit(parts / "last.ckpt")  # at an epoch's end
    assert (second["status"], second["step"]) == ("paused", 5)
    last = session(tmp_path, stop_at_step=99).fit(parts / "last.ckpt")
    assert (last["status"], last["step"], read_run(parts).status) == ("finished", 10, "finished")
    one, other = state(whole), state(parts)
    for name, tensor in one["state_dict"].items():
        assert torch.equal(tensor, other["state_dict"][name]), name
    assert read_run(parts).val == read_run(whole).val
    losses = [{row["step"]: row["loss"] for row in text_rows(run / "train.csv")} for run in (whole, parts)]
    assert losses[0] == losses[1]
    assert losses[0].keys() == {str(step) for step in range(1, 11)}


@pytest.mark.parametrize(
    ("flags", "off"),
    [
        ({"run.stop_at_step": 2}, "--run.stop_at_step null"),
        ({"trainer.max_time": {"seconds": 0, "microseconds": 1}}, "--trainer.max_time null"),
    ],
)
def test_what_is_printed_after_a_pause_goes_on(
    flags: dict[str, Any], off: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The plain command would pause again where it is, and say nothing of it."""
    values: dict[str, Any] = {flag[2:].split("=")[0]: flag.split("=")[1] for flag in TINY}
    values |= {"run.folder": str(tmp_path), "data.root": str(few_digits()), "trainer.max_epochs": 1}
    run = Path(maekit.build("imagenet_finetune", "smoke", values | flags).fit()["folder"])
    at = read_run(run).number("step")
    capsys.readouterr()
    (command, _), *_ = next_commands(read_run(run))
    assert command.endswith(off)
    again = maekit.build("imagenet_finetune", "smoke", values | flags).fit(run / "last.ckpt")
    assert (again["status"], again["step"]) == ("paused", at)
    assert "nothing is trained" in capsys.readouterr().out
    assert main([*shlex.split(command)[1:], "--run.report", "false"]) == 0
    assert read_run(run).status == "finished"
    assert "nothing is trained" not in capsys.readouterr().out


def test_the_environment_says_what_the_run_is(tmp_path: Path) -> None:
    mine = tmp_path / "mine.yaml"
    mine.write_text("model:\n  ema_decay: 0.5\n  label_smoothing: 0.1\n")
    run = read_run(Path(session(tmp_path, (mine,), seed=3, stop_at_step=1, name="x").fit()["folder"]))
    assert (run.task, run.recipe, run.seed, run.monitor) == ("imagenet_finetune", "smoke", 3, ("top1", "max"))
    assert run.environment["total_steps"] == 10
    assert run.environment["total_batch"] == 16
    found: dict[str, tuple[object, object]] = {key: (recipe, mine) for key, recipe, mine in differences(run)}
    assert found["trainer.max_epochs"] == (24, 2)
    assert found["model.drop_path"] == (0.0, 0.3)
    assert found["trainer.limit_val_batches"] == (None, 1)  # a default of Lightning's, which a flag set
    assert found["model.ema_decay"] == (None, 0.5)  # from a file of one's own
    assert not {"model.label_smoothing", "run.seed", "run.name", "data.root", "data.num_workers"} & found.keys()


@pytest.mark.parametrize("step", [0, -2])
def test_a_pause_before_the_first_step_is_refused(tmp_path: Path, step: int) -> None:
    with pytest.raises(maekit.UserError, match=f"run.stop_at_step: got {step}, expected 1 or more"):
        session(tmp_path, stop_at_step=step).fit()


class AskOnce(Callback):
    """Tells a run to end after its seventh device batch, of which two make a step: as max_time may."""

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        if batch_idx == 6:
            trainer.should_stop = True


def test_a_run_that_is_told_to_end_between_two_accumulated_batches_finishes_its_step(tmp_path: Path) -> None:
    whole = Path(session(tmp_path, name="whole").fit()["folder"])
    first = session(tmp_path, name="parts").fit(callbacks=[AskOnce()])
    assert (first["status"], first["step"]) == ("stopped", 4)
    parts = Path(first["folder"])
    assert session(tmp_path).fit(parts / "last.ckpt")["step"] == 10
    for name, tensor in state(whole)["state_dict"].items():
        assert torch.equal(tensor, state(parts)["state_dict"][name]), name
