"""A validation that was interrupted is repeated over all images, wherever in a run it was."""

import json
import os
import shutil
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from lightning.pytorch import Trainer

import maekit
from maekit.errors import Interrupted
from maekit.recipes.tasks import find_task
from maekit.runs.rows import text_rows
from maekit.study.work.devices import Slot
from maekit.study.work.process import Ended, Process
from maekit.training.callbacks.validation import CatchUp
from tests.conftest import TINY, few_digits
from tests.helpers_run import At, same_weights, state, tiny

# 20 validation images in five batches
WHOLE: dict[str, Any] = {"data__device_batch_size": 4, "trainer__limit_val_batches": 1.0}
RUNS = "imagenet_finetune/smoke/0"


def terminate(trainer: Trainer, module: Any) -> None:
    os.kill(os.getpid(), signal.SIGTERM)


@pytest.mark.parametrize(
    ("step", "options"),
    [
        (5, {"trainer__max_epochs": 2}),  # at an epoch's end
        (10, {"trainer__max_epochs": 2}),  # the run's last, after its last epoch
        (7, {"trainer__max_steps": 7}),  # the run's last, in the middle of an epoch
        (5, {"trainer__max_steps": 5}),  # the run's last, where a limit of steps and an epoch end together
        (3, {"trainer__max_steps": 8, "trainer__val_check_interval": 3}),
        (9, {"trainer__max_epochs": 2, "trainer__val_check_interval": 0.4}),  # after steps 2, 4, 7 and 9
        (10, {"trainer__max_epochs": 3, "trainer__check_val_every_n_epoch": 2}),
        (3, {"trainer__max_epochs": 2, "run__stop_at_step": 3}),  # that of a pause
        (5, {"trainer__max_epochs": 2, "model__ema_decay": 0.5}),
    ],
)
def test_an_interrupted_validation_is_repeated_over_all_images(
    step: int, options: dict[str, Any], tmp_path: Path
) -> None:
    whole = Path(tiny(tmp_path / "whole", **WHOLE, **options).fit()["folder"])
    with pytest.raises(Interrupted, match=f"at step {step}"):
        tiny(tmp_path / "cut", **WHOLE, **options).fit(callbacks=[At(step, terminate, "validation", 2)])
    run = tmp_path / "cut" / RUNS
    assert state(run / "last.ckpt")["global_step"] == step
    tiny(tmp_path / "cut", **WHOLE, **options).fit(run / "last.ckpt")
    assert text_rows(run / "val.csv") == text_rows(whole / "val.csv")
    assert (run / "confusion.json").read_text() == (whole / "confusion.json").read_text()
    results = [json.loads((folder / "metrics.json").read_text()) for folder in (run, whole)]
    for key in ("val", "best", "step", "status"):
        assert results[0][key] == results[1][key]
    same_weights(run / "last.ckpt", whole / "last.ckpt")
    same_weights(run / "best.ckpt", whole / "best.ckpt")


def test_a_validation_that_was_interrupted_twice_is_whole_in_the_end(tmp_path: Path) -> None:
    whole = Path(tiny(tmp_path / "whole", trainer__max_epochs=1, **WHOLE).fit()["folder"])
    last = None
    for batch in (3, 1):
        with pytest.raises(Interrupted):
            tiny(tmp_path, trainer__max_epochs=1, **WHOLE).fit(last, callbacks=[At(5, terminate, "validation", batch)])
        last = tmp_path / RUNS / "last.ckpt"
    tiny(tmp_path, trainer__max_epochs=1, **WHOLE).fit(last)
    assert text_rows(tmp_path / RUNS / "val.csv") == text_rows(whole / "val.csv")


def test_a_run_killed_in_its_last_validation_is_measured_when_resumed(tmp_path: Path) -> None:
    """SIGKILL leaves what was saved before the validation began; nothing tells that one had begun."""

    class KillError(RuntimeError):
        pass

    def die(trainer: Trainer, module: Any) -> None:
        raise KillError

    options: dict[str, Any] = {"trainer__max_epochs": 1, "run__save_every_minutes": 0, **WHOLE}
    whole = Path(tiny(tmp_path / "whole", **options).fit()["folder"])
    with pytest.raises(KillError):
        tiny(tmp_path, **options).fit(callbacks=[At(5, die, "validation", 2)])
    run = tmp_path / RUNS
    catch_up = next(key for key in state(run / "last.ckpt")["callbacks"] if CatchUp.__name__ in key)
    assert state(run / "last.ckpt")["callbacks"][catch_up]["begun_step"] == 0
    result = tiny(tmp_path, **options).fit(run / "last.ckpt")
    assert text_rows(run / "val.csv") == text_rows(whole / "val.csv")
    assert result["best"]["step"] == 5


TASK = """
import os
import time
from pathlib import Path

from maekit.tasks.imagenet_finetune import Data, Model as Shipped


class Model(Shipped):
    def update_metrics(self, metrics, batch):
        super().update_metrics(metrics, batch)
        marker, sent = (Path(os.environ.get("VALIDATING", "none") + end) for end in ("", ".sent"))
        if batch.index[0] >= 8 and marker.parent.is_absolute() and not marker.exists():  # the third of five batches
            marker.touch()
            while not sent.exists():
                time.sleep(0.02)
"""


@pytest.mark.slow
def test_a_studys_run_that_ends_with_the_study_in_a_validation_is_measured_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run whose study was killed sends itself SIGTERM; the study resumes it by its own command."""
    task, configs = tmp_path / "tasks/mine.py", tmp_path / "configs"
    task.parent.mkdir()
    configs.mkdir()
    task.write_text(TASK)
    for file in find_task("imagenet_finetune").configs.glob("imagenet_finetune*.yaml"):
        shutil.copy(file, configs / file.name.replace("imagenet_finetune", "mine"))
    own = [*TINY, "--data.device_batch_size=4", "--trainer.limit_val_batches=1.0", f"--data.root={few_digits()}"]
    words = [*("--task", str(task), "--recipe", "smoke"), *own, "--trainer.max_epochs=1"]
    words += [f"--run.folder={tmp_path / 'runs'}", "--run.name=cell"]
    marker, folder = tmp_path / "validating", tmp_path / "runs/mine/smoke/cell"
    monkeypatch.setenv("VALIDATING", str(marker))
    for key in ("LOCAL_RANK", "WORLD_SIZE", "NODE_RANK", "MASTER_PORT"):
        monkeypatch.delenv(key, raising=False)
    run = Process(folder, tmp_path / "log", words, Slot("here"))
    for _ in range(2):
        assert run.start()
        deadline = time.monotonic() + 200
        while run.poll() is None and time.monotonic() < deadline:
            if marker.exists() and not run.stop_requested:
                run.stop()
                Path(f"{marker}.sent").touch()
            time.sleep(0.05)
    log = (tmp_path / "log").read_text()
    assert "stopped by SIGTERM at step 5, saved" in log
    assert run.poll() == Ended("exited"), log
    expected = maekit.build(str(task), "smoke", {flag[2:].split("=")[0]: flag.split("=")[1] for flag in own}).validate(
        folder / "last.ckpt"
    )
    found = json.loads((folder / "metrics.json").read_text())["val"]
    assert found == pytest.approx(expected, rel=1e-6)
