"""Adapters and frozen blocks in two processes, DDP and sharded, whose checkpoints hold what changed."""

from pathlib import Path
from typing import Any

import pytest
import torch

from maekit.backbone.sizes import load_size
from maekit.backbone.vit import ViT
from maekit.weights.state.state_file import read_state
from tests.conftest import few_digits
from tests.training.sharded_runs import fit, in_two, largest_difference

TASK = "imagenet_finetune"
VALUES: dict[str, Any] = {
    "model.backbone": "vit_test_patch8", "trainer.limit_val_batches": 1, "trainer.precision": "32-true",
    "trainer.max_steps": 3, "data.total_batch_size": 16, "data.device_batch_size": 4, "model.ema_decay": 0.5,
    "run.checkpoint_content": "changed",
}  # fmt: skip
KINDS: dict[str, dict[str, Any]] = {
    # of rank 3 one process has two rows of A, and the other one
    "lora": {"model.lora_rank": 3, "model.lora_dropout": 0.2},
    "blocks": {"model.tuned_blocks": 1, "model.gradient_checkpointing": True},
}


def both(rank: int, folder: Path) -> dict[str, Any]:
    """Each kind without a pause, and with one after two steps."""
    for kind, flags in KINDS.items():
        for strategy in ("ddp", "fsdp2"):
            values = VALUES | flags | {"model.weights": str(folder / "pre.pth"), "trainer.strategy": strategy}
            values |= {"data.root": str(few_digits())}
            place = folder / kind / strategy
            result = fit(place / "straight", TASK, values)
            assert "error" not in result, result
            fit(place / "paused", TASK, values | {"run.stop_at_step": 2})
            result = fit(place / "paused", TASK, values, resume=place / "paused" / TASK / "smoke/0")
            assert "error" not in result, result
    return {}


@pytest.mark.slow
def test_adapters_and_frozen_blocks_train_sharded_as_under_ddp_and_go_on(tmp_path: Path) -> None:
    torch.manual_seed(5)
    start = ViT(load_size("vit_test_patch8"), image_size=(32, 32)).state_dict()
    torch.save({"model": start}, tmp_path / "pre.pth")
    in_two(both, tmp_path)
    for kind in KINDS:
        ways = [(strategy, how) for strategy in ("ddp", "fsdp2") for how in ("straight", "paused")]
        runs = [tmp_path / kind / strategy / how / TASK / "smoke/0" for strategy, how in ways]
        for run in runs[1:]:
            assert largest_difference(runs[0] / "last.ckpt", run / "last.ckpt") < 1e-6, (kind, run)
        assert largest_difference(runs[0] / "best.ckpt", runs[2] / "best.ckpt") < 1e-6, kind
        kept = torch.load(runs[3] / "last.ckpt", weights_only=True)
        assert "model.backbone.patch_embed.proj.weight" not in kept["state_dict"]
        whole = read_state(runs[3] / "last.ckpt").tensors
        assert all(torch.equal(whole[name], start[name]) for name in ("pos_embed", "cls_token", "blocks.0.norm1.bias"))
