"""A DINOv2-like and a DINOv3-like ViT, from files as their authors save them, through four tasks and every command."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

import maekit
from maekit.cli import main
from maekit.recipes.overrides import as_flags
from maekit.weights.state.backbone_of import backbones_of
from tests.conftest import few_digits
from tests.helpers_backbones import DINOV2, DINOV3, FILES, random_vit
from tests.helpers_families import few_labelled, few_objects
from tests.helpers_run import losses, same_weights, weights
from tests.numeric import assert_float64
from tests.training.sharded_runs import fit, in_two, largest_difference

KINDS = [DINOV2, DINOV3]
COMMON: dict[str, Any] = {
    "trainer.max_steps": 4, "trainer.log_every_n_steps": 1, "trainer.precision": "32-true", "data.num_workers": 0,
    "trainer.limit_val_batches": 1, "optim.warmup_steps": 0, "optim.warmup_epochs": None,
}  # fmt: skip
WITHOUT_A_PLACE = ("imagenet_linprobe", "imagenet_finetune", "ade20k_upernet", "coco_maskrcnn")  # heads, or other ViTs
TASKS = ["imagenet_linprobe", "ade20k_linear", "ade20k_upernet", "coco_maskrcnn"]


def values_of(task: str, kind: str, folder: Path) -> dict[str, Any]:
    """Settings of the smallest run of a task from a file of a kind."""
    folder.mkdir(exist_ok=True)
    values = COMMON | {"model.weights": FILES[kind](folder / "authors.pth"), "run.folder": folder / "runs"}
    if task.startswith("imagenet"):
        values |= {"data.root": few_digits(), "data.total_batch_size": 16, "data.device_batch_size": 8}
    elif task.startswith("ade20k"):
        values |= few_labelled(folder / "data") | {"data.total_batch_size": 2, "data.device_batch_size": 2}
        values |= {"optim.lr": 1e-3, "trainer.val_check_interval": 4}
    else:
        values |= few_objects(folder / "data") | {"data.device_batch_size": 1, "trainer.val_check_interval": 4}
        values["model.weights"] = folder / "authors.pth"
    keys = {
        "model.backbone",
        *(() if task != "ade20k_linear" else ("model.taps", "model.head_channels", "model.aux_channels")),
    }
    return {key: value for key, value in values.items() if key not in keys}


def flags_of(values: dict[str, Any]) -> list[str]:
    return as_flags(values)


@pytest.mark.numeric
@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("kind", KINDS)
def test_visible_patches_keep_their_places(kind: str) -> None:
    """Pre-training shows some patches in any order: each has the position, or the angles, of its own place."""
    vit, images = random_vit(kind).eval(), torch.randn(2, 3, 32, 48)
    order = torch.stack([torch.randperm(24), torch.randperm(24)])
    tokens, shown = vit(images).tokens, vit(images, visible=order).tokens
    expected = vit.patch_tokens(tokens).gather(1, order[..., None].expand(-1, -1, 48))
    assert_float64(vit.patch_tokens(shown), expected)
    assert_float64(shown[:, : vit.num_prefix], tokens[:, : vit.num_prefix])


@pytest.mark.parametrize("task", ["imagenet_finetune", "ade20k_linear"])
@pytest.mark.parametrize("kind", KINDS)
def test_every_parameter_is_in_one_layer_and_registers_in_the_first(
    task: str, kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = FILES[kind](tmp_path / "authors.pth")
    assert main(["lr-table", "--task", task, "--recipe", "smoke", "--model.weights", str(file), "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["parameters"]
    named = {row["name"]: row for row in rows}
    assert len(named) == len(rows)
    own = {f"backbone.{name}" for name, _ in random_vit(kind).named_parameters()}
    own -= {"backbone.norm.weight", "backbone.norm.bias"}  # where a head pools before its own norm
    assert own <= named.keys()
    for name, row in named.items():
        parts = name.split(".")
        if parts[1] in ("reg_token", "cls_token", "pos_embed", "patch_embed"):
            assert row["layer"] == 0
        if parts[1] == "blocks":
            assert row["layer"] == int(parts[2]) + 1
    decayed = {name: row["weight_decay"] > 0 for name, row in named.items()}
    alike = "backbone.reg_token", "backbone.cls_token", "backbone.blocks.0.gamma_1", "backbone.blocks.1.gamma_2"
    assert {decayed[name] for name in alike} == {task == "ade20k_linear"}  # whose recipe exempts nothing


def test_a_detector_leaves_registers_out(tmp_path: Path) -> None:
    session = maekit.build("coco_maskrcnn", "smoke", values_of("coco_maskrcnn", DINOV2, tmp_path))
    report = session.model.load_start(complete=False)
    assert report is not None and {"cls_token", "reg_token"} <= set(report.unused)
    assert report.coverage > 0.8


def test_rotary_augmentation_is_the_same_after_a_pause(tmp_path: Path) -> None:
    """Its draws come from (seed, step): not from how the process got there."""
    values = values_of("imagenet_finetune", DINOV3, tmp_path)
    straight = Path(maekit.build("imagenet_finetune", "smoke", values | {"run.name": "a"}).fit()["folder"])
    values |= {"run.name": "b"}
    maekit.build("imagenet_finetune", "smoke", values | {"run.stop_at_step": 2}).fit()
    paused = Path(maekit.build("imagenet_finetune", "smoke", values).fit(straight.parent / "b")["folder"])
    assert losses(straight) == losses(paused) and len(losses(straight)) == 4
    same_weights(straight / "last.ckpt", paused / "last.ckpt")
    still = {name: t for name, t in weights(straight / "last.ckpt").items() if name.endswith("attn.qkv.bias")}
    assert still and all(not t.chunk(3)[1].any() for t in still.values())  # keys have no bias, and get none


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("task", TASKS)
def test_a_task_trains_goes_on_validates_predicts_and_gives_its_weights(
    task: str, kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    values = values_of(task, kind, tmp_path) | {"model.ema_decay": 0.5}
    straight = Path(maekit.build(task, "smoke", values | {"run.name": "a"}).fit()["folder"])
    assert f"backbone {kind}, as {values['model.weights']} has it" in capsys.readouterr().out
    maekit.build(task, "smoke", values | {"run.name": "b", "run.stop_at_step": 2}).fit()
    paused = Path(maekit.build(task, "smoke", values).fit(straight.parent / "b")["folder"])
    assert losses(straight) == losses(paused) and len(losses(straight)) == 4
    same_weights(straight / "last.ckpt", paused / "last.ckpt")
    assert yaml.safe_load((straight / "config.yaml").read_text())["model"]["backbone"] == kind
    capsys.readouterr()
    assert main(["validate", "--ckpt_path", str(straight / "last.ckpt"), "--json"]) == 0
    measured = json.loads(capsys.readouterr().out.splitlines()[-1])
    kept = json.loads((straight / "metrics.json").read_text())["val"]
    assert {name: measured[name] for name in kept} == kept
    pictures = few_digits() if task.startswith("imagenet") else tmp_path / "data"
    image = next(path for path in sorted(pictures.rglob("*")) if path.suffix.lower() in (".jpg", ".jpeg", ".png"))
    said = ["--ckpt_path", str(straight), "--images", str(image), "--output", str(tmp_path / "out")]
    assert main(["predict", *said]) == 0
    assert main(["report", str(straight), "--output", str(tmp_path / "report")]) == 0
    assert kind in (tmp_path / "report/report.html").read_text()
    for to, out in (("hf", tmp_path / "hf"), ("timm", tmp_path / "timm.safetensors")):
        status = main(["weights", "convert", str(straight / "best.ckpt"), "--to", to, str(out)])
        lines = capsys.readouterr().err.splitlines()
        assert status == 0 or (status == 2 and len(lines) == 1), lines
        assert status == 0 or task in WITHOUT_A_PLACE, lines
        if status == 0:
            assert kind in backbones_of(out)


def in_both_strategies(rank: int, folder: Path) -> dict[str, Any]:
    """Two steps of each kind, sharded and not, with blocks that are computed again."""
    found: dict[str, Any] = {}
    for kind in KINDS:
        for strategy in ("ddp", "fsdp2"):
            values = COMMON | {"data.root": str(few_digits()), "data.total_batch_size": 16, "data.device_batch_size": 4}
            values |= {"model.backbone": kind, "model.weights": "none", "model.gradient_checkpointing": True}
            values |= {"trainer.strategy": strategy, "trainer.max_steps": 2}
            found[f"{kind} {strategy}"] = fit(folder / kind / strategy, "imagenet_finetune", values)
    return found


@pytest.mark.slow
def test_they_train_sharded_as_under_ddp(tmp_path: Path) -> None:
    found = in_two(in_both_strategies, tmp_path)
    assert not [result["error"] for result in found[0].values() if "error" in result]
    for kind in KINDS:
        ddp, sharded = (tmp_path / kind / s / "imagenet_finetune/smoke/0/last.ckpt" for s in ("ddp", "fsdp2"))
        assert largest_difference(ddp, sharded) < 1e-6, kind
