"""No run harms another: who may write into a folder, what a refused run leaves, and how a finished one goes on."""

import json
import os
import shlex
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from maekit.base.checkpoint_card import read_card
from maekit.cli import main
from maekit.errors import Interrupted, UserError
from maekit.runs.folder import LOCK
from maekit.runs.lock import holder
from tests.conftest import TINY, few_digits
from tests.helpers_run import At, losses, same_weights, tiny

BASE = Path("imagenet_finetune/smoke")


def contents(folder: Path) -> dict[str, bytes]:
    """Every file of a folder, byte for byte."""
    files = (file for file in sorted(folder.rglob("*")) if file.is_file())
    return {str(file.relative_to(folder)): file.read_bytes() for file in files}


def fit(*flags: str) -> list[str]:
    return ["fit", "--task", "imagenet_finetune", "--recipe", "smoke", *TINY, f"--data.root={few_digits()}", *flags]


def stop(trainer: Any, module: Any) -> None:
    os.kill(os.getpid(), signal.SIGTERM)


def test_a_second_fit_of_a_live_run_is_refused_and_writes_nothing(tmp_path: Path) -> None:
    seen: list[str] = []

    def second(trainer: Any, module: Any) -> None:
        before = contents(tmp_path)
        with pytest.raises(UserError) as caught:
            tiny(tmp_path, trainer__max_steps=9).fit(tmp_path / BASE / "0")
        assert contents(tmp_path) == before
        seen.append(str(caught.value))
        assert holder(tmp_path / BASE / "0")
        tiny(tmp_path).validate(tmp_path / BASE / "0/last.ckpt")  # what only reads is not refused

    tiny(tmp_path, trainer__max_steps=5, run__save_every_minutes=0).fit(callbacks=[At(3, second)])
    assert f"process {os.getpid()} on {os.uname().nodename} since" in seen[0]
    assert holder(tmp_path / BASE / "0") is None
    assert (tmp_path / BASE / "0" / LOCK).read_text() == ""


WRONG: dict[str, tuple[str, ...]] = {
    "data": ("--data.root=nowhere",),
    "batch": ("--data.total_batch_size=16", "--data.device_batch_size=7"),
    "few images": ("--data.total_batch_size=4096",),
    "weights": ("--model.weights=nothing.pth",),
    "accelerator": ("--trainer.accelerator=tpu",),
    "devices": ("--trainer.devices=0",),
    "trainer": ("--trainer.gradient_clip_algorithm=median",),
    "interval": ("--trainer.val_check_interval=1.5",),
    "strategy": ("--trainer.strategy=fsdp",),
    "pause": ("--run.stop_at_step=0",),
    "no end": ("--trainer.max_epochs=null", "--trainer.max_steps=-1"),
    "name": ("--run.name=a/b",),
}


@pytest.mark.parametrize("flags", WRONG.values(), ids=WRONG)
def test_a_refused_run_leaves_no_folder(
    flags: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(fit("--trainer.max_steps=2", *flags)) in (1, 2)
    assert not list(tmp_path.iterdir()), capsys.readouterr().err


@pytest.mark.parametrize("name", [None, "exp"])
def test_a_run_that_fails_in_its_first_step_leaves_no_folder(name: str | None, tmp_path: Path) -> None:
    def spoil(trainer: Any, module: Any) -> None:
        with torch.no_grad():
            module.model.backbone.blocks[1].mlp.fc2.weight[0, 0] = float("nan")

    with pytest.raises(UserError, match="at step 0"):
        tiny(tmp_path / "runs", trainer__max_steps=2, run__name=name, run__keep_nan_step=False).fit(
            callbacks=[At(0, spoil)]
        )
    assert not (tmp_path / "runs").exists()
    result = tiny(tmp_path / "runs", trainer__max_steps=1, run__name=name).fit()  # the name, or the number, is free
    assert Path(result["folder"]).name == (name or "0")


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"data__total_batch_size": 32}, "data.total_batch_size 32, expected 16"),
        ({"optim__no_weight_decay": []}, "optimizer group"),
        ({"model__backbone": "vit_test_patch16"}, "does not fit|patch"),
        ({"trainer__max_steps": 1}, "ends? at step 1"),
        ({"run__name": "other"}, "run.name other"),
        ({"trainer__strategy": "fsdp"}, "fsdp"),
        ({"trainer__accelerator": "tpu"}, "(?i)tpu"),
    ],
    ids=str,
)
def test_a_refused_resume_changes_no_file(change: dict[str, Any], match: str, tmp_path: Path) -> None:
    run = Path(tiny(tmp_path, trainer__max_steps=4, run__stop_at_step=2).fit()["folder"])
    before = contents(tmp_path)
    with pytest.raises(Exception, match=match):
        tiny(tmp_path, **({"trainer__max_steps": 4} | change)).fit(run)
    assert contents(tmp_path) == before


def test_other_classes_and_a_broken_checkpoint_change_no_file(tmp_path: Path) -> None:
    run = Path(tiny(tmp_path / "runs", trainer__max_steps=4, run__stop_at_step=2).fit()["folder"])
    whole = (run / "last.ckpt").read_bytes()
    for split in ("train", "val"):
        for name in ("a", "b"):
            (tmp_path / "data" / split / name).mkdir(parents=True)
            for file in sorted((few_digits() / "train").rglob("*.JPEG"))[:20]:
                (tmp_path / "data" / split / name / file.name).write_bytes(file.read_bytes())
    before = contents(run)
    with pytest.raises(UserError, match="classes"):
        tiny(tmp_path / "runs", trainer__max_steps=4, data__root=str(tmp_path / "data")).fit(run)
    assert contents(run) == before
    (run / "last.ckpt").write_bytes(whole[: len(whole) // 2])
    before = contents(run)
    with pytest.raises(UserError, match=r"last\.ckpt"):
        tiny(tmp_path / "runs", trainer__max_steps=4).fit(run)
    assert contents(run) == before


@pytest.mark.parametrize("step", [0, 3])
def test_the_command_after_an_interruption_goes_on_with_this_run(
    step: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    other = Path(tiny(Path("runs"), trainer__max_steps=1).fit()["folder"])
    before = contents(other)
    command = fit("--trainer.max_steps=6", "--run.name", "my run")
    whole = Path(tiny(tmp_path / "whole", trainer__max_steps=6).fit()["folder"])
    session = tiny(Path("runs"), trainer__max_steps=6, run__name="my run")
    with pytest.raises(Interrupted) as caught:
        session.fit(words=command, callbacks=[At(step, stop, "train")])
    message, _, typed = str(caught.value).rpartition(" with: ")
    run = tmp_path / "runs" / BASE / "my run"
    assert f"stopped by SIGTERM at step {step + 1}, saved" in message  # seen after the batch, which makes a step
    assert typed.endswith(" --ckpt_path 'runs/imagenet_finetune/smoke/my run'")
    assert "--run.name" not in typed
    assert main(shlex.split(typed)[1:]) == 0
    assert losses(run) == losses(whole)
    same_weights(run / "last.ckpt", whole / "last.ckpt")
    assert contents(other) == before
    assert read_card(run / "last.ckpt").config["run"]["name"] == "my run"
    assert "changed:" not in capsys.readouterr().out


def test_from_python_the_printed_command_works_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(Interrupted) as caught:
        tiny(Path("elsewhere"), trainer__max_steps=6).fit(callbacks=[At(2, stop)])
    typed = str(caught.value).rpartition("go on with: ")[2]
    assert typed == "maekit fit --ckpt_path elsewhere/imagenet_finetune/smoke/0"
    assert main(shlex.split(typed)[1:]) == 0
    assert read_card(tmp_path / "elsewhere" / BASE / "0/last.ckpt").step == 6


def test_a_run_that_is_stopped_before_its_first_step_says_that_nothing_was_saved(tmp_path: Path) -> None:
    """Two device batches make a step: the signal comes in the first of them."""
    session = tiny(tmp_path / "runs", trainer__max_steps=6, data__device_batch_size=8)
    with pytest.raises(Interrupted) as caught:
        session.fit(words=["fit", "--task", "my tasks/t.py"], callbacks=[At(0, stop)])
    assert str(caught.value) == (
        "stopped by SIGTERM at step 0, nothing was saved; start again with: maekit fit --task 'my tasks/t.py'"
    )
    assert not (tmp_path / "runs").exists()


def test_a_finished_run_goes_on_only_when_asked_to(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = Path(tiny(tmp_path, trainer__max_steps=2).fit()["folder"])
    before = contents(run)
    with pytest.raises(UserError, match=r"finished at step 2, .* to step 4; add --run\.extend true"):
        tiny(tmp_path, trainer__max_steps=4).fit(run)
    capsys.readouterr()
    for options in ({}, {"run__extend": True}, {"model__drop_path": 0.1}):
        result = tiny(tmp_path, trainer__max_steps=2, **options).fit(run)
        assert (result["status"], result["step"], result["folder"]) == ("finished", 2, str(run))
        assert "nothing was trained" in capsys.readouterr().out
    assert contents(run) == before
    result = tiny(tmp_path, trainer__max_steps=4, run__extend=True).fit(run)
    assert (result["step"], set(losses(run))) == (4, {1, 2, 3, 4})
    assert not read_card(run / "last.ckpt").config["run"]["extend"]  # asked for once
    with pytest.raises(UserError, match="finished at step 4"):
        tiny(tmp_path, trainer__max_steps=5).fit(run)


def test_a_run_that_is_extended_is_not_finished_until_it_is(tmp_path: Path) -> None:
    run = Path(tiny(tmp_path, trainer__max_steps=2).fit()["folder"])

    def look(trainer: Any, module: Any) -> None:
        assert not (run / "metrics.json").exists()
        stop(trainer, module)

    with pytest.raises(Interrupted, match="at step 3, saved"):
        tiny(tmp_path, trainer__max_steps=4, run__extend=True).fit(run, callbacks=[At(3, look, "step")])
    assert main(["fit", "--ckpt_path", str(run)]) == 0  # what is to be made is what was asked for
    assert json.loads((run / "metrics.json").read_text())["step"] == 4


def test_a_run_that_was_killed_while_it_wrote_its_result_writes_it(tmp_path: Path) -> None:
    run = Path(tiny(tmp_path, trainer__max_steps=2).fit()["folder"])
    before = json.loads((run / "metrics.json").read_text())
    (run / "metrics.json").unlink()
    tiny(tmp_path, trainer__max_steps=2).fit(run)
    after = json.loads((run / "metrics.json").read_text())
    assert (after["status"], after["step"], after["val"]) == ("finished", 2, before["val"])


def test_last_beside_a_name_is_the_run_of_that_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    paused: Callable[..., Any] = lambda **more: tiny(Path("runs"), trainer__max_steps=3, run__stop_at_step=1, **more)  # noqa: E731
    paused(run__name="exp").fit()
    paused().fit()
    before = contents(tmp_path / "runs" / BASE / "0")
    assert main(fit("--trainer.max_steps=3", "--run.name=exp", "--ckpt_path=last")) == 0
    assert read_card(tmp_path / "runs" / BASE / "exp/last.ckpt").step == 3
    assert contents(tmp_path / "runs" / BASE / "0") == before
    assert main(fit("--trainer.max_steps=3", "--run.name", "lost", "--ckpt_path", "last")) == 2
    assert "in run 'lost'" in capsys.readouterr().err
    assert main(["fit", "--ckpt_path", "last", "--run.extend", "true", "--trainer.max_steps", "4"]) == 0
    assert read_card(tmp_path / "runs" / BASE / "exp/last.ckpt").step == 4  # the newest, though it has no number


def test_the_last_line_names_only_files_that_are_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = Path(tiny(tmp_path, trainer__max_steps=1, trainer__limit_val_batches=0).fit()["folder"])
    line = capsys.readouterr().out.splitlines()[-1]
    names = line.rpartition(": ")[2].split(", ")
    assert names == ["last.ckpt", "config.yaml", "metrics.json", "train.csv", "tensorboard/"]
    assert all((run / name).exists() for name in names)
