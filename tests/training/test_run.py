"""Runs as a user has them: exact resumption, interruption, refusals, and what is kept."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, Trainer

import maekit
from maekit.base.checkpoint_card import read_card
from maekit.cli import main
from maekit.errors import Interrupted, UserError
from maekit.optim.settings import Optimisation
from maekit.training.trainer import make_trainer
from tests.conftest import TINY, few_digits, without_key_bias
from tests.helpers_run import losses, same_weights, tiny, weights
from tests.numeric_runs import MovedWeights, assert_same_run

# Everything that draws is on, and two device batches make a step.
RANDOM = (
    "--model.drop_path=0.3",
    "--model.mixup=0.8",
    "--model.cutmix=1.0",
    "--data.device_batch_size=8",
    "--data.random_erasing=0.5",
    "--optim.layer_decay=0.7",
    "--trainer.max_epochs=6",
)


def fit(*flags: str) -> list[str]:
    """The command line of a tiny run."""
    return ["fit", "--task", "imagenet_finetune", "--recipe", "smoke", *TINY, f"--data.root={few_digits()}", *flags]


class At(Callback):
    """Does something once, when a number of optimizer steps is done."""

    def __init__(self, step: int, what: Callable[[Trainer, Any], None], *, validating: bool = False) -> None:
        self.step, self.what, self.validating = step, what, validating

    def on_train_batch_start(self, trainer: Trainer, pl_module: Any, *_: Any) -> None:
        if not self.validating and trainer.global_step == self.step:
            self.step = -1
            self.what(trainer, pl_module)

    def on_validation_batch_start(self, trainer: Trainer, pl_module: Any, *_: Any) -> None:
        if self.validating and not trainer.sanity_checking and trainer.global_step >= self.step >= 0:
            self.step = -1
            self.what(trainer, pl_module)


def test_a_killed_run_goes_on_as_if_nothing_had_happened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(fit(*RANDOM, "--run.folder=whole")) == 0
    command = fit(*RANDOM, "--run.folder=killed", "--run.save_every_minutes=0")
    process = subprocess.Popen([sys.executable, "-m", "maekit", *command], stderr=subprocess.DEVNULL)
    killed = tmp_path / "killed/imagenet_finetune/smoke/0"
    deadline = time.monotonic() + 120
    while len(losses(killed)) < 8 and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.005)
    process.kill()
    process.wait(timeout=30)
    at = read_card(killed / "last.ckpt").step
    assert 6 <= at < 30, "the kill came too late to prove anything"
    assert main([*command, "--ckpt_path", "last"]) == 0
    whole = tmp_path / "whole/imagenet_finetune/smoke/0"
    assert losses(killed) == losses(whole)
    assert set(losses(whole)) == set(range(1, 31))
    same_weights(killed / "last.ckpt", whole / "last.ckpt")


def test_a_run_that_max_steps_ended_can_be_made_longer(tmp_path: Path) -> None:
    """On the same samples in the same order: 3 + 4 steps of epochs of 5, at a rate that does not know the length."""
    options: dict[str, Any] = {
        "trainer__max_epochs": 9,
        "optim__schedule": "multistep", "optim__milestones": [100],
    }  # fmt: skip
    whole = Path(tiny(tmp_path / "whole", trainer__max_steps=7, **options).fit()["folder"])
    run = Path(tiny(tmp_path / "parts", trainer__max_steps=3, **options).fit()["folder"])
    assert read_card(run / "best.ckpt").step == 3
    tiny(tmp_path / "parts", trainer__max_steps=7, run__extend=True, **options).fit(run / "last.ckpt")
    assert losses(run) == losses(whole)
    same_weights(run / "last.ckpt", whole / "last.ckpt")


def stop(number: signal.Signals) -> Callable[[Trainer, Any], None]:
    """Sends this process a signal."""
    return lambda trainer, module: os.kill(os.getpid(), number)


@pytest.mark.parametrize(
    ("number", "step", "validating"),
    [(signal.SIGTERM, 7, False), (signal.SIGINT, 10, True), (signal.SIGINT, 11, False)],
)
def test_a_signal_stops_in_order_and_nothing_is_lost(
    number: signal.Signals, step: int, validating: bool, tmp_path: Path
) -> None:
    """Epochs of 5 steps: in the middle of one, in the validation after two, at the start of the third."""
    options: dict[str, Any] = {"trainer__max_epochs": 3, "model__drop_path": 0.2}
    whole = Path(tiny(tmp_path / "whole", **options).fit()["folder"])
    session = tiny(tmp_path / "stopped", **options)
    with pytest.raises(Interrupted, match=f"at step {step}") as caught:
        session.fit(callbacks=[At(step if validating else step - 1, stop(number), validating=validating)])
    assert caught.value.status == 128 + number
    run = tmp_path / "stopped/imagenet_finetune/smoke/0"
    assert read_card(run / "last.ckpt").step == step
    tiny(tmp_path / "stopped", **options).fit(run / "last.ckpt")
    assert losses(run) == losses(whole)
    same_weights(run / "last.ckpt", whole / "last.ckpt")
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def test_last_holds_the_final_step_though_the_metric_never_improves(tmp_path: Path) -> None:
    result = tiny(tmp_path, trainer__max_steps=4, trainer__val_check_interval=1, optim__base_lr=1e-12).fit()
    run = Path(result["folder"])
    assert read_card(run / "last.ckpt").step == 4
    assert result["best"]["step"] == 1
    assert read_card(run / "best.ckpt").step == 1


def test_a_resumed_run_has_the_groups_the_log_says(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options: dict[str, Any] = {"optim__layer_decay": 0.6, "optim__weight_decay": 0.3, "trainer__max_epochs": 1}
    run = Path(tiny(tmp_path, trainer__max_steps=3, **options).fit()["folder"])
    found: dict[str, Any] = {}

    def look(trainer: Trainer, module: Any) -> None:
        found.update({group["name"]: dict(group) for group in module.optimizer_groups()})

    capsys.readouterr()
    session = tiny(tmp_path, trainer__max_steps=5, run__extend=True, **options)
    session.fit(run / "last.ckpt", callbacks=[At(3, look)])
    rows = Optimisation(**session.settings.values["optim"]).rows(session.model, session.model.backbone, 16)
    factor = Optimisation(**session.settings.values["optim"]).factor(5, 5)
    for row in rows:
        group = next(group for group in found.values() if row.name in group["parameter_names"])
        assert group["weight_decay"] == row.weight_decay
        assert group["peak_lr"] == row.lr
        assert group["lr"] == pytest.approx(row.lr * factor(3, group), rel=1e-9)
    text = capsys.readouterr().out
    peaks = sorted(row.lr for row in rows)
    assert f"lr {peaks[0]:.1e} .. {peaks[-1]:.1e}" in text
    assert "weight decay 0 / 0.3" in text


def test_weights_alone_are_no_run_to_resume(tmp_path: Path) -> None:
    run = Path(tiny(tmp_path, trainer__max_steps=2).fit()["folder"])
    before = (run / "last.ckpt").read_bytes()
    with pytest.raises(UserError, match="holds weights only"):
        tiny(tmp_path, trainer__max_steps=4, run__extend=True).fit(run / "best.ckpt")
    assert (run / "last.ckpt").read_bytes() == before


def test_a_nan_stops_the_run_and_names_the_layer(tmp_path: Path) -> None:
    def spoil(trainer: Trainer, module: Any) -> None:
        with torch.no_grad():
            module.model.backbone.blocks[1].mlp.fc2.weight[0, 0] = float("nan")

    with pytest.raises(UserError, match=r"loss is nan at step 3.*parameter backbone\.blocks\.1\.mlp\.fc2\.weight"):
        tiny(tmp_path, trainer__max_steps=6, run__save_every_minutes=0).fit(callbacks=[At(3, spoil)])
    assert read_card(tmp_path / "imagenet_finetune/smoke/0/last.ckpt").step == 3
    kept = weights(tmp_path / "imagenet_finetune/smoke/0/last.ckpt")
    assert all(bool(tensor.isfinite().all()) for tensor in kept.values())


def test_an_overflow_names_the_first_layer_whose_output_is_bad(tmp_path: Path) -> None:
    def inflate(trainer: Trainer, module: Any) -> None:
        with torch.no_grad():
            module.model.backbone.blocks[1].mlp.fc1.weight.fill_(3e38)

    with pytest.raises(UserError, match=r"begun in backbone\.blocks\.1\.mlp\.fc1;"):
        tiny(tmp_path, trainer__max_steps=6).fit(callbacks=[At(2, inflate)])


def test_same_seed_same_losses_whatever_the_workers(tmp_path: Path) -> None:
    options: dict[str, Any] = {"trainer__max_steps": 4, "data__random_erasing": 0.5, "model__drop_path": 0.2}
    runs = [tiny(tmp_path, data__num_workers=workers, **options).fit()["folder"] for workers in (0, 0, 2)]
    first, second, workers = (losses(Path(run)) for run in runs)
    assert first == second == workers
    other = losses(Path(tiny(tmp_path, run__seed=1, **options).fit()["folder"]))
    assert other != first


def test_accumulation_changes_the_plan_not_the_result(tmp_path: Path) -> None:
    options: dict[str, Any] = {"trainer__max_steps": 3, "data__total_batch_size": 32, "optim__base_lr": 2e-3}
    one = Path(tiny(tmp_path, data__device_batch_size=32, **options).fit()["folder"])
    four = Path(tiny(tmp_path, data__device_batch_size=8, **options).fit()["folder"])
    other = Path(tiny(tmp_path, data__device_batch_size=32, **options).fit(callbacks=[MovedWeights()])["folder"])

    def outcome(run: Path) -> dict[str, torch.Tensor]:
        logged = {f"loss of step {step}": torch.tensor(float(loss)) for step, loss in losses(run).items()}
        return logged | without_key_bias(weights(run / "last.ckpt"))

    assert_same_run(outcome(four), outcome(one), outcome(other))


def test_batch_norm_is_synchronised_on_accelerators_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """A recipe asks for it, on a CPU too: a CPU has no such BatchNorm, and torch's raises there."""
    settings = tiny(Path(), trainer__sync_batchnorm=True).settings
    seen: list[dict[str, Any]] = []
    monkeypatch.setattr("maekit.training.trainer.device_count", lambda _: 1)
    real = Trainer(accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False)

    def keep(**values: Any) -> Trainer:
        seen.append(values)
        return real

    monkeypatch.setattr("maekit.training.trainer.Trainer", keep)
    for kind in ("cpu", "cuda"):
        monkeypatch.setattr("maekit.training.trainer.check_hardware", lambda _, kind=kind: kind)
        make_trainer(replace(settings, given=frozenset()), [], [])
    assert [values.get("sync_batchnorm", False) for values in seen] == [False, True]
    monkeypatch.setattr("maekit.training.trainer.check_hardware", lambda _: "cpu")
    with pytest.raises(UserError, match=r"--trainer\.sync_batchnorm true"):  # as a flag it is refused
        make_trainer(settings, [], [])


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        ({"trainer.strategy": "fsdp"}, "--trainer.strategy fsdp2 shards"),
        ({"trainer.strategy": "deepspeed_stage_2"}, "expected fsdp2"),
        ({"trainer.strategy": "fspd2"}, "did you mean 'fsdp2'"),
        ({"trainer.strategy": "fsdp2", "trainer.precision": "16-mixed"}, "16-mixed"),
        ({"trainer.strategy": "fsdp2", "run.compile": True}, "--run.compile"),
        ({"data.total_batch_size": 4096, "data.device_batch_size": 64}, "--data.total_batch_size 64"),
        ({"data.device_batch_size": 5}, "--data.device_batch_size"),
        ({"data.device_batch_size": 1, "model.mixup": 0.8}, "even"),
        ({"optim.lr": 1e-3}, "add --optim.base_lr null to use optim.lr"),
        ({"optim.base_lr": None}, "got neither optim.base_lr nor optim.lr"),
        ({"optim.warmup_steps": 3}, "add --optim.warmup_epochs null"),
        ({"optim.layer_decay": 0.0}, "optim.layer_decay in (0, 1]"),
        ({"data.root": "nowhere"}, "nowhere"),
        ({"model.weights": "nowhere.pth"}, "nowhere.pth"),
        ({"model.weights": None}, "add --model.weights FILE"),
        ({"model.backbone": "vit_bse_patch16"}, "vit_base_patch16"),
        ({"run.wandb": "mae"}, "pip install"),
        ({"trainer.max_epochs": -1}, "the run has no end"),
        ({"data.image_size": 36}, "patch"),
    ],
)  # fmt: skip
def test_refusals_are_one_line_and_leave_no_run(overrides: dict[str, Any], expected: str, tmp_path: Path) -> None:
    values = {**{flag[2:].split("=")[0]: flag.split("=")[1] for flag in TINY if "--model" in flag}, **overrides}
    numbers = {
        "data.total_batch_size": 16,
        "data.device_batch_size": 16,
        "data.num_workers": 0,
        "run.folder": str(tmp_path),
    }
    numbers["data.root"] = str(few_digits())
    with pytest.raises(UserError) as caught:
        maekit.build("imagenet_finetune", "smoke", {**numbers, **values}).fit()
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.rglob("*.ckpt"))


def test_the_checkpoint_of_other_classes_is_refused(tmp_path: Path) -> None:
    run = Path(tiny(tmp_path, trainer__max_steps=1).fit()["folder"])
    digits = few_digits()
    fewer = tmp_path / "fewer"
    for split in ("train", "val"):
        (fewer / split).mkdir(parents=True)
        for folder in sorted((digits / split).iterdir())[:7]:
            (fewer / split / folder.name).symlink_to(folder)
    session = tiny(tmp_path, data__root=str(fewer))
    with pytest.raises(UserError, match="7 classes, expected 10"):
        session.validate(run / "best.ckpt")
    with pytest.raises(UserError, match="new_head"):
        tiny(tmp_path, data__root=str(fewer), model__weights=str(run / "best.ckpt")).fit()
    result = tiny(
        tmp_path,
        data__root=str(fewer),
        model__weights=str(run / "best.ckpt"),
        model__new_head=True,
        trainer__max_steps=1,
    ).fit()
    assert result["status"] == "finished"


def test_an_intact_run_starts_from_another_runs_weights(tmp_path: Path) -> None:
    run = Path(tiny(tmp_path, trainer__max_steps=2).fit()["folder"])
    session = tiny(tmp_path, model__weights=str(run / "best.ckpt"))
    session.model.load_start(complete=True)
    state = weights(run / "best.ckpt")
    for name, tensor in session.model.state_dict().items():
        torch.testing.assert_close(tensor, state[f"model.{name}"], rtol=0, atol=0)


@pytest.mark.parametrize(("number", "name"), [(signal.SIGINT, "Ctrl-C"), (signal.SIGTERM, "SIGTERM")])
def test_a_signal_to_the_workers_too_is_one_quiet_stop(number: signal.Signals, name: str, tmp_path: Path) -> None:
    """As a terminal and SLURM send it."""
    command = fit("--data.num_workers=2", "--trainer.max_epochs=500", f"--run.folder={tmp_path}")
    process = subprocess.Popen(
        [sys.executable, "-m", "maekit", *command], stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    run = tmp_path / "imagenet_finetune/smoke/0"
    deadline = time.monotonic() + 120
    while len(losses(run)) < 7 and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.05)
    os.killpg(process.pid, number)
    try:
        error = process.communicate(timeout=60)[1]
    finally:
        process.kill()
    assert process.returncode == 128 + number, error
    assert "Traceback" not in error
    assert f"stopped by {name} at step" in error.splitlines()[-1]
    assert ", saved; go on with: maekit fit --task " in error.splitlines()[-1]
    assert error.splitlines()[-1].endswith(f" --ckpt_path {run}")
    assert read_card(run / "last.ckpt").step == max(losses(run))


@pytest.mark.parametrize("workers", [0, 2])
def test_a_broken_image_stops_the_run_with_its_name_and_saves_it(workers: int, tmp_path: Path) -> None:
    root = tmp_path / "data"
    shutil.copytree(few_digits(), root)
    broken = sorted((root / "train").rglob("*.JPEG"))[13]
    broken.write_bytes(broken.read_bytes()[:300])
    with pytest.raises(UserError, match=broken.name) as caught:
        tiny(tmp_path, data__root=str(root), data__num_workers=workers, run__seed=3).fit()
    assert "\n" not in str(caught.value)
    assert "Traceback" not in str(caught.value)


def test_a_full_disk_keeps_the_checkpoint_that_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = torch.save

    def full(trainer: Trainer, module: Any) -> None:
        def save(*args: Any, **kwargs: Any) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(torch, "save", save)

    with pytest.raises(UserError, match="No space left on device") as caught:
        tiny(tmp_path, trainer__max_steps=5, run__save_every_minutes=0).fit(callbacks=[At(2, full)])
    assert "intact" in str(caught.value)
    monkeypatch.setattr(torch, "save", real)
    run = tmp_path / "imagenet_finetune/smoke/0"
    assert read_card(run / "last.ckpt").step == 2
    assert not list(run.glob(".*partial"))


def test_slurms_signal_saves_and_requeues_and_the_requeued_job_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = tmp_path / "asked"
    scontrol = tmp_path / "bin/scontrol"
    scontrol.parent.mkdir()
    scontrol.write_text(f'#!/bin/sh\necho "$@" > {asked}\n')
    scontrol.chmod(0o755)
    monkeypatch.setenv("PATH", f"{scontrol.parent}:{os.environ['PATH']}")
    monkeypatch.setenv("SLURM_JOB_ID", "4711")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(Interrupted, match="the job is back in the queue"):
        tiny(tmp_path / "runs", trainer__max_steps=6).fit(callbacks=[At(2, stop(signal.SIGUSR1))])
    assert asked.read_text() == "requeue 4711\n"
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    assert main(fit("--trainer.max_steps=6")) == 0
    assert read_card(tmp_path / "runs/imagenet_finetune/smoke/0/last.ckpt").step == 6
    assert not (tmp_path / "runs/imagenet_finetune/smoke/1").exists()


def test_compiling_keeps_the_names_and_the_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    session = tiny(tmp_path, trainer__max_steps=2)
    before = set(session.model.state_dict())
    session.model.backbone.compile(backend="eager")
    session.fit()
    assert set(session.model.state_dict()) == before
    rows = Optimisation(**session.settings.values["optim"]).rows(session.model, session.model.backbone, 16)
    assert {row.layer for row in rows} == set(range(5))
