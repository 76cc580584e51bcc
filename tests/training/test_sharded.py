"""`--trainer.strategy fsdp2` in two CPU processes: the files and numbers of DDP, and a part of the memory."""

import os
import shutil
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import torch

import maekit
from maekit.base.checkpoint_card import read_card
from maekit.errors import UserError
from maekit.training.callbacks.checkpoint_io import AtomicCheckpointIO
from maekit.training.strategies import Sharded
from tests.conftest import few_digits
from tests.training.sharded_runs import Bytes, Kill, Norms, Spoil, fit, in_two, largest_difference, synchronised_types

SMALL: dict[str, Any] = {
    "model.backbone": "vit_test_patch8", "model.weights": "none", "trainer.limit_val_batches": 1,
    "trainer.precision": "32-true", "trainer.max_steps": 2, "trainer.log_every_n_steps": 1,
}  # fmt: skip
DIGITS: dict[str, Any] = SMALL | {"data.total_batch_size": 16, "data.device_batch_size": 4}  # accumulates twice
STILL = {"model.drop_path": 0, "model.mixup": 0, "model.cutmix": 0}
FAMILIES: dict[str, dict[str, Any]] = {
    "imagenet_finetune": DIGITS,
    "imagenet_partial": DIGITS | {"model.tuned_blocks": 1.0},
    "imagenet_linprobe": SMALL | {"data.total_batch_size": 16},
    "ade20k_upernet": SMALL
    | {"model.taps": [0, 1, 1, 2], "data.total_batch_size": 8, "data.device_batch_size": 2, "optim.lr": 1e-4},
    "coco_maskrcnn": SMALL
    | {
        "model.window": 3, "model.global_blocks": [1], "model.taps": [2], "model.pos_grid": [4, 4],
        "model.relative_position": "shared", "model.gradient_checkpointing": True,
        "model.pyramid_channels": 16, "model.mask_rcnn.head_channels": 16, "model.mask_rcnn.fc_channels": 32,
        "optim.lr": 1e-4, "data.image_size": 64, "data.total_batch_size": 4, "data.device_batch_size": 2,
    },
    "mae_pretrain": SMALL
    | {"model.decoder_width": 32, "model.decoder_depth": 2, "model.decoder_heads": 4, "data.total_batch_size": 16},
}  # fmt: skip


def digits(task: str) -> dict[str, Any]:
    return {"data.root": str(few_digits())} if task.startswith("imagenet") else {}


def of(folder: Path, strategy: str, task: str) -> Path:
    return folder / strategy / task / "smoke/0"


def one_family(rank: int, folder: Path) -> dict[str, Any]:
    """Fine-tuning with every callback, accumulation, an average and a norm to clip, sharded and not; a NaN."""
    values = DIGITS | digits("imagenet") | {"model.ema_decay": 0.5}
    found: dict[str, Any] = {}
    for strategy in ("ddp", "fsdp2"):
        size, norms = Bytes(), Norms()
        fit(folder / strategy, "imagenet_finetune", values | {"trainer.strategy": strategy}, size, norms)
        found[strategy] = {"bytes": size.found, "norms": norms.pairs, "rates": norms.rates}
    clipped = values | {"trainer.strategy": "fsdp2", "trainer.gradient_clip_val": 0.01, "trainer.max_steps": 4}
    found["nan"] = fit(folder / "nan", "imagenet_finetune", clipped, Spoil(2, rank=1))
    return found


@pytest.mark.slow
def test_a_sharded_run_has_the_files_of_ddp_and_half_the_memory(tmp_path: Path) -> None:
    found = in_two(one_family, tmp_path)
    task = "imagenet_finetune"
    ddp, sharded = (of(tmp_path, strategy, task) for strategy in ("ddp", "fsdp2"))
    everything = ("state_dict", "trained_weights", "optimizer_states")
    # AdamW's CPU kernel rounds the last elements of a tensor, which fill no vector, in another way: 1 ulp of a step
    assert largest_difference(ddp / "last.ckpt", sharded / "last.ckpt", everything) < 1e-9
    assert largest_difference(ddp / "best.ckpt", sharded / "best.ckpt") < 1e-9
    assert sorted(p.name for p in ddp.rglob("*") if "tfevents" not in p.name) == sorted(
        p.name for p in sharded.rglob("*") if "tfevents" not in p.name
    )
    for rank in (0, 1):
        size = found[rank]["fsdp2"]["bytes"]
        assert size["sharded"] and not found[rank]["ddp"]["bytes"]["sharded"]
        assert size["parameters"] <= size["whole"] / 2 + size["largest_unit"]
        for part in ("gradients", "optimizer"):
            assert size[part] < 0.55 * found[rank]["ddp"]["bytes"][part]
        assert len(found[rank]["fsdp2"]["norms"]) == 2 and found[rank]["fsdp2"]["rates"]
        assert all(run == pytest.approx(whole, rel=1e-5) for run, whole in found[rank]["fsdp2"]["norms"])
        assert all(live == row for live, row in found[rank]["fsdp2"]["rates"].values())
        assert "loss is nan at step 2" in found[rank]["nan"]["error"] and "process 1" in found[rank]["nan"]["error"]
        assert found[rank]["nan"]["seconds"] < 30
    assert found[0]["nan"]["error"] == found[1]["nan"]["error"]
    state = torch.load(sharded / "last.ckpt", weights_only=True)
    plain = maekit.build(task, "smoke", DIGITS | digits(task)).model
    plain.load_state_dict({name.removeprefix("model."): t for name, t in state["state_dict"].items()})


def test_a_checkpoint_that_would_run_code_is_refused(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.mkdir, (str(tmp_path / "ran"),)

    torch.save({"state_dict": {}, "optimizer_states": [Evil()]}, tmp_path / "last.ckpt")
    strategy = Sharded(timedelta(seconds=5))
    strategy.checkpoint_io = AtomicCheckpointIO()
    with pytest.raises(UserError):
        strategy.load_checkpoint(tmp_path / "last.ckpt")
    assert not (tmp_path / "ran").exists()


def all_families(rank: int, folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for task, values in FAMILIES.items():
        for strategy in ("ddp", "fsdp2"):
            size = Bytes()
            flags = values | digits(task) | {"trainer.strategy": strategy}
            result = fit(folder / strategy, task, flags, size)
            found[f"{task} {strategy}"] = size.found | {"result": result}
    half = DIGITS | digits("imagenet") | {"trainer.precision": "bf16-mixed", "model.gradient_checkpointing": True}
    for strategy in ("ddp", "fsdp2"):
        fit(folder / "half" / strategy, "imagenet_finetune", half | {"trainer.strategy": strategy})
    model = maekit.build("ade20k_upernet", "smoke", FAMILIES["ade20k_upernet"] | {"data.num_workers": 0}).model
    return found | {"synchronised": synchronised_types(model)}


@pytest.mark.slow
def test_every_family_trains_as_under_ddp(tmp_path: Path) -> None:
    found = in_two(all_families, tmp_path)
    for task in FAMILIES:
        last, best = (
            largest_difference(of(tmp_path, "ddp", task) / name, of(tmp_path, "fsdp2", task) / name)
            for name in ("last.ckpt", "best.ckpt")
        )
        assert max(last, best) < (1e-6 if task == "imagenet_linprobe" else 1e-9), task  # LARS takes norms of parts
        for rank in (0, 1):
            size = found[rank][f"{task} fsdp2"]
            assert size["parameters"] <= size["whole"] / 2 + size["largest_unit"]
        pictures = [sorted(p.name for p in of(tmp_path, s, task).rglob("*.??g")) for s in ("ddp", "fsdp2")]
        assert pictures[0] == pictures[1]
    ddp, sharded = (of(tmp_path / "half", s, "imagenet_finetune") / "last.ckpt" for s in ("ddp", "fsdp2"))
    assert largest_difference(ddp, sharded) <= 1e-6
    norms = found[0]["synchronised"]["norms"]
    assert norms and set(norms) == {"SyncBatchNorm"} and found[0]["synchronised"]["sharded"]


def saved_and_resumed(rank: int, folder: Path) -> dict[str, Any]:
    """Saves at step 2 of 4 under each strategy; resumes what either of them, or a single process, saved."""
    values = DIGITS | STILL | {"data.root": str(folder / "three"), "trainer.max_steps": 4, "model.ema_decay": 0.5}
    found: dict[str, Any] = {}
    for strategy in ("ddp", "fsdp2"):
        fit(folder / strategy, "imagenet_finetune", values | {"trainer.strategy": strategy, "run.stop_at_step": 2})
    distributed_copy(rank, folder)
    for saved in ("one", "ddp", "fsdp2"):
        for strategy in ("ddp", "fsdp2"):
            run = of(folder / f"{saved}-{strategy}", saved, "imagenet_finetune")
            flags = values | {"trainer.strategy": strategy}
            found[f"{saved}-{strategy}"] = fit(folder, "imagenet_finetune", flags, resume=run)
    return found


def distributed_copy(rank: int, folder: Path) -> None:
    """The first process copies the saved runs, one for each resume."""
    if rank == 0:
        for saved in ("one", "ddp", "fsdp2"):
            for strategy in ("one", "ddp", "fsdp2"):
                shutil.copytree(folder / saved, folder / f"{saved}-{strategy}" / saved)
    torch.distributed.barrier()


@pytest.mark.slow
def test_runs_go_on_under_any_strategy_and_number_of_processes(tmp_path: Path) -> None:
    """Three classes and an average: the last shards are smaller than the first."""
    for split in ("train", "val"):
        for place in sorted((few_digits() / split).iterdir())[:3]:
            shutil.copytree(place, tmp_path / "three" / split / place.name)
    values = DIGITS | STILL | {"data.root": str(tmp_path / "three"), "data.num_workers": 0, "model.ema_decay": 0.5}
    values |= {"trainer.max_steps": 4, "trainer.accelerator": "cpu", "run.folder": str(tmp_path / "one")}
    maekit.build("imagenet_finetune", "smoke", values | {"run.stop_at_step": 2}).fit()
    found = in_two(saved_and_resumed, tmp_path)
    assert not [result["error"] for result in found[0].values() if "error" in result]
    for saved in ("one", "ddp", "fsdp2"):
        run = of(tmp_path / f"{saved}-one", saved, "imagenet_finetune")
        maekit.build("imagenet_finetune", "smoke", values).fit(run)
    files = [
        of(tmp_path / f"{saved}-{strategy}", saved, "imagenet_finetune") / "last.ckpt"
        for saved in ("one", "ddp", "fsdp2")
        for strategy in ("one", "ddp", "fsdp2")
    ]
    assert [read_card(file).step for file in files] == [4] * 9
    for file in files[1:]:
        assert largest_difference(files[0], file, ("state_dict", "trained_weights")) <= 1e-6, file


def killed(rank: int, folder: Path) -> dict[str, Any]:
    seconds = float((folder / "seconds.txt").read_text())
    return fit(folder / "killed", "imagenet_finetune", FLAGS | digits("imagenet"), Kill(seconds + 0.1 * rank))


def gone_on_and_unbroken(rank: int, folder: Path) -> dict[str, Any]:
    run = folder / "killed/imagenet_finetune/smoke/0"
    fit(folder / "whole", "imagenet_finetune", FLAGS | digits("imagenet"))
    return fit(folder / "killed", "imagenet_finetune", FLAGS | digits("imagenet"), resume=run)


FLAGS: dict[str, Any] = DIGITS | {
    "trainer.strategy": "fsdp2", "trainer.max_steps": 20, "run.save_every_minutes": 0, "model.ema_decay": 0.9,
}  # fmt: skip


@pytest.mark.slow
def test_a_killed_run_goes_on_as_if_nothing_had_happened(tmp_path: Path) -> None:
    """More moments were tried by hand, see docs/sharding.md."""
    (tmp_path / "seconds.txt").write_text("1.0")
    with pytest.raises(Exception, match="SIGKILL"):
        in_two(killed, tmp_path)
    if not (tmp_path / "killed/imagenet_finetune/smoke/0/last.ckpt").is_file():
        pytest.skip("killed before the first step was saved, on a slow machine")
    in_two(gone_on_and_unbroken, tmp_path)
    whole, resumed = (tmp_path / kind / "imagenet_finetune/smoke/0/last.ckpt" for kind in ("whole", "killed"))
    assert largest_difference(whole, resumed, ("state_dict", "trained_weights", "optimizer_states")) == 0
