"""A DINOv2-like and a DINOv3-like ViT, from files as their authors save them, through four tasks and every command."""

from pathlib import Path
from typing import Any

import maekit
from maekit.recipes.overrides import as_flags
from tests.conftest import few_digits
from tests.helpers_backbones import DINOV2, DINOV3, FILES
from tests.helpers_families import few_labelled, few_objects
from tests.helpers_run import losses, same_weights, weights

KINDS = [DINOV2, DINOV3]
COMMON: dict[str, Any] = {
    "trainer.max_steps": 4, "trainer.log_every_n_steps": 1, "trainer.precision": "32-true", "data.num_workers": 0,
    "trainer.limit_val_batches": 1, "optim.warmup_steps": 0, "optim.warmup_epochs": None,
}  # fmt: skip
TASKS = ["imagenet_linprobe", "imagenet_finetune", "ade20k_linear", "ade20k_upernet", "coco_maskrcnn"]


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
