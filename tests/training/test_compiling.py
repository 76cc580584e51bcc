"""`--run.compile`: which way a run goes on, by what measurement, and what happens where torch cannot compile."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Trainer
from lightning.pytorch.strategies import SingleDeviceStrategy
from torch._dynamo.exc import BackendCompilerFailed

from maekit.errors import UserError
from maekit.training.compiling import WORTH_STEPS, Losses, MeasuredChoice, choose
from tests.conftest import TINY, few_digits
from tests.helpers_run import At, environment, same_weights, tiny
from tests.helpers_run import losses as logged


class Ways:
    """Counts the calls of each way to compute losses. As a clock, a device batch takes as long as it is told.

    Args:
        seconds: of a device batch, eagerly and compiled.
    """

    def __init__(self, eager: float, compiled: float) -> None:
        self.of = {"eager": eager, "compiled": compiled}
        self.calls = {"eager": 0, "compiled": 0}
        self.latest = "eager"
        self.now = 0.0

    def counted(self, losses: Losses, name: str) -> Losses:
        def call(batch: Any) -> dict[str, torch.Tensor]:
            self.calls[name] += 1
            self.now += self.of[name]
            return losses(batch)

        return call

    def mark(self) -> float:
        return self.now

    def seconds(self, start: float, end: float) -> float:
        return end - start


def measured(folder: Path, ways: Ways, compiled: Losses | None = None, **flags: Any) -> Path:
    """Twelve steps; the first four are eager, the next four compiled, the last three of each are timed."""
    session = tiny(folder, trainer__max_steps=12, trainer__limit_val_batches=0, **flags)
    plain = session.model.training_losses
    session.model.__dict__["training_losses"] = ways.counted(plain, "eager")
    choice = MeasuredChoice(lambda: ways.counted(compiled or plain, "compiled"), ways, warm=1, timed=3)
    return Path(session.fit(callbacks=[choice])["folder"])


def line(capsys: pytest.CaptureFixture[str]) -> str:
    return next(line for line in capsys.readouterr().out.splitlines() if line.startswith("compile "))


@pytest.mark.parametrize(
    ("compiled", "accumulation", "calls", "said"),
    [
        (1.0, 1, (4, 8), "on from step 8 (1000.0 ms a step compiled, 2000.0 ms eagerly)"),
        (1.99, 1, (8, 4), "off from step 8 (1990.0 ms a step compiled, 2000.0 ms eagerly)"),  # within the noise
        (1.0, 2, (8, 16), "on from step 8 (2000.0 ms a step compiled, 4000.0 ms eagerly)"),
    ],
)
def test_the_faster_way_is_kept(
    compiled: float, accumulation: int, calls: tuple[int, int], said: str, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    ways = Ways(2.0, compiled)
    measured(tmp_path, ways, data__device_batch_size=16 // accumulation)
    assert tuple(ways.calls.values()) == calls
    assert line(capsys) == f"compile {said}"


def test_a_measured_run_is_an_ordinary_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing is computed twice: the same losses and weights as without the measurement."""
    flags: dict[str, Any] = {"trainer__max_steps": 12, "trainer__limit_val_batches": 0, "model__drop_path": 0.3}
    plain = Path(tiny(tmp_path, **flags).fit()["folder"])
    run = measured(tmp_path, Ways(2.0, 1.0), model__drop_path=0.3)
    assert logged(run) == logged(plain)
    same_weights(run / "last.ckpt", plain / "last.ckpt")


def broken(batch: Any) -> dict[str, torch.Tensor]:
    raise BackendCompilerFailed("inductor", ValueError("no compiler\nand a long trace"), None)


def test_a_run_goes_on_eagerly_where_compilation_fails(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ways = Ways(2.0, 1.0)
    run = measured(tmp_path, ways, broken)
    assert ways.calls == {"eager": 12, "compiled": 1}
    assert len(logged(run)) == 12
    said = line(capsys)
    assert said.startswith("compile off from step 8 (compilation failed: ")
    assert "no compiler" in said


def test_other_errors_of_a_compiled_step_are_not_hidden(tmp_path: Path) -> None:
    def wrong(batch: Any) -> dict[str, torch.Tensor]:
        raise RuntimeError("shapes differ")

    with pytest.raises(RuntimeError, match="shapes differ"):
        measured(tmp_path, Ways(2.0, 1.0), wrong)


def test_a_run_that_must_be_compiled_stops_in_one_line(tmp_path: Path) -> None:
    session = tiny(tmp_path, run__compile=True, trainer__max_steps=2)
    session.model.__dict__["compile_losses"] = lambda **_: broken
    with pytest.raises(UserError, match=r"--run\.compile") as refused:
        session.fit()
    assert "\n" not in str(refused.value)
    assert "no compiler" in str(refused.value)
    assert not list(tmp_path.rglob("config.yaml"))


class Device:
    """A Trainer on some kind of device, as far as the choice looks at it."""

    def __init__(self, kind: str) -> None:
        self.strategy = SingleDeviceStrategy(torch.device(kind))


@pytest.mark.parametrize(
    ("flag", "kind", "steps", "given", "mode", "shown"),
    [
        ("auto", "cpu", 10**6, False, "off", False),
        ("auto", "cpu", 10**6, True, "off", True),
        ("auto", "mps", 10**6, False, "off", True),
        ("auto", "cuda", 10**6, False, "measured", True),
        ("auto", "cuda", WORTH_STEPS - 1, False, "off", True),
        (True, "cpu", 1, True, "on", True),
        (True, "cuda", 1, False, "on", True),
        (False, "cuda", 10**6, False, "off", True),
        (False, "cpu", 10**6, False, "off", False),
    ],
)
def test_what_auto_means(
    flag: Any, kind: str, steps: int, given: bool, mode: str, shown: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer: Any = Device(kind)
    choice = choose(flag, trainer, steps, given=given)
    assert (choice.mode, choice.shown) == (mode, shown)
    assert len(choice.why) > 10


def test_auto_is_off_for_runs_that_must_repeat_themselves(monkeypatch: pytest.MonkeyPatch) -> None:
    trainer: Any = Device("cuda")
    monkeypatch.setattr(torch, "are_deterministic_algorithms_enabled", lambda: True)
    assert choose("auto", trainer, 10**6, given=False).mode == "off"


@pytest.mark.parametrize(("flag", "said"), [(None, ""), ("auto", "compile off ("), ("false", "compile off (")])
def test_a_cpu_says_so_only_where_asked(
    flag: str | None, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = {} if flag is None else {"run__compile": flag}
    run = Path(tiny(tmp_path, trainer__max_steps=1, trainer__accelerator="cpu", **flags).fit()["folder"])
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("compile")]
    assert [line.startswith(said) for line in lines] == [True] * (flag is not None)
    environment = json.loads((run / "environment.json").read_text())
    assert environment["compile"].startswith("off")
    assert environment["matmul_precision"] == "highest"


def test_precision_of_products_is_restored_after_a_run(tmp_path: Path) -> None:
    seen = []

    def look(trainer: Trainer, module: Any) -> None:
        seen.append((torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32))

    before = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    for value in ("high", "highest"):
        tiny(tmp_path, run__matmul_precision=value, trainer__max_steps=1).fit(callbacks=[At(0, look)])
        assert (torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32) == before
    assert seen == [("high", True), ("highest", False)]


SCRIPT = """
import os, sys
import maekit
from maekit.training.compiling import HostClock, MeasuredChoice
from torch._dynamo.exc import BackendCompilerFailed

def broken(batch):
    raise BackendCompilerFailed("inductor", ValueError("no compiler"), None)

if __name__ == "__main__":
    flags = dict(word[2:].split("=") for word in sys.argv[1:])
    session = maekit.build("imagenet_finetune", "smoke", flags)
    first = os.environ.get("LOCAL_RANK", "0") == "0"
    make = lambda: session.model.compile_losses(backend="eager") if first else broken
    session.fit(callbacks=[MeasuredChoice(make, HostClock(), warm=1, timed=2)])
"""


@pytest.mark.slow
def test_two_processes_decide_alike_and_go_on_where_one_cannot_compile(tmp_path: Path) -> None:
    """With accumulation and recomputed blocks; the second process has no compiler."""
    (tmp_path / "script.py").write_text(SCRIPT)
    flags = [*TINY, f"--data.root={few_digits()}", "--data.device_batch_size=4", "--model.gradient_checkpointing=true"]
    flags += ["--trainer.devices=2", "--trainer.accelerator=cpu", "--trainer.max_steps=8", "--run.folder=runs"]
    done = subprocess.run(
        [sys.executable, "script.py", *flags],
        cwd=tmp_path, env=environment(), capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    assert "compile off from step 6 (compilation failed: on another process)" in done.stdout
    assert len(logged(tmp_path / "runs/imagenet_finetune/smoke/0")) == 8
