"""No checkpoint is replaced by a state with NaN or infinity in it, and the message says what is kept."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Trainer
from torch import Tensor

from maekit.base.checkpoint_card import read_card
from maekit.errors import UserError
from maekit.replay.nan_step import read_nan_step
from maekit.training.callbacks.averaging import WeightAverage
from maekit.training.nan_guard import NotFiniteError, first_bad
from tests.conftest import TINY, few_digits
from tests.helpers_run import At, environment, losses, same_weights, state, tiny

RUNS = "imagenet_finetune/smoke/0"


def tensors(value: Any) -> list[Tensor]:
    """All floating tensors of a checkpoint."""
    if isinstance(value, Tensor):
        return [value] if value.is_floating_point() else []
    items = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else []
    return [tensor for item in items for tensor in tensors(item)]


def finite(file: Path) -> bool:
    return all(bool(tensor.isfinite().all()) for tensor in tensors(state(file)))


def infinite_gradient(trainer: Trainer, module: Any) -> None:
    next(module.model.head.parameters()).grad[...] = float("inf")


def test_an_infinite_gradient_at_a_finite_loss_keeps_the_state_before_it(tmp_path: Path) -> None:
    options: dict[str, Any] = {"trainer__max_epochs": 2}
    whole = Path(tiny(tmp_path / "whole", **options).fit()["folder"])
    with pytest.raises(NotFiniteError, match=r"gradient of model\.head\S* is not finite at step 7; ") as caught:
        tiny(tmp_path / "bad", **options).fit(callbacks=[At(7, infinite_gradient, "gradient")])
    run = tmp_path / "bad" / RUNS
    assert read_card(run / "last.ckpt").step == 7
    assert finite(run / "last.ckpt")
    assert f"{run / 'last.ckpt'} keeps the state of step 7" in str(caught.value)
    assert "\n" not in str(caught.value)
    tiny(tmp_path / "bad", **options).fit(run / "last.ckpt")
    assert losses(run) == losses(whole)
    same_weights(run / "last.ckpt", whole / "last.ckpt")


def test_before_the_first_step_nothing_is_kept_and_the_message_says_so(tmp_path: Path) -> None:
    with pytest.raises(NotFiniteError, match=r"at step 0; nothing was saved, there is no last\.ckpt"):
        tiny(tmp_path).fit(callbacks=[At(0, infinite_gradient, "gradient")])
    assert not list(tmp_path.rglob("*.ckpt"))


def spoil_weight(trainer: Trainer, module: Any) -> None:
    module.model.backbone.blocks[1].mlp.fc2.weight.data[0, 0] = float("nan")


def spoil_optimizer(trainer: Trainer, module: Any) -> None:
    next(iter(trainer.optimizers[0].state.values()))["exp_avg_sq"].view(-1)[0] = float("inf")


def spoil_average(trainer: Any, module: Any) -> None:
    average = next(callback for callback in trainer.callbacks if isinstance(callback, WeightAverage))
    next(iter(average.other.values())).view(-1)[0] = float("nan")


def spoil_statistics(trainer: Trainer, module: Any) -> None:
    module.model.head.fc_norm.running_var[3] = float("inf")


@pytest.mark.parametrize(
    ("task", "spoil", "named", "options"),
    [
        ("imagenet_finetune", spoil_weight, r"backbone\.blocks\.1\.mlp\.fc2\.weight", {}),
        ("imagenet_finetune", spoil_optimizer, "optimizer's exp_avg_sq of model", {}),
        ("imagenet_scratch", spoil_average, "average of model", {"model__ema_decay": 0.5}),
        ("imagenet_linprobe", spoil_statistics, r"head\.fc_norm\.running_var", {}),
    ],
)
@pytest.mark.parametrize("by_time", [True, False])
def test_a_spoilt_state_replaces_no_checkpoint(
    by_time: bool, task: str, spoil: Callable[..., None], named: str, options: dict[str, Any], tmp_path: Path
) -> None:
    """Spoilt after step 7: the next save is by time, or that of the validation after step 8."""
    short: dict[str, Any] = {
        "trainer__max_steps": 8, "trainer__val_check_interval": 4, "run__save_every_minutes": 0 if by_time else 9
    }  # fmt: skip
    with pytest.raises(NotFiniteError) as caught:
        tiny(tmp_path, task, **short, **options).fit(callbacks=[At(7, spoil, "step")])
    run = tmp_path / task / "smoke/0"
    kept = read_card(run / "last.ckpt").step
    assert kept == (6 if by_time else 5)  # that of the epoch's end
    assert f"keeps the state of step {kept}" in str(caught.value)
    assert finite(run / "last.ckpt") and finite(run / "best.ckpt")
    assert read_card(run / "best.ckpt").step == 4
    if by_time:
        caught.match(named)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_a_metric_that_is_not_finite_is_never_the_best(value: float, tmp_path: Path) -> None:
    session = tiny(tmp_path, trainer__max_steps=4, trainer__val_check_interval=2)
    values = iter([50.0, value])
    session.model.side_metrics = lambda data: {"top1": next(values)}  # type: ignore[method-assign]
    result = session.fit()
    assert result["best"] == {"metric": "val/top1", "value": 50.0, "step": 2}
    assert read_card(tmp_path / RUNS / "best.ckpt").step == 2


def test_large_finite_numbers_are_finite() -> None:
    """The squares of their elements overflow, and so does the norm by which all tensors are judged at once."""
    large = torch.full((3, 2), 1e30)
    assert first_bad([("large", large), ("empty", torch.zeros(0)), ("count", torch.tensor(3))]) is None
    assert (
        first_bad([("large", large), ("bad", torch.tensor([1.0, float("inf")])), ("half", large.bfloat16())]) == "bad"
    )


TASK = """
import os

from maekit.tasks.imagenet_finetune import Data, Model as Shipped


class Model(Shipped):
    calls = 0

    def training_losses(self, batch):
        self.calls += 1
        losses = super().training_losses(batch)
        bad = os.environ.get("LOCAL_RANK") == "1" and self.calls == 6  # the second of step 3's two device batches
        return {**losses, "loss": losses["loss"] * float("nan" if bad else 1)}
"""


@pytest.mark.slow
def test_one_processs_nan_ends_all_in_one_line(tmp_path: Path) -> None:
    task, configs = tmp_path / "my/tasks/mine.py", tmp_path / "my/configs"
    task.parent.mkdir(parents=True)
    configs.mkdir()
    task.write_text(TASK)
    command = [sys.executable, "-m", "maekit", "copy", "imagenet_finetune", "my", "--name", "other"]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    for file in configs.glob("other*.yaml"):
        file.rename(configs / file.name.replace("other", "mine"))
    flags = [*TINY, "--data.device_batch_size=4", f"--data.root={few_digits()}", "--trainer.accelerator=cpu"]
    command = [sys.executable, "-m", "maekit", "fit", "--task", str(task), "--recipe", "smoke", *flags]
    done = subprocess.run(
        [*command, "--trainer.devices=2", "--trainer.max_steps=9"],
        cwd=tmp_path, env=environment(), capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    said = [line for line in done.stderr.splitlines() if line.startswith("maekit: ")]
    assert done.returncode == UserError.status
    assert len(said) == 1, done.stderr
    assert "loss is nan at step 2" in said[0]
    assert "(process 1)" in said[0]
    assert "keeps the state of step 2" in said[0]
    assert "Traceback" not in done.stderr
    assert finite(tmp_path / "runs/mine/smoke/0/last.ckpt")
    kept = read_nan_step(tmp_path / "runs/mine/smoke/0/nan_step.pt")  # written by the process that saw it
    assert "maekit replay" in said[0]
    assert (kept.facts.process, kept.facts.processes, kept.facts.accumulation) == (1, 2, 2)
    assert [batch.place for batch in kept.batches] == [1]
