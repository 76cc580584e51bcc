"""Two CPU processes train and measure a detector as one does: three validation images here, two there and padding."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from maekit.api import build
from maekit.cli import main
from maekit.runs.rows import text_rows
from tests.conftest import without_key_bias
from tests.detection.helpers import CASCADE, SMALL, own_data
from tests.helpers_run import environment
from tests.numeric_runs import MovedWeights, assert_same_run

# Everything is drawn and nothing is dropped, so that the processes' own generators make no difference.
STILL = ("--model.drop_path=0", "--model.mask_rcnn.rpn_batch=16384", "--model.mask_rcnn.roi_batch=4096")
# AdamW's first steps are as long for a gradient that rounding alone makes as for any other, whichever sign it has.
SMOOTH = ("--optim.optimizer=sgd", "--optim.momentum=0.9", "--optim.lr=0.01")


def launched(folder: Path, *flags: str) -> list[str]:
    """The lines that a command prints."""
    done = subprocess.run(
        [sys.executable, "-m", "maekit", *flags],
        cwd=folder, env=environment(), capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout.splitlines()


def outcome(run: Path) -> dict[str, torch.Tensor]:
    """The losses and the weights after them."""
    losses = [float(row["loss"]) for row in text_rows(run / "train.csv")]
    logged = {f"loss {number}": torch.tensor(loss) for number, loss in enumerate(losses)}
    return logged | without_key_bias(torch.load(run / "last.ckpt", weights_only=True)["state_dict"])


@pytest.mark.slow
@pytest.mark.parametrize("detector", ["mask", "cascade of boxes"])
def test_two_processes_equal_one(detector: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One takes the two images of a step after each other, two take them at once."""
    flags = ["--task", "coco_maskrcnn", "--recipe", "base", *SMALL, *STILL, *SMOOTH, *own_data(tmp_path / "data")]
    flags += ["--data.masks=false", *CASCADE] if "boxes" in detector else []
    flags += ["--data.device_batch_size=1"]
    assert main(["fit", *flags, "--trainer.max_steps=2", f"--run.folder={tmp_path / 'one'}"]) == 0
    launched(tmp_path, "fit", *flags, "--trainer.max_steps=2", "--run.folder=two", "--trainer.devices=2")
    one, two = (tmp_path / name / "coco_maskrcnn/base/0" for name in ("one", "two"))
    assert not (two.parent / "1").exists(), "the second process made a run of its own"
    values = dict(flag.removeprefix("--").split("=", 1) for flag in flags[4:])
    other = build("coco_maskrcnn", "base", values | {"trainer.max_steps": 2, "run.folder": str(tmp_path / "other")})
    other.fit(callbacks=[MovedWeights()])
    assert_same_run(*map(outcome, (two, one, tmp_path / "other/coco_maskrcnn/base/0")))
    images = [{r["image_id"] for r in json.loads((run / "coco_results.json").read_text())} for run in (one, two)]
    assert images[0] == images[1] == {106, 107, 108, 109, 110}
    capsys.readouterr()
    measure = ["validate", *flags, f"--ckpt_path={one / 'last.ckpt'}", "--json"]
    assert main(measure) == 0
    *table, metrics = capsys.readouterr().out.splitlines()
    assert json.loads(metrics)["box_AR100"] > 0
    printed = launched(tmp_path, *measure, "--trainer.devices=2")
    assert printed == [*table, metrics]
