"""Two CPU processes give what one gives with the same total batch: the user's own command, with a task of one's own."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from maekit.api import build
from maekit.cli import main
from maekit.runs.rows import text_rows
from tests.conftest import TINY, few_digits, without_key_bias
from tests.helpers_run import environment
from tests.numeric_runs import MovedWeights, assert_same_run

STILL = (
    "--optim.base_lr=2e-3",
    "--model.drop_path=0",
    "--model.mixup=0",
    "--model.cutmix=0",
    "--trainer.accelerator=cpu",
)


def launch(folder: Path, *flags: str, status: int = 0) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "maekit", *flags],
        cwd=folder, env=environment(), capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    assert done.returncode == status, done.stderr[-3000:]
    return done.stderr


def outcome(run: Path) -> dict[str, torch.Tensor]:
    """The losses and the weights after them."""
    losses = [float(row["loss"]) for name in ("train.csv", "val.csv") for row in text_rows(run / name)]
    logged = {f"loss {number}": torch.tensor(loss) for number, loss in enumerate(losses)}
    return logged | without_key_bias(torch.load(run / "last.ckpt", weights_only=True)["state_dict"])


def test_two_processes_equal_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """21 validation images: the second process has one fewer, so padding must not be counted."""
    root = tmp_path / "data"
    for file in few_digits().rglob("*.JPEG"):
        target = root / file.relative_to(few_digits())
        target.parent.mkdir(parents=True, exist_ok=True)
        target.symlink_to(file)
    extra = next((root / "train").rglob("*.JPEG"))
    (root / "val" / extra.parent.name / "extra.JPEG").symlink_to(extra.resolve())
    monkeypatch.chdir(tmp_path)
    assert main(["copy", "imagenet_finetune", str(tmp_path / "my"), "--name", "mine"]) == 0
    flags = [*TINY, *STILL, f"--data.root={root}", "--trainer.max_steps=4", "--trainer.limit_val_batches=1.0"]
    common = ["fit", "--task", "my/tasks/mine.py", "--recipe", "smoke", *flags]
    assert main([*common, "--run.folder=one"]) == 0
    launch(tmp_path, *common, "--run.folder=two", "--trainer.devices=2", "--data.num_workers=1")
    one, two = tmp_path / "one/mine/smoke/0", tmp_path / "two/mine/smoke/0"
    assert not (two.parent / "1").exists(), "the second process made a run of its own"
    assert [row["step"] for row in text_rows(two / "train.csv")] == ["1", "2", "3", "4"]
    assert text_rows(one / "val.csv")[-1]["top1"] == text_rows(two / "val.csv")[-1]["top1"]
    values = dict(flag.removeprefix("--").split("=", 1) for flag in flags)
    build("my/tasks/mine.py", "smoke", values | {"run.folder": "other"}).fit(callbacks=[MovedWeights()])
    assert_same_run(outcome(two), outcome(one), outcome(tmp_path / "other/mine/smoke/0"))


def test_a_fault_in_two_processes_ends_both(tmp_path: Path) -> None:
    """Too large a share for two devices: both say why and stop."""
    text = launch(
        tmp_path, "fit", "--task", "imagenet_finetune", "--recipe", "smoke", *TINY, *STILL,
        "--data.total_batch_size=17", "--trainer.devices=2", status=2,
    )  # fmt: skip
    assert "got total batch 17 on 2 devices" in text
