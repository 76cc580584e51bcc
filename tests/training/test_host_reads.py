"""A run of the real Trainer on a device that is not the CPU: a step waits for the device only where a row is logged."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.accelerators import Accelerator
from lightning.pytorch.strategies import SingleDeviceStrategy

import maekit
from maekit.training import trainer as trainers
from maekit.training.callbacks.checkpoint_io import AtomicCheckpointIO
from maekit.training.step_guard import LOOK_STEPS
from tests.helpers_run import losses, tiny
from tests.stand_in import DEVICE, Waits, stand_in, to_host

STEPS, LOGGED = 12, 7  # steps of a run; a row is logged in every seventh
RUNS: dict[str, dict[str, Any]] = {
    "imagenet_finetune": {"model__ema_decay": 0.9, "data__device_batch_size": 8, "trainer__gradient_clip_val": 1.0},
    "imagenet_linprobe": {},
    "imagenet_partial": {"model__backbone": "vit_smoke_patch8"},
    "imagenet_scratch": {"model__lora_rank": 4, "model__lora_dropout": 0.1},
    "mae_pretrain": {"data__probe_root": None},
    "ade20k_upernet": {"model__backbone": "vit_smoke_patch8"},
}


class StandInAccelerator(Accelerator):
    """Lightning's view of the stand-in."""

    def setup_device(self, device: torch.device) -> None:
        """Does nothing."""

    def teardown(self) -> None:
        """Does nothing."""

    def get_device_stats(self, device: Any) -> dict[str, Any]:
        return {}

    @staticmethod
    def parse_devices(devices: Any) -> int:
        return 1

    @staticmethod
    def get_parallel_devices(devices: Any) -> list[torch.device]:
        return [DEVICE]

    @staticmethod
    def auto_device_count() -> int:
        return 1

    @staticmethod
    def is_available() -> bool:
        return True

    @staticmethod
    def name() -> str:
        return "standin"


class PerStep(Callback):
    """Keeps what was counted in each optimizer step, and in the batches of validations but the first.

    A step ends where the next one begins, so that every callback's part of it is counted, or where a validation begins
    or an epoch ends: what is measured or saved there is not counted.

    Args:
        waits: of the stand-in.
    """

    def __init__(self, waits: Waits) -> None:
        self.waits, self.now = waits, -1
        self.found: dict[int, Counter[str]] = {}
        self.validated: Counter[str] = Counter()

    def on_train_batch_start(self, trainer: Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
        self._end_step()
        self.now = trainer.global_step

    def on_validation_start(self, trainer: Trainer, pl_module: Any) -> None:
        look = [line for line in self.waits.lines if line.startswith("maekit/training/step_guard.py")]
        self.waits.lines.subtract(look)  # of the validation, before callbacks hear of it
        self.waits.lines += Counter()
        self._end_step()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: Any) -> None:
        self._end_step()

    def on_validation_batch_start(self, trainer: Trainer, pl_module: Any, batch: Any, batch_idx: int, *_: Any) -> None:
        self.validated += self.waits.lines if batch_idx else Counter()
        self.waits.reset()

    def on_validation_batch_end(self, trainer: Trainer, pl_module: Any, *_: Any) -> None:
        self.validated += self.waits.lines
        self.waits.reset()

    def _end_step(self) -> None:
        if self.now >= 0:
            self.found[self.now] = self.found.get(self.now, Counter()) + self.waits.lines
        self.now = -1
        self.waits.reset()


@pytest.fixture
def on_stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every Trainer runs on the stand-in."""

    def make(**values: Any) -> Trainer:
        strategy = SingleDeviceStrategy(device=DEVICE, accelerator=StandInAccelerator())
        return Trainer(**values | {"accelerator": "auto", "devices": 1, "strategy": strategy})

    save = AtomicCheckpointIO.save_checkpoint

    def save_from_host(self: Any, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        save(self, to_host(checkpoint), path, storage_options)  # no checkpoint holds a stand-in's tensors

    monkeypatch.setattr(trainers, "Trainer", make)
    monkeypatch.setattr(AtomicCheckpointIO, "save_checkpoint", save_from_host)


def session(task: str, folder: Path, **more: Any) -> maekit.Session:
    options: dict[str, Any] = {
        "trainer__max_steps": STEPS,
        "trainer__log_every_n_steps": LOGGED,
        "trainer__limit_val_batches": 2,
    }
    if task == "ade20k_upernet":
        options |= {"data__root": None, "data__total_batch_size": 2, "data__device_batch_size": 2, "optim__lr": 1e-3}
    return tiny(folder, task, **options | RUNS[task] | more)


def may_wait(step: int) -> bool:
    """Whether a row is logged after these optimizer steps and one more, or the guard is looked at."""
    return (step + 1) % LOGGED == 0 or step == 0 or step % LOOK_STEPS == 0


@pytest.mark.usefixtures("on_stand_in")
@pytest.mark.parametrize("task", RUNS)
def test_a_step_waits_only_where_a_row_is_logged(task: str, tmp_path: Path) -> None:
    with stand_in(lines=True) as waits:
        run = session(task, tmp_path)
        steps = PerStep(waits)
        result = run.fit(callbacks=[steps])
    assert result["step"] == STEPS
    assert len(steps.found) == STEPS
    for step, lines in steps.found.items():
        assert not lines or may_wait(step), (step, lines)
        assert lines.total() <= 5, (step, lines)  # loss and norm, the layers' two, the guard's look
    assert steps.found[LOGGED - 1], "a logged row reads the loss: nothing was counted"
    assert not steps.validated


@pytest.mark.parametrize("task", ["imagenet_finetune", "imagenet_linprobe"])
def test_a_run_there_gives_the_cpus_losses(task: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """Clipped, accumulated and averaged, with fused AdamW; and LARS."""
    result = session(task, tmp_path / "cpu").fit()
    request.getfixturevalue("on_stand_in")
    with stand_in():
        found = session(task, tmp_path / "there").fit()
    expected, got = (losses(tmp_path / place / task / "smoke" / "0") for place in ("cpu", "there"))
    assert got.keys() == expected.keys()
    for step, loss in got.items():
        assert float(loss) == pytest.approx(float(expected[step]), rel=1e-3), step
    assert found["val"]["loss"] == pytest.approx(result["val"]["loss"], rel=1e-3)


class NoWaits(Callback):
    """Raises where a step waits for a GPU and neither logs a row nor looks at the guard."""

    def on_train_batch_start(self, trainer: Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
        torch.cuda.set_sync_debug_mode("default" if may_wait(trainer.global_step) else "error")

    def on_validation_start(self, trainer: Trainer, pl_module: Any) -> None:
        torch.cuda.set_sync_debug_mode("default")

    def on_train_epoch_end(self, trainer: Trainer, pl_module: Any) -> None:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("task", RUNS)
def test_a_step_on_a_gpu_waits_only_where_a_row_is_logged(task: str, tmp_path: Path) -> None:
    try:
        result = session(task, tmp_path, trainer__accelerator="gpu").fit(callbacks=[NoWaits()])
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert result["step"] == STEPS
