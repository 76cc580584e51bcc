"""The learning-rate range test: groups move together, steps are those of `fit`, and nothing is left behind."""

import csv
import json
import os
import random
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.optim import Optimizer
from torch.optim.optimizer import register_optimizer_step_pre_hook

from maekit.cli import main
from maekit.commands import lr_find as command
from maekit.errors import UserError
from maekit.optim.lr_curve import LrCurve, LrStep
from maekit.training.search.lr_find import Ramp, find_lr
from tests.conftest import TINY, few_digits
from tests.helpers_run import error_line, losses, tiny

PROBE = {"model__cached_features": True, "model__weights": "none"}
RANDOM: dict[str, Any] = {
    "data__device_batch_size": 8,
    "model__drop_path": 0.3,
    "model__mixup": 0.8,
    "data__random_erasing": 0.5,
}


@pytest.mark.parametrize(
    ("task", "changed"), [("imagenet_finetune", RANDOM), ("imagenet_linprobe", PROBE)], ids=["AdamW", "LARS"]
)
def test_the_groups_keep_their_ratios_in_every_step(task: str, changed: dict[str, Any], tmp_path: Path) -> None:
    live: list[list[tuple[float, float, float]]] = []

    def look(optimizer: Optimizer, *_: Any) -> None:
        live.append([(group["lr"], group["peak_lr"], group["weight_decay"]) for group in optimizer.param_groups])

    session = tiny(tmp_path, task, **changed)
    optim = session.settings.values["optim"]
    hook = register_optimizer_step_pre_hook(look)
    try:
        curve = session.lr_find("0.1x", "10x", 10)
    finally:
        hook.remove()
    assert len(live) == len(curve.steps) >= 5
    for step, groups in zip(curve.steps, live, strict=True):
        factor = 0.1 * 100 ** (step.step / 9)
        assert step.rate == pytest.approx(factor * optim[curve.key], rel=1e-12)
        for lr, peak, decay in groups:
            assert lr == pytest.approx(factor * peak, rel=1e-12)
            assert decay in (0, optim["weight_decay"])
    assert len({peak for _, peak, _ in live[0]}) == (5 if task == "imagenet_finetune" else 1)


def test_its_steps_are_those_of_fit(tmp_path: Path) -> None:
    """At a constant rate its losses are those of a run without warm-up and decay: same batches, draws and updates."""
    still = RANDOM | {"optim__schedule": "multistep", "optim__milestones": [100], "optim__warmup_epochs": 0}
    session = tiny(tmp_path, **still, trainer__max_steps=7, trainer__gradient_clip_val=1.0)
    rate = session.settings.values["optim"]["base_lr"]
    build = session._module.Model.build
    found = find_lr(
        session.settings,
        session.data,
        lambda: build(session.data.spec(), session.settings.values["model"]),
        Ramp(rate, rate, 7),
    )
    run = Path(session.fit()["folder"])
    assert [step.loss for step in found.steps] == pytest.approx(
        [float(loss) for loss in losses(run).values()], rel=1e-6
    )


def test_it_leaves_session_generators_environment_and_folders_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    session = tiny(tmp_path / "runs", trainer__max_steps=2, run__num_threads=1)
    torch.set_num_threads(2)
    before = surroundings(session.model)
    session.lr_find(steps=10)
    after = surroundings(session.model)
    assert before.keys() == after.keys()
    for key, value in before.items():
        assert torch.equal(value, after[key]) if isinstance(value, torch.Tensor) else value == after[key], key
    assert [*tmp_path.iterdir()] == []


def surroundings(model: torch.nn.Module) -> dict[str, Any]:
    found: dict[str, Any] = {f"model {name}": tensor.clone() for name, tensor in model.state_dict().items()}
    found |= {f"trains {name}": parameter.requires_grad for name, parameter in model.named_parameters()}
    numpy = np.random.get_state(legacy=False)
    assert isinstance(numpy, dict)
    listing = sorted((str(file), file.stat().st_mtime_ns) for file in few_digits().rglob("*"))
    return found | {
        "python": random.getstate(), "numpy": (numpy["state"]["key"].tolist(), numpy["state"]["pos"]),
        "torch": torch.get_rng_state(), "environment": dict(os.environ), "threads": torch.get_num_threads(),
        "mode": model.training, "data": listing,
    }  # fmt: skip


def test_the_command_writes_a_new_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    words = ["lr-find", "--task", "imagenet_finetune", "--recipe", "smoke", *TINY, f"--data.root={few_digits()}"]
    assert main([*words, "--steps", "10", "--to", "10x"]) == 0
    assert "curve   lr_find: lr_find.svg, lr_find.csv, lr_find.json" in capsys.readouterr().out
    contents = {file: file.read_bytes() for file in (tmp_path / "lr_find").iterdir()}
    assert main([*words, "--steps", "10", "--to", "10x", "--trainer.precision=bf16-mixed", "--json"]) == 0
    assert {file: file.read_bytes() for file in (tmp_path / "lr_find").iterdir()} == contents
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    kept = json.loads((tmp_path / "lr_find2/lr_find.json").read_text())
    assert kept == {"task": "imagenet_finetune", "recipe": "smoke", **found}
    assert found["rate"] == "base_lr" and found["recipe"] == 0.032 and len(found["steps"]) <= found["num_steps"] == 10
    rows = list(csv.DictReader((tmp_path / "lr_find2/lr_find.csv").read_text().splitlines()))
    assert [float(row["loss"]) for row in rows] == [step["loss"] for step in found["steps"]]
    assert ET.parse(tmp_path / "lr_find2/lr_find.svg").getroot().tag.endswith("svg")
    assert "exists already" in error_line(capsys, *words, "--output", "lr_find")


def test_ctrl_c_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stop(curve: LrCurve) -> None:
        if len(curve.steps) == 2:
            raise KeyboardInterrupt

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(command, "print_step", stop)
    words = ["lr-find", "--task", "imagenet_finetune", "--recipe", "smoke", *TINY, f"--data.root={few_digits()}"]
    assert main(words) == 130
    assert "stopped by Ctrl-C" in capsys.readouterr().err
    assert [*tmp_path.iterdir()] == []


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--from", "1x", "--to", "0.1x"], "--from 1x (0.032) and --to 0.1x (0.0032), expected a rate that rises"),
        (["--from", "0"], "--from: got 0, expected a rate above 0"),
        (["--to", "fast"], "--to: got fast, expected a rate above 0"),
        (["--steps", "0"], "--steps: got 0, expected 10 or more"),
        (["--trainer.devices", "2"], "got 2 devices, expected 1"),
        (["--data.root", "nowhere"], "nowhere"),
        (["--data.total_batch_size", "4096"], "fewer than the total batch of 4096"),
    ],
)
def test_bad_input_is_one_line(
    words: list[str],
    line: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    accelerator = "--trainer.accelerator=cpu"
    own = ["--task", "imagenet_finetune", "--recipe", "smoke", *TINY, f"--data.root={few_digits()}", accelerator]
    assert line in error_line(capsys, "lr-find", *own, *words)
    assert [*tmp_path.iterdir()] == []


def test_a_task_that_is_only_evaluated_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert "evaluates only" in error_line(capsys, "lr-find", "--task", "imagenet_robustness", "--recipe", "smoke")


def test_a_first_step_that_is_not_finite_is_no_fault_of_the_rate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = tiny(tmp_path)
    monkeypatch.setattr(
        type(session.model), "training_losses", lambda self, batch: {"loss": self.head.fc.weight.sum() * torch.nan}
    )
    with pytest.raises(
        UserError, match="a loss of nan and a gradient norm of nan in the first step, before any weight"
    ):
        session.lr_find()


def curve_of(loss: Callable[[float], float], num_steps: int = 100) -> LrCurve:
    """A test whose loss is a function of the rate over the recipe's, from 0.01 to 100 times, stopped as a real one."""
    curve = LrCurve("lr", 1e-3, 1e-5, 1e-1, num_steps, ())
    ramp = Ramp(1e-5, 1e-1, num_steps)
    while len(curve.steps) < num_steps and not curve.diverged:
        rate = ramp.rate(len(curve.steps))
        step = LrStep(len(curve.steps), rate, rate, loss(rate / 1e-3), 1.0)
        curve = LrCurve("lr", 1e-3, 1e-5, 1e-1, num_steps, (*curve.steps, step))
    return curve


def test_the_suggestion_is_where_nine_tenths_of_the_fall_are_made() -> None:
    found = curve_of(lambda rate: 3 - 2 * min(max(np.log10(rate / 0.1) / 1.25, 0), 1))
    assert found.suggestion() == pytest.approx(0.1 * 10 ** (0.9 * 1.25) * 1e-3, rel=0.15) and not found.diverged
    assert found.flag() == f"--optim.lr {found.suggestion():.1e}"
    assert "falling" not in "".join(found.lines())
    falling = curve_of(lambda rate: 3 - np.log10(rate / 0.01) / 4)
    assert "still falling" in falling.lines()[-1]


def test_a_test_stops_when_its_loss_has_diverged() -> None:
    valley = curve_of(lambda rate: 3 - min(rate, 2.0) + (4.0 if rate > 20 else 0.0))
    assert valley.diverged and valley.steps[-1].rate < 40e-3 and valley.suggestion() == pytest.approx(1.8e-3, rel=0.15)
    nan = curve_of(lambda rate: 3 - rate if rate < 2 else float("nan"))
    assert nan.diverged and nan.suggestion() is not None and len(nan.smoothed()) == len(nan.steps)
    assert json.loads(json.dumps(command.as_json(nan), allow_nan=False))["diverged"]


def test_a_loss_that_is_nan_in_the_first_tenth_of_the_ramp_ends_it_in_words() -> None:
    for slope in (0.0, 20.0):
        found = curve_of(lambda rate, slope=slope: 3 - slope * rate if rate < 0.02 else float("nan"))  # type: ignore[misc]
        assert found.diverged and len(found.steps) < 10
        assert "diverged" in found.lines()[0] and found.lines()[1].startswith("found ")


def test_a_loss_that_never_falls_gives_no_suggestion() -> None:
    found = curve_of(lambda rate: 3.0 + rate)
    assert found.suggestion() is None and found.flag() is None and "no rate lowered the loss" in found.lines()[-1]
