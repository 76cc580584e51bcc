"""`--trainer.gradient_clip_val` under every precision and optimizer: the norm against one in float64."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.plugins import MixedPrecision
from torch import Tensor, nn

import maekit
from maekit.optim.clip import clip_gradients, gradient_norms, total_norm
from maekit.runs.rows import text_rows
from tests.conftest import few_digits
from tests.helpers_run import tiny

LIMIT = 0.01  # below every norm here
SMALL: dict[str, Any] = {
    "model.backbone": "vit_test_patch8", "model.weights": "none", "data.num_workers": 0, "trainer.limit_val_batches": 1,
    "trainer.num_sanity_val_steps": 0,
}  # fmt: skip
DETECTOR: dict[str, Any] = {
    "model.window": 3, "model.global_blocks": [1], "model.taps": [2], "model.pos_grid": [4, 4],
    "model.pyramid_channels": 16, "model.mask_rcnn.head_channels": 16, "model.mask_rcnn.fc_channels": 32,
    "optim.lr": 1e-4, "data.image_size": 64, "data.total_batch_size": 2,
}  # fmt: skip
FAMILIES: dict[str, dict[str, Any]] = {
    "imagenet_finetune": {"data.total_batch_size": 16, "data.device_batch_size": 8},
    "imagenet_linprobe": {"data.total_batch_size": 16},  # LARS, which is not fused
    "ade20k_upernet": {"model.taps": [0, 1, 1, 2], "data.total_batch_size": 4, "optim.lr": 1e-4},
    "coco_maskrcnn": DETECTOR,
    "mae_pretrain": {"model.decoder_width": 32, "model.decoder_depth": 2, "model.decoder_heads": 4},
}


class Gradients(Callback):
    """Copies all gradients in float64, before they are clipped and as the optimizer used them."""

    def __init__(self) -> None:
        self.pairs: list[tuple[Tensor, Tensor]] = []

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: Any, optimizer: Any) -> None:
        self.before = flat_gradients(pl_module)

    def on_before_zero_grad(self, trainer: Trainer, pl_module: Any, optimizer: Any) -> None:
        if trainer.global_step:
            self.pairs.append((self.before, flat_gradients(pl_module)))


class Fp16(Callback):
    """Gives a run on a CPU fp16's loss scale, which Lightning uses on accelerators only."""

    def setup(self, trainer: Trainer, pl_module: Any, stage: str) -> None:
        trainer.strategy.precision_plugin = MixedPrecision("16-mixed", "cpu")

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: Any, optimizer: Any) -> None:
        plugin: Any = trainer.precision_plugin
        self.scale = float(plugin.scaler.get_scale())


def grads_of(parameters: Sequence[nn.Parameter]) -> list[Tensor]:
    return [p.grad for p in parameters if p.grad is not None]


def flat_gradients(module: nn.Module) -> Tensor:
    return torch.cat([p.grad.detach().double().flatten() for p in module.parameters() if p.grad is not None])


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed", "16-mixed"])
@pytest.mark.parametrize("task", FAMILIES)
def test_every_family_clips_under_every_precision(task: str, precision: str, tmp_path: Path) -> None:
    values = SMALL | FAMILIES[task] | {"run.folder": str(tmp_path), "trainer.max_steps": 2}
    values |= {"trainer.precision": precision, "trainer.gradient_clip_val": LIMIT, "trainer.accelerator": "cpu"}
    half = Fp16() if precision == "16-mixed" else None
    if half:
        values["trainer.precision"] = "32-true"
    if task.startswith("imagenet"):
        values["data.root"] = str(few_digits())
    seen = Gradients()
    maekit.build(task, "smoke", values).fit(callbacks=[half, seen] if half else [seen])
    before, after = seen.pairs[0]
    if half and task != "imagenet_linprobe":  # LARS gets them divided; a fused optimizer divides them itself
        assert half.scale > 1000
        before = before / half.scale
    assert float(before.norm()) > LIMIT
    (log,) = tmp_path.rglob("train.csv")
    assert float(text_rows(log)[0]["grad_norm"]) == pytest.approx(float(before.norm()), rel=1e-3)
    tolerance = 1e-5 if precision == "32-true" else 1e-3  # fp32 sums over up to a million elements
    assert float(after.norm()) == pytest.approx(LIMIT, rel=tolerance + 1e-6 / float(before.norm()))
    torch.testing.assert_close(after * (before.norm() / LIMIT), before, rtol=2e-3, atol=1e-12)


@pytest.mark.parametrize(("limit", "clipped"), [(1e9, False), (0.0, False), (None, False)])
def test_a_limit_above_the_norm_or_none_changes_nothing(limit: float | None, clipped: bool, tmp_path: Path) -> None:
    options: dict[str, Any] = {"trainer__max_steps": 2, "data__device_batch_size": 8}
    seen = Gradients()
    tiny(tmp_path, trainer__gradient_clip_val=limit, **options).fit(callbacks=[seen])
    assert torch.equal(*seen.pairs[0])


def test_values_are_clipped_by_value(tmp_path: Path) -> None:
    seen = Gradients()
    options: dict[str, Any] = {"trainer__precision": "bf16-mixed", "trainer__max_steps": 2}
    tiny(tmp_path, trainer__gradient_clip_val=1e-3, trainer__gradient_clip_algorithm="value", **options).fit(
        callbacks=[seen]
    )
    before, after = seen.pairs[0]
    assert float(before.abs().max()) > 1e-3
    assert torch.equal(after, before.clamp(-torch.tensor(1e-3).double(), torch.tensor(1e-3).double()).float().double())


@pytest.mark.parametrize("by_value", [False, True])
def test_scaled_gradients_are_clipped_to_the_scaled_limit(by_value: bool) -> None:
    """As fp16's loss scale leaves them for a fused optimizer, which divides by the scale itself."""
    generator = torch.Generator().manual_seed(0)
    true = [torch.randn(50, 7, generator=generator, dtype=torch.float64) for _ in range(3)]
    plain, scaled = ([nn.Parameter(torch.zeros(50, 7)) for _ in true] for _ in range(2))
    for parameters, scale in ((plain, None), (scaled, torch.tensor(65536.0))):
        for p, gradient in zip(parameters, true, strict=True):
            p.grad = (gradient * (1 if scale is None else scale)).float()
        clip_gradients(grads_of(parameters), total_norm(gradient_norms(grads_of(parameters))), 0.5, by_value, scale)
    for one, other in zip(plain, scaled, strict=True):
        assert one.grad is not None and other.grad is not None
        torch.testing.assert_close(other.grad / 65536, one.grad, rtol=1e-5, atol=1e-9)
    if not by_value:
        norm = math.sqrt(sum(float(p.grad.double().square().sum()) for p in plain if p.grad is not None))
        assert norm == pytest.approx(0.5, rel=1e-5)


def test_an_infinite_scaled_gradient_stays_one_for_the_scaler() -> None:
    """Clipping by an infinite norm would make zeros of it, and the step would be taken."""
    p = nn.Parameter(torch.zeros(3))
    p.grad = torch.tensor([1.0, float("inf"), 2.0])
    norm = total_norm(gradient_norms(grads_of([p])))
    clip_gradients(grads_of([p]), norm, 1.0, by_value=False, scale=torch.tensor(1024.0))
    assert bool(p.grad.isnan().all())
