"""`layers.csv`: what it says of a run is so, and the run is the same with it and without."""

import math
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning.pytorch import Callback, Trainer
from torch import nn

from maekit.runs.rows import text_rows
from maekit.training.callbacks.examples import Examples
from maekit.training.callbacks.layers import (
    SAMPLE,
    LayerLog,
    gradient_norms,
    layers_of,
    loss_scale,
    sample,
    update_ratios,
)
from tests.helpers_run import same_weights, tiny

OPTIONS: dict[str, Any] = {
    "optim__layer_decay": 0.7, "model__drop_path": 0.3, "model__mixup": 0.8, "data__device_batch_size": 8,
    "trainer__gradient_clip_val": 0.01, "optim__warmup_epochs": 0,
}  # fmt: skip


class Beside(Callback):
    """Measures the same by itself: whole copies of the weights, and gradients as they are before clipping."""

    def __init__(self) -> None:
        self.rows: dict[tuple[int, int], tuple[float, float, float]] = {}

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: Any, optimizer: Any) -> None:
        self.groups = [{**group, "params": list(group["params"])} for group in optimizer.param_groups]
        self.old = {id(p): p.detach().double().clone() for group in self.groups for p in group["params"]}
        self.grads = {id(p): p.grad.double().clone() for group in self.groups for p in group["params"]}

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        if (batch_idx + 1) % pl_module.plan.accumulation:
            return
        for layer in {group["layer"] for group in self.groups}:
            parameters = [p for group in self.groups if group["layer"] == layer for p in group["params"]]
            (rate,) = {group["lr"] for group in self.groups if group["layer"] == layer}
            grad = torch.cat([self.grads[id(p)].flatten() for p in parameters]).norm()
            old = torch.cat([self.old[id(p)].flatten() for p in parameters])
            new = torch.cat([p.detach().double().flatten() for p in parameters])
            self.rows[trainer.global_step, layer] = rate, float(grad), float((new - old).norm() / old.norm())


def rows(folder: str | Path) -> dict[tuple[int, int], tuple[float, float, float]]:
    """Learning rate, gradient norm and update ratio by step and layer, each once."""
    read = text_rows(Path(folder) / "layers.csv")
    found = {
        (int(row["step"]), int(row["layer"])): (
            float(row["lr"]),
            float(row["grad_norm"]),
            float(row["update_ratio"]),
        )
        for row in read
    }
    assert len(found) == len(read)
    return found


def test_each_layer_is_measured_and_a_resumed_run_goes_on(tmp_path: Path) -> None:
    """Two device batches a step, gradients clipped to 0.01, drawn augmentations; the run is paused after 4 steps."""
    beside, options = Beside(), {**OPTIONS, "trainer__max_epochs": 2}
    whole = tiny(tmp_path / "whole", **options).fit(callbacks=[beside])["folder"]
    found = rows(whole)
    assert set(found) == {(step, layer) for step in range(1, 11) for layer in range(5)}
    assert set(found) == set(beside.rows)
    for place, numbers in found.items():
        assert numbers == pytest.approx(beside.rows[place], rel=1e-5), place
    assert min(grad for _, grad, _ in found.values()) > 0.01, "the gradient is the one before clipping"
    run = tiny(tmp_path / "parts", run__stop_at_step=4, **options).fit()["folder"]
    tiny(tmp_path / "parts", **options).fit(Path(run) / "last.ckpt")
    assert rows(run) == found


def test_a_run_is_bit_for_bit_the_same_without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights, optimizer, losses, and the generators after it: neither the log nor the examples draw or write."""

    def go(name: str) -> tuple[Path, list[Any]]:
        folder = tiny(tmp_path / name, trainer__max_epochs=1, model__ema_decay=0.5, **OPTIONS).fit()["folder"]
        return Path(folder), [random.getstate(), str(np.random.get_state()), torch.get_rng_state().tolist()]

    (one, drawn), hooks = go("with"), ("on_before_optimizer_step", "on_fit_end")
    assert (one / "layers.csv").is_file() and (one / "examples/examples.json").is_file()
    for callback, hook in zip((LayerLog, Examples), hooks, strict=True):
        monkeypatch.setattr(callback, hook, lambda *_: None)
    two, drawn_without = go("without")
    assert not (two / "layers.csv").exists() and not (two / "examples").exists()
    same_weights(one / "last.ckpt", two / "last.ckpt")
    same_weights(one / "best.ckpt", two / "best.ckpt")
    states = [torch.load(run / "last.ckpt", weights_only=True)["optimizer_states"][0]["state"] for run in (one, two)]
    assert len(states[0]) > 20
    torch.testing.assert_close(states[0], states[1], rtol=0, atol=0)
    assert [row["loss"] for row in text_rows(one / "train.csv")] == [
        row["loss"] for row in text_rows(two / "train.csv")
    ]
    assert drawn == drawn_without


def test_it_writes_where_train_csv_has_a_row(tmp_path: Path) -> None:
    run = Path(tiny(tmp_path, trainer__max_epochs=2, trainer__log_every_n_steps=4).fit()["folder"])
    steps = [row["step"] for row in text_rows(run / "train.csv")]
    assert steps == ["1", "4", "8"]
    assert list(dict.fromkeys(row["step"] for row in text_rows(run / "layers.csv"))) == steps


def test_frozen_layers_have_no_row(tmp_path: Path) -> None:
    session = tiny(tmp_path, trainer__max_steps=1)
    session.model.backbone.requires_grad_(False)
    assert {layer for _, layer in rows(session.fit()["folder"])} == {4}


def test_layers_by_hand() -> None:
    """3-4-5 gradients; a weight moved by a tenth of itself; weights of 0; a parameter that got no gradient."""
    weights = [nn.Parameter(torch.tensor(values)) for values in ([3.0, 4.0], [[2.0]], [0.0, 0.0], [1.0])]
    for weight, grad in zip(weights, ([3.0, 0.0], [[4.0]], [1e-3, 0.0], None), strict=True):
        weight.grad = None if grad is None else torch.tensor(grad)
    groups = [
        {"layer": 2, "lr": 0.5, "params": [weights[2]]}, {"layer": 1, "lr": 0.25, "params": [weights[0]]},
        {"layer": 1, "lr": 0.25, "params": [weights[1]]}, {"layer": 0, "lr": 0.125, "params": [weights[3]]},
    ]  # fmt: skip
    layers, rates = layers_of(groups)
    assert rates == {0: 0.125, 1: 0.25, 2: 0.5} and list(layers) == [0, 1, 2]
    assert gradient_norms(layers) == pytest.approx({0: 0, 1: 5, 2: 1e-3})
    before = {layer: [sample(p).clone() for p in parameters] for layer, parameters in layers.items()}
    with torch.no_grad():
        weights[0].mul_(1.1)
        weights[1].mul_(0.9)
    ratios = update_ratios(layers, before)
    assert ratios[0] == 0 and ratios[1] == pytest.approx(0.1) and np.isnan(ratios[2])


@pytest.mark.parametrize("shape", [(3072, 768), (768, 3, 16, 16), (1, 5_000_017), (65_536,), (7,), ()])
def test_a_sample_is_small_and_sees_every_column(shape: tuple[int, ...]) -> None:
    """2,359,296 elements make a step of 36, which would meet one column in twelve of 768."""
    elements = math.prod(shape)
    taken = sample(torch.arange(elements, dtype=torch.int32).reshape(shape))
    assert min(elements, SAMPLE // 2) <= len(taken) <= SAMPLE
    if len(shape) == 2 and shape[0] > 1:
        assert len(torch.unique(taken % shape[1])) == shape[1]


def test_a_large_tensors_ratio_is_close_and_counts_by_its_size() -> None:
    """A matrix of 786,432 moved by 1 %, beside a vector of 768 moved by 50 %."""
    generator = torch.Generator().manual_seed(0)
    large, small = (nn.Parameter(torch.randn(*shape, generator=generator)) for shape in ((1024, 768), (768,)))
    before = {0: [sample(p).clone() for p in (large, small)]}
    moves = [0.01 * torch.randn(large.shape, generator=generator), 0.5 * torch.randn(768, generator=generator)]
    with torch.no_grad():
        expected = torch.cat([m.flatten() for m in moves]).norm() / torch.cat([large.flatten(), small]).norm()
        for weight, move in zip((large, small), moves, strict=True):
            weight.add_(move)
    assert update_ratios({0: [large, small]}, before)[0] == pytest.approx(float(expected), rel=0.01)


@pytest.mark.parametrize(("fused", "expected"), [(True, 1024.0), (False, None)])
def test_gradients_that_the_optimizer_itself_unscales_are_unscaled(fused: bool, expected: float | None) -> None:
    """Half precision multiplies the loss; Lightning divides the gradients before the hook unless AdamW does it."""

    class Half:
        class precision_plugin:  # noqa: N801
            scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)

    optimizer = torch.optim.AdamW([nn.Parameter(torch.zeros(2))], fused=fused)
    trainer: Any = Half
    assert loss_scale(trainer, optimizer) == expected
