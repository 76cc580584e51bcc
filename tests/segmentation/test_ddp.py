"""Two CPU processes measure a checkpoint as one does, to the last digit, and train with a frozen backbone."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from maekit.cli import main
from maekit.data.digit_scenes import ADE_FORM, scenes_root
from maekit.weights.get.find import find_weights
from tests.helpers_run import environment

SMALL = (
    "--model.backbone=vit_test_patch8", "--model.weights=none", "--model.taps=[0,1,1,2]", "--model.head_channels=24",
    "--data.num_workers=0", "--data.reduce_zero_label=true", "--data.allow_empty=true",
    "--data.device_batch_size=2", "--data.total_batch_size=2", "--optim.lr=1e-4", "--trainer.accelerator=cpu",
)  # fmt: skip
NUM_VAL = 5


def few_scenes(folder: Path) -> Path:
    """Two training scenes, and five validation scenes of five sizes."""
    root = folder / "scenes"
    for split, count in zip(ADE_FORM.splits, (2, NUM_VAL), strict=True):
        for part in ("images", ADE_FORM.labels):
            (root / part / split).mkdir(parents=True)
            for number, file in enumerate(sorted((scenes_root(ADE_FORM) / part / split).iterdir())[:count]):
                with Image.open(file) as image:
                    image.crop((0, 0, 128 - 9 * number, 100 + 5 * number)).save(root / part / split / file.name)
    (root / "classes.txt").write_text((scenes_root(ADE_FORM) / "classes.txt").read_text())
    assert len(list((root / "images" / ADE_FORM.splits[1]).iterdir())) == NUM_VAL
    return root


def checkpoint(run: Path) -> Path:
    """The run's weights with another classifier, so that many classes are predicted."""
    path = run / "best.ckpt"
    content = torch.load(path, weights_only=True)
    for name, tensor in content["state_dict"].items():
        if "decode.conv_seg" in name:
            tensor.copy_(torch.randn(tensor.shape, generator=torch.Generator().manual_seed(0)))
    torch.save(content, run / "other.ckpt")
    return run / "other.ckpt"


@pytest.mark.slow
def test_two_processes_measure_what_one_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    flags = ["--task", "ade20k_upernet", "--recipe", "smoke", *SMALL, f"--data.root={few_scenes(tmp_path)}"]
    assert main(["fit", *flags, "--trainer.max_steps=1"]) == 0
    path = checkpoint(tmp_path / "runs/ade20k_upernet/smoke/0")
    measure = ["validate", *flags, f"--ckpt_path={path}", "--json"]
    capsys.readouterr()
    assert main(measure) == 0
    *table, metrics = capsys.readouterr().out.splitlines()
    assert 0 < json.loads(metrics)["mIoU"] < json.loads(metrics)["mAcc"] < 100
    done = subprocess.run(
        [sys.executable, "-m", "maekit", *measure, "--trainer.devices=2"],
        cwd=tmp_path, env=environment(), capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    printed = [line for line in done.stdout.splitlines() if not line.startswith("note ")]  # of BatchNorm on CPUs
    assert printed == [*table, metrics]


@pytest.mark.slow
def test_two_processes_train_a_linear_head_on_a_frozen_backbone(tmp_path: Path) -> None:
    flags = [
        "--task=ade20k_linear", "--recipe=smoke", f"--data.root={few_scenes(tmp_path)}", "--model.freeze=backbone",
        "--model.weights=mae_vit_smoke", "--data.num_workers=0", "--data.reduce_zero_label=true",
        "--data.allow_empty=true", "--data.device_batch_size=1", "--data.total_batch_size=2", "--trainer.max_steps=2",
        "--trainer.accelerator=cpu", "--trainer.devices=2", "--optim.lr=1e-3",
    ]  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-m", "maekit", "fit", *flags],
        cwd=tmp_path, env=environment(), capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    run = tmp_path / "runs/ade20k_linear/smoke/0"
    assert json.loads((run / "metrics.json").read_text())["step"] == 2
    state = torch.load(run / "best.ckpt", weights_only=True)["state_dict"]
    start = load_file(find_weights("mae_vit_smoke"))
    backbone = {key.removeprefix("model.backbone."): value for key, value in state.items() if ".backbone." in key}
    assert all(value.equal(start[key]) for key, value in backbone.items() if key != "pos_embed")
    assert state["model.head.bn.running_mean"].any()
