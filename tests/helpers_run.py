"""Short runs in this process: what tests of resumption, interruption and saving share."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, Trainer

import maekit
from maekit.base.data import DrawDataset
from maekit.base.spec import Draw
from maekit.cli import main
from maekit.runs.folder import FOLDER
from maekit.runs.rows import text_rows
from tests.conftest import TINY, few_digits


def tiny(folder: Path, task: str = "imagenet_finetune", **overrides: Any) -> maekit.Session:
    """A tiny session whose runs go to `folder`: 80 images, 5 steps an epoch, two underscores for a dot in a flag."""
    values: dict[str, Any] = {flag[2:].split("=")[0]: flag.split("=")[1] for flag in TINY}
    values |= {"run.folder": str(folder), "data.root": str(few_digits())}
    return maekit.build(task, "smoke", values | {key.replace("__", "."): value for key, value in overrides.items()})


class At(Callback):
    """Does something once, when a number of optimizer steps is done.

    Args:
        step: optimizer steps done.
        what: given the trainer and the module.
        hook: `train` before the next batch, `step` after the step's own batch, `gradient` before the optimizer uses
            it, `validation` before a batch of the validation at this step.
        batch: of the validation, from 0.
    """

    def __init__(self, step: int, what: Callable[[Trainer, Any], None], hook: str = "train", batch: int = 0) -> None:
        self.step, self.what, self.hook, self.batch = step, what, hook, batch

    def _look(self, hook: str, trainer: Trainer, module: Any) -> None:
        if hook == self.hook and not trainer.sanity_checking and trainer.global_step == self.step:
            self.step = -1
            self.what(trainer, module)

    def on_train_batch_start(self, trainer: Trainer, pl_module: Any, *_: Any) -> None:
        self._look("train", trainer, pl_module)

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, *_: Any) -> None:
        self._look("step", trainer, pl_module)

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: Any, optimizer: Any) -> None:
        self._look("gradient", trainer, pl_module)

    def on_validation_batch_start(self, trainer: Trainer, pl_module: Any, batch: Any, batch_idx: int, *_: Any) -> None:
        if batch_idx == self.batch:
            self._look("validation", trainer, pl_module)


class OneBadImage(DrawDataset):
    """The images of another data set, one pixel of one of them `value`.

    Args:
        images: whose samples begin with the image.
        bad: which of them.
        value: such as NaN.
    """

    def __init__(self, images: DrawDataset, bad: int, value: float) -> None:
        self.images, self.bad, self.value = images, bad, value

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, draw: Draw) -> Any:
        image, *rest = self.images[draw]
        image[1, 2, 3] = self.value if draw.index == self.bad else image[1, 2, 3]
        return (image, *rest)


def losses(run: Path) -> dict[int, str]:
    """Each step's loss as it was written, digit for digit."""
    return {int(row["step"]): row["loss"] for row in text_rows(run / "train.csv")}


def state(file: Path) -> dict[str, Any]:
    """A checkpoint."""
    found: dict[str, Any] = torch.load(file, weights_only=True)
    return found


def weights(file: Path) -> dict[str, torch.Tensor]:
    """The parameters of a checkpoint, by name."""
    found: dict[str, torch.Tensor] = state(file)["state_dict"]
    return found


def same_weights(a: Path, b: Path) -> None:
    """Asserts that two checkpoints hold the same parameters, bit for bit."""
    one, two = weights(a), weights(b)
    assert one.keys() == two.keys()
    for name in one:
        torch.testing.assert_close(one[name], two[name], rtol=0, atol=0, msg=name)


def environment() -> dict[str, str]:
    """This process's environment, without what a launcher or another test left there."""
    left_out = (FOLDER, "LOCAL_RANK", "MASTER_PORT", "NODE_RANK", "WORLD_SIZE")
    return {key: value for key, value in os.environ.items() if key not in left_out} | {"OMP_NUM_THREADS": "1"}


def error_line(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """Runs a command that must fail as a user's error, and returns its one line."""
    assert main(words) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1, lines
    return lines[0]
