"""A signal always ends a run with a line that says what was saved, and with an exit status of its own."""

import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, Trainer

from maekit.base.checkpoint_card import read_card
from maekit.errors import Interrupted
from maekit.runs.rows import text_rows
from maekit.training.callbacks.watchdog import Watchdog
from tests.conftest import TINY, few_digits
from tests.helpers_run import At, environment, losses, same_weights, tiny

RUNS = "imagenet_finetune/smoke/0"


def send(*numbers: signal.Signals) -> Callable[..., None]:
    """Sends this process signals."""

    def now(*_: Any, **__: Any) -> None:
        for number in numbers:
            os.kill(os.getpid(), number)

    return now


class In(Callback):
    """Does something once in a hook of Lightning's, at an optimizer step."""

    def __init__(self, hook: str, step: int, what: Callable[..., None]) -> None:
        self.done = False

        def look(trainer: Trainer, *_: Any, **__: Any) -> None:
            if trainer.global_step == step and not self.done and not trainer.sanity_checking:
                self.done = True
                what()

        setattr(self, hook, look)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize(
    ("hook", "step"),
    [
        ("on_validation_end", 5),  # right after a validation's line
        ("on_train_epoch_end", 5),
        ("on_train_epoch_start", 5),
        ("on_train_start", 0),
        ("on_validation_end", 10),  # the last
        ("on_train_end", 10),
    ],
)
def test_a_signal_at_an_epochs_end_saves_says_so_and_goes_on_bit_for_bit(
    hook: str, step: int, number: signal.Signals, tmp_path: Path
) -> None:
    options: dict[str, Any] = {"trainer__max_epochs": 2, "model__drop_path": 0.2}
    with pytest.raises(Interrupted, match=r"stopped by (SIGTERM|Ctrl-C) at step \d+, saved") as caught:
        tiny(tmp_path, **options).fit(callbacks=[In(hook, step, send(number))])
    assert caught.value.status == 128 + number
    run = tmp_path / RUNS
    assert f"at step {read_card(run / 'last.ckpt').step}, saved" in str(caught.value)
    assert tiny(tmp_path, **options).fit(run / "last.ckpt")["status"] == "finished"
    if (hook, number) == ("on_validation_end", signal.SIGTERM):
        whole = Path(tiny(tmp_path / "whole", **options).fit()["folder"])
        assert losses(run) == losses(whole)
        same_weights(run / "last.ckpt", whole / "last.ckpt")
        assert text_rows(run / "val.csv") == text_rows(whole / "val.csv")


def test_a_signal_while_a_checkpoint_is_written_waits_for_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = torch.save
    sent: list[bool] = []

    def save(*args: Any, **kwargs: Any) -> None:
        if not sent:
            sent.append(True)
            send(signal.SIGTERM, signal.SIGTERM)()
        real(*args, **kwargs)

    monkeypatch.setattr(torch, "save", save)
    with pytest.raises(Interrupted, match="stopped by SIGTERM at step"):
        tiny(tmp_path, trainer__max_steps=4, run__save_every_minutes=0).fit()
    run = tmp_path / RUNS
    assert read_card(run / "last.ckpt").step == max(losses(run))
    assert not list(run.glob(".*partial"))


def test_a_signal_before_the_first_step_leaves_nothing_and_says_so(tmp_path: Path) -> None:
    with pytest.raises(Interrupted, match="stopped by SIGTERM at step 0, nothing was saved") as caught:
        tiny(tmp_path).fit(callbacks=[In("setup", 0, send(signal.SIGTERM))])
    assert caught.value.status == 143
    assert not (tmp_path / RUNS).exists()


def test_a_signal_while_features_are_computed_leaves_nothing_and_says_so(tmp_path: Path) -> None:
    """The probe's cached features are made before there is a trainer."""
    session = tiny(tmp_path, "imagenet_linprobe")
    session.model.training_data = send(signal.SIGTERM)  # type: ignore[method-assign, assignment]
    with pytest.raises(Interrupted, match="stopped by SIGTERM at step 0, nothing was saved"):
        session.fit()
    assert not (tmp_path / "imagenet_linprobe").exists()


def test_a_resume_that_is_stopped_before_it_trains_names_the_step_that_is_saved(tmp_path: Path) -> None:
    run = Path(tiny(tmp_path, trainer__max_epochs=2, run__stop_at_step=3).fit()["folder"])
    before = (run / "last.ckpt").read_bytes()
    with pytest.raises(Interrupted, match="stopped by Ctrl-C at step 3, saved"):
        tiny(tmp_path, trainer__max_epochs=2).fit(run, callbacks=[In("setup", 0, send(signal.SIGINT))])
    assert (run / "last.ckpt").read_bytes() == before


def test_a_second_ctrl_c_stops_at_once_and_says_what_is_kept(tmp_path: Path) -> None:
    """In the middle of step 4, of which nothing is saved."""
    with pytest.raises(Interrupted, match="stopped by Ctrl-C at step 3, saved") as caught:
        tiny(tmp_path, trainer__max_epochs=2).fit(
            callbacks=[At(3, send(signal.SIGINT, signal.SIGINT), "gradient")]
        )  # fmt: skip
    assert caught.value.status == 130
    run = tmp_path / RUNS
    assert read_card(run / "last.ckpt").step == 3
    tiny(tmp_path, trainer__max_epochs=2).fit(run)
    whole = Path(tiny(tmp_path / "whole", trainer__max_epochs=2).fit()["folder"])
    assert losses(run) == losses(whole)
    same_weights(run / "last.ckpt", whole / "last.ckpt")


def test_a_stop_inside_the_optimizers_step_saves_no_half_of_it(tmp_path: Path) -> None:
    """Where half of the groups may have moved, the step before is not what the weights are."""

    def half(trainer: Any, module: Any) -> None:
        optimizer = trainer.optimizers[0]
        optimizer.register_step_post_hook(lambda *_: send(signal.SIGINT, signal.SIGINT)())

    with pytest.raises(Interrupted, match="stopped by Ctrl-C at step 7, saved at step 5"):
        tiny(tmp_path, trainer__max_epochs=2).fit(callbacks=[At(7, half, "gradient")])
    run = tmp_path / RUNS
    tiny(tmp_path, trainer__max_epochs=2).fit(run)
    whole = Path(tiny(tmp_path / "whole", trainer__max_epochs=2).fit()["folder"])
    assert losses(run) == losses(whole)
    same_weights(run / "last.ckpt", whole / "last.ckpt")


@pytest.mark.parametrize(("task", "number"), [("imagenet_linprobe", signal.SIGTERM), ("imagenet_finetune", 0)])
def test_a_stop_between_two_accumulated_batches_keeps_batch_norms_statistics_whole(
    task: str, number: int, tmp_path: Path
) -> None:
    """Batches of an unfinished step have changed the probe's running statistics; they are made again on resume."""

    class Middle(Callback):
        def on_train_batch_end(self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Any, index: int) -> None:
            if trainer.global_step == 3 and (index + 1) % 4 == 2:
                if not number:
                    raise ZeroDivisionError
                send(signal.Signals(number))()

    options: dict[str, Any] = {"trainer__max_epochs": 2, "data__device_batch_size": 4, "run__save_every_minutes": 0}
    with pytest.raises((Interrupted, ZeroDivisionError)):
        tiny(tmp_path, task, **options).fit(callbacks=[Middle()])
    run = tmp_path / task / "smoke/0"
    tiny(tmp_path, task, **options).fit(run)
    whole = Path(tiny(tmp_path / "whole", task, **options).fit()["folder"])
    assert losses(run) == losses(whole)
    same_weights(run / "last.ckpt", whole / "last.ckpt")


def test_a_signal_while_examples_are_drawn_stops_and_the_run_is_finished_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("maekit.training.callbacks.examples.write_examples", send(signal.SIGTERM))
    with pytest.raises(Interrupted, match="stopped by SIGTERM at step 5, saved"):
        tiny(tmp_path, trainer__max_epochs=1).fit()
    monkeypatch.undo()
    result = tiny(tmp_path, trainer__max_epochs=1).fit(tmp_path / RUNS)
    assert (result["status"], result["step"]) == ("finished", 5)
    assert (tmp_path / RUNS / "examples").is_dir()


def test_a_validation_of_its_own_is_stopped_with_a_line(tmp_path: Path) -> None:
    run = Path(tiny(tmp_path, trainer__max_steps=1).fit()["folder"])
    session = tiny(tmp_path)
    session.model.update_metrics = send(signal.SIGTERM)  # type: ignore[method-assign]
    with pytest.raises(Interrupted, match="stopped by SIGTERM; nothing was measured") as caught:
        session.validate(run / "best.ckpt")
    assert caught.value.status == 143


def test_signals_are_given_back_and_a_hangup_saves_unless_it_is_ignored(tmp_path: Path) -> None:
    handled = (signal.SIGHUP, signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)
    before = [signal.getsignal(number) for number in handled]
    with pytest.raises(Interrupted, match="stopped by SIGHUP at step 3, saved") as caught:
        tiny(tmp_path, trainer__max_epochs=1).fit(callbacks=[At(2, send(signal.SIGHUP))])
    assert caught.value.status == 129 and read_card(tmp_path / RUNS / "last.ckpt").step == 3
    assert [signal.getsignal(number) for number in handled] == before
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
    try:
        result = tiny(tmp_path, trainer__max_steps=3).fit(callbacks=[At(2, send(signal.SIGHUP))])
        assert result["status"] == "finished" and signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before[0])
    descriptor = signal.set_wakeup_fd(-1)
    assert descriptor == -1


def test_the_watchdog_hears_what_python_does_not_handle_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its thread is woken by C's own handler, before Python's runs in the main thread."""
    monkeypatch.setattr("maekit.training.callbacks.watchdog.GRACE_SECONDS", 0.0)
    ended: list[int] = []
    handler = signal.signal(signal.SIGUSR1, lambda *_: None)
    watchdog = Watchdog({signal.SIGUSR1}, lambda number: True, ended.append)
    try:
        os.kill(os.getpid(), signal.SIGUSR1)
        deadline = time.monotonic() + 30
        while not ended and time.monotonic() < deadline:
            time.sleep(0.01)
    finally:
        watchdog.close()
        signal.signal(signal.SIGUSR1, handler)
    assert ended == [signal.SIGUSR1]


def test_a_run_that_waits_for_another_machine_ends_with_a_line(tmp_path: Path) -> None:
    flags = [*TINY, f"--data.root={few_digits()}", "--trainer.num_nodes=2", "--trainer.accelerator=cpu"]
    command = [sys.executable, "-m", "maekit", "fit", "--task", "imagenet_finetune", "--recipe", "smoke", *flags]
    process = subprocess.Popen(
        command, cwd=tmp_path, env=environment() | {"PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("device"):  # the last line before it waits
            break
    time.sleep(1.0)
    process.send_signal(signal.SIGTERM)
    try:
        error = process.communicate(timeout=120)[1]
    finally:
        process.kill()
    assert process.returncode == 143, error
    assert "nothing was saved; start again with: maekit fit" in error.splitlines()[-1]
    assert "Traceback" not in error


@pytest.mark.slow
def test_a_run_whose_terminal_is_closed_is_saved(tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    words = ["fit", "--task", "imagenet_finetune", "--recipe", "smoke", "--data.root", str(few_digits()), *TINY]
    command = [sys.executable, "-m", "maekit", *words, "--trainer.max_epochs=100000", "--run.folder=runs"]
    child = "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execv(sys.argv[1], sys.argv[1:])"
    process = subprocess.Popen(
        [sys.executable, "-c", child, *command],
        cwd=tmp_path, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True,
    )  # fmt: skip
    os.close(theirs)
    shown = b""
    while b"/500000" not in shown:  # until it trains
        shown += os.read(ours, 4096)
    os.close(ours)
    assert process.wait(60) == 129
    assert read_card(tmp_path / "runs" / RUNS / "last.ckpt").step > 0
    assert "SIGHUP" in (tmp_path / "runs" / RUNS / ".lock").read_text()
