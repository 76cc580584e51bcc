"""The Python API as scripts and notebooks use it: sessions used twice, several runs in a process, Python's values."""

import os
import subprocess
import sys
import types
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.callbacks import EarlyStopping

import maekit
from maekit.data.loader import worker_error_line
from maekit.errors import UserError
from maekit.recipes.overrides import as_flags
from maekit.runs.evaluated import intervals_of
from maekit.runs.read import read_run
from maekit.runs.rows import text_rows
from maekit.training import process
from tests.conftest import few_digits
from tests.helpers_run import tiny


def rows(result: dict[str, Any], split: str = "train") -> list[Any]:
    return [row["loss"] for row in text_rows(Path(result["folder"]) / f"{split}.csv")]


def test_a_second_fit_of_a_session_starts_afresh(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    session = tiny(tmp_path, trainer__max_steps=3, model__drop_path=0.2)
    first = session.fit()
    trained = session.model
    second = session.fit()
    assert first["folder"] != second["folder"]
    assert rows(first) == rows(second) and len(rows(first)) == 3
    assert first["val"] == second["val"]
    assert session.model is not trained
    assert "built afresh" in capsys.readouterr().out


def test_a_fit_after_a_validation_starts_afresh_and_its_report_is_true(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint = Path(tiny(tmp_path / "a", trainer__max_steps=5).fit()["folder"]) / "best.ckpt"
    plain = tiny(tmp_path / "b", trainer__max_steps=2).fit()
    session = tiny(tmp_path / "c", trainer__max_steps=2)
    measured = session.validate(checkpoint)
    interval = intervals_of(session.results["evaluation.json"])["top1"]
    assert interval.low <= measured["top1"] <= interval.high
    assert session.results["image_scores.csv"].count("\n") == interval.images + 1
    assert rows(session.fit()) == rows(plain)
    assert session.validate(checkpoint) == measured  # after a fit, another model's weights do not matter either
    started = tiny(tmp_path / "d", trainer__max_steps=1, model__weights=str(checkpoint), model__new_head=True)
    report = []
    for _ in range(2):
        capsys.readouterr()
        started.fit()
        report.append([line for line in capsys.readouterr().out.splitlines() if "new" in line or "matched" in line])
    assert report[0] == report[1] and report[0]


def test_a_run_leaves_the_process_as_it_was(tmp_path: Path) -> None:
    threads, environment = torch.get_num_threads(), dict(os.environ)
    tiny(tmp_path, trainer__max_steps=1, trainer__deterministic=True, run__num_threads=threads + 1).fit()
    tiny(tmp_path, trainer__max_steps=1, trainer__benchmark=True).fit()
    tiny(tmp_path, trainer__max_steps=1, trainer__strategy="ddp").fit()  # sets LOCAL_RANK, though there is one process
    assert torch.get_num_threads() == threads
    assert not torch.are_deterministic_algorithms_enabled()
    assert not torch.backends.cudnn.benchmark
    assert dict(os.environ) == environment
    assert not torch.distributed.is_initialized()


@pytest.mark.slow
def test_runs_on_two_devices_in_one_script_have_a_folder_each(tmp_path: Path) -> None:
    script = f"""
import maekit
if __name__ == "__main__":
    for seed in (0, 1):
        session = maekit.build("imagenet_finetune", "smoke", {{
            "model.backbone": "vit_test_patch8", "model.weights": "none", "data.root": {str(few_digits())!r},
            "data.total_batch_size": 16, "data.device_batch_size": 8, "data.num_workers": 0, "run.folder": "r",
            "trainer.max_steps": 2, "trainer.devices": 2, "trainer.accelerator": "cpu", "run.seed": seed,
            "trainer.precision": "32-true", "trainer.log_every_n_steps": 1, "trainer.limit_val_batches": 1}})
        print("FOLDER", session.fit()["folder"], flush=True)
    try:
        maekit.build("imagenet_finetune", "smoke", {{"trainer.devices": 1, "model.weights": "none"}}).fit()
    except maekit.UserError as error:
        print("REFUSED", error, flush=True)
"""
    (tmp_path / "loop.py").write_text(script)
    env = {key: value for key, value in os.environ.items() if key not in ("LOCAL_RANK", "WORLD_SIZE", "MASTER_PORT")}
    done = subprocess.run(
        [sys.executable, "loop.py"], cwd=tmp_path, env=env, capture_output=True, text=True, timeout=200, check=False
    )
    assert done.returncode == 0, done.stderr
    runs = sorted((tmp_path / "r/imagenet_finetune/smoke").iterdir())
    assert [run.name for run in runs] == ["0", "1"]
    assert [read_run(run).seed for run in runs] == [0, 1]
    assert [len(text_rows(run / "train.csv")) for run in runs] == [2, 2]
    assert all(f"FOLDER {run}" in done.stdout for run in runs)
    assert done.stdout.count("REFUSED got trainer.devices 1 after a run on 2") == 2  # in both processes


@pytest.mark.parametrize(
    ("earlier", "world", "launches", "started", "trains", "refused"),
    [
        ([], 2, True, False, True, False),
        ([2, 2], 2, False, True, True, False),
        ([1], 2, True, False, True, True),
        ([2], 1, False, True, True, True),
        ([2], 1, False, True, False, False),  # a validation on one device after training on two
        ([2], 4, False, True, True, True),
        ([1, 1], 1, False, False, True, False),
        ([], 1, False, True, True, True),  # in the second process
    ],
)
def test_one_number_of_devices_in_a_script(
    earlier: list[int],
    world: int,
    launches: bool,
    started: bool,
    trains: bool,
    refused: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(process, "_worlds", list(earlier))
    for name in ("LOCAL_RANK", "TORCHELASTIC_RUN_ID", "SLURM_PROCID"):
        monkeypatch.delenv(name, raising=False)
    if started:
        monkeypatch.setenv("LOCAL_RANK", "0" if earlier else "1")
    if refused:
        with pytest.raises(UserError, match=f"got trainer.devices {world} after a run on"):
            process.check_launch(world, launches=launches, trains=trains)
    else:
        process.check_launch(world, launches=launches, trains=trains)
        assert process._worlds == [*earlier, world]


def test_two_devices_in_a_notebook_are_refused_with_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "ps1", ">>> ", raising=False)
    with pytest.raises(UserError, match="!maekit fit"):
        tiny(tmp_path, trainer__devices=2)
    assert tiny(tmp_path, trainer__max_steps=1).fit()["status"] == "finished"


def test_values_as_a_python_script_has_them(tmp_path: Path) -> None:
    session = maekit.build(
        "imagenet_finetune",
        "smoke",
        {
            "data.root": few_digits(),
            "run.folder": tmp_path,
            "run.seed": np.int64(3),
            "run.name": None,
            "optim": {"layer_decay": np.float32(0.5), "betas": (0.9, 0.98)},
            "model.drop_path": torch.tensor(0.25),
            "data.mean": np.array([0.5, 0.5, 0.5]),
            "trainer.max_time": timedelta(hours=1, seconds=1),
            "trainer.enable_progress_bar": np.bool_(False),
            "--model.weights": "none",
            "trainer": {"max_steps": 7},
        },
    )
    values = session.settings.values
    assert values["data"]["root"] == str(few_digits()) and values["run"]["folder"] == str(tmp_path)
    assert (values["run"]["seed"], values["run"]["name"], values["optim"]["layer_decay"]) == (3, None, 0.5)
    assert values["optim"]["betas"] == [0.9, 0.98] and values["model"]["drop_path"] == 0.25
    assert values["data"]["mean"] == [0.5] * 3 and values["trainer"]["max_steps"] == 7
    assert values["trainer"]["max_time"] == {"days": 0, "seconds": 3601, "microseconds": 0}
    assert values["trainer"]["enable_progress_bar"] is False


@pytest.mark.parametrize("value", [object(), {1, 2}, b"x", print, 1j])
def test_a_value_that_is_no_flag_is_refused_with_its_key(value: Any) -> None:
    with pytest.raises(UserError, match=r"data\.root: got a"):
        as_flags({"data.root": value})


def test_one_config_file_need_not_be_a_list(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("run: {seed: 5}\n")
    for given in (file, str(file), [file]):
        session = maekit.build("imagenet_finetune", "smoke", {"model.weights": "none"}, given)
        assert session.settings.values["run"]["seed"] == 5


class StopAt(Callback):
    """A callback of one's own that ends the fit."""

    def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
        trainer.should_stop = trainer.global_step >= 2


def early() -> EarlyStopping:
    return EarlyStopping("val/loss", patience=1, min_delta=100.0)


@pytest.mark.parametrize(("callback", "by"), [(early, "EarlyStopping"), (StopAt, "a callback")])
def test_a_run_that_a_callback_stops_says_so_and_can_go_on(
    callback: Callable[[], Callback], by: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    result = tiny(tmp_path, trainer__max_epochs=9, trainer__val_check_interval=1).fit(callbacks=[callback()])
    assert (result["status"], result["stopped_by"]) == ("stopped", by)
    assert f"stopped  by {by} at step {result['step']}" in capsys.readouterr().out
    folder = Path(result["folder"])
    assert read_run(folder).status == "stopped"
    again = tiny(tmp_path, trainer__max_epochs=9, run__stop_at_step=result["step"] + 1).fit(folder / "last.ckpt")
    assert (again["status"], again["step"]) == ("paused", result["step"] + 1)


def test_a_time_limit_pauses_a_run(tmp_path: Path) -> None:
    limit: dict[str, Any] = {"trainer__max_time": timedelta(microseconds=1), "trainer__max_steps": 5}
    assert tiny(tmp_path, **limit).fit()["status"] == "paused"


def test_tensorboard_gets_the_hyper_parameters(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator  # type: ignore[import-untyped]
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData  # type: ignore[import-untyped]

    folder = Path(tiny(tmp_path, trainer__max_steps=1, optim__layer_decay=0.625).fit()["folder"])
    events = EventAccumulator(str(folder / "tensorboard")).Reload()
    content = events.SummaryMetadata("_hparams_/session_start_info").plugin_data.content
    values = HParamsPluginData.FromString(content).session_start_info.hparams
    assert values["optim.layer_decay"].number_value == 0.625
    assert values["run.seed"].number_value == 0 and values["data.root"].string_value == str(few_digits())
    assert "hp_metric" not in events.Tags()["scalars"]


def test_weights_and_biases_gets_the_hyper_parameters_and_a_resumed_run_goes_on_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Against a stand-in for wandb, called as Lightning's WandbLogger calls the real one."""
    inits: list[dict[str, Any]] = []
    configs: list[dict[str, Any]] = []

    class Config(dict[str, Any]):
        def update(self, values: Any = (), allow_val_change: bool = False, **_: Any) -> None:  # type: ignore[override]
            configs.append(dict(values))

    class Experiment:
        config, step, id, name, dir = Config(), 0, "", "", str(tmp_path)

        def log(self, *_: Any, **__: Any) -> None: ...
        def define_metric(self, *_: Any, **__: Any) -> None: ...

    def init(**values: Any) -> Experiment:
        inits.append(values)
        return Experiment()

    fake = types.ModuleType("wandb")
    fake.__spec__ = types.SimpleNamespace(name="wandb")  # type: ignore[assignment]
    vars(fake).update(init=init, run=None, require=lambda *_: None)
    for name in ("wandb.sdk", "wandb.sdk.lib", "wandb.wandb_run"):
        vars(module := types.ModuleType(name)).update(RunDisabled=type("R", (), {}), Run=Experiment)
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setitem(sys.modules, "wandb", fake)
    monkeypatch.setattr("lightning.pytorch.loggers.wandb._WANDB_AVAILABLE", True)
    options: dict[str, Any] = {"trainer__max_steps": 4, "run__wandb": "mae"}
    folder = Path(tiny(tmp_path, run__stop_at_step=2, **options).fit()["folder"])
    tiny(tmp_path, **options).fit(folder / "last.ckpt")
    tiny(tmp_path, **options).fit()
    ids = [one["id"] for one in inits]
    assert ids[0] == ids[1] != ids[2] and ids[0] == (folder / "wandb_id.txt").read_text().strip()
    assert all(one["resume"] == "allow" and one["project"] == "mae" for one in inits)
    assert configs[0]["run.stop_at_step"] == 2 and configs[1]["run.stop_at_step"] is None
    assert configs[0]["optim.base_lr"] == tiny(tmp_path).settings.values["optim"]["base_lr"]


@pytest.mark.parametrize(
    ("method", "text", "expected"),
    [
        ("spawn", "DataLoader worker (pid 3) exited unexpectedly with exit code 1.", "__main__"),
        ("forkserver", "DataLoader worker (pid(s) 3) exited unexpectedly", "__main__"),
        ("fork", "DataLoader worker (pid(s) 3) exited unexpectedly", "/dev/shm"),
        ("spawn", "DataLoader worker (pid 3) is killed by signal: Killed.", "/dev/shm"),
        (None, "... before the current process has finished its bootstrapping phase", "__main__"),
    ],
)
def test_a_script_without_a_main_guard_is_told_of_it(
    method: str | None, text: str, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("multiprocessing.get_start_method", lambda allow_none=False: method)
    line = worker_error_line(RuntimeError(text))
    assert line is not None and expected in line
