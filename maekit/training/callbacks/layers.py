"""Writes `layers.csv`: learning rate, gradient norm and relative update of each layer during a run."""

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor, nn
from torch.optim import Optimizer

from maekit.optim.groups import TorchGroup
from maekit.training.callbacks.record import Record
from maekit.training.callbacks.table_log import append_row
from maekit.training.run_module import run_module
from maekit.training.shards import is_sharded, local, summed

FILE = "layers.csv"
SAMPLE = 65_536  # elements of a tensor at most: a whole copy of a ViT-H would be 2.5 GB
Layers = dict[int, list[nn.Parameter]]


class LayerLog(Callback):
    """Writes a row for each layer at the steps at which `train.csv` gets a row. It changes nothing of the run.

    Columns: `step`; `layer`, 0 for the embeddings to num_blocks + 1 for the head and all else; `lr`, which the step
    used; `grad_norm`, the L2 norm over the layer's trained parameters of the whole gradient, accumulated and joined
    over the processes, before clipping; `update_ratio`, |weights after - before| / |weights before|, estimated from
    evenly spread elements of each tensor. What is not finite is left empty. Only the first process measures; with fsdp2
    each of them measures its part, and the first one writes.

    Args:
        folder: the run's folder.
        record: decides at which steps `train.csv` gets a row.
    """

    def __init__(self, folder: Path, record: Record) -> None:
        self.file = folder / FILE
        self.record = record
        self.layers: Layers = {}
        self.rates: dict[int, float] = {}
        self.norms: dict[int, float] = {}
        self.before: dict[int, list[Tensor]] = {}

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer) -> None:
        """Measures the gradients, and copies a sample of the weights before they change."""
        if not self.record.due(trainer.global_step + 1):
            return
        groups = run_module(pl_module).optimizer_groups()
        if not trainer.is_global_zero and not any(is_sharded(p) for group in groups for p in group["params"]):
            return
        self.layers, self.rates = layers_of(groups)
        scale = loss_scale(trainer, optimizer)
        divisor = 1.0 if scale is None else float(scale)
        self.norms = {layer: norm / divisor for layer, norm in gradient_norms(self.layers).items()}
        self.before = {layer: [sample(p).clone() for p in self.layers[layer]] for layer in self.layers}

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: object, batch: object, batch_idx: int
    ) -> None:
        """Writes the rows of a step that was measured."""
        if not self.before or (batch_idx + 1) % run_module(pl_module).plan.accumulation:
            return
        ratios = update_ratios(self.layers, self.before)
        self.before = {}
        if not trainer.is_global_zero:
            return
        for layer in self.layers:
            numbers = {"lr": self.rates[layer], "grad_norm": self.norms[layer], "update_ratio": ratios[layer]}
            rounded = {name: float(f"{value:.7g}") if math.isfinite(value) else "" for name, value in numbers.items()}
            append_row(self.file, {"step": trainer.global_step, "layer": layer, **rounded})


def loss_scale(trainer: Trainer, optimizer: Optimizer) -> Tensor | None:
    """Returns by how much gradients are too large, a scalar on their device; None for not at all.

    fp16's gradients are scaled, and a fused optimizer divides them itself.
    """
    scaler = getattr(trainer.precision_plugin, "scaler", None)
    if scaler is None or not getattr(optimizer, "_step_supports_amp_scaling", False):
        return None
    scale: Tensor = scaler.scale(torch.ones((), device=optimizer.param_groups[0]["params"][0].device))
    return scale


def layers_of(groups: Iterable[TorchGroup]) -> tuple[Layers, dict[int, float]]:
    """Returns the trained parameters of each layer, by rising layer, and the layers' learning rates.

    Args:
        groups: the optimizer's, see maekit.optim.groups.
    """
    layers: Layers = {}
    rates: dict[int, float] = {}
    for group in sorted(groups, key=lambda group: int(group["layer"])):
        layers.setdefault(group["layer"], []).extend(group["params"])
        rates[group["layer"]] = float(group["lr"])
    return layers, rates


@torch.no_grad()
def gradient_norms(layers: Layers) -> dict[int, float]:
    """Returns the L2 norm of each layer's gradient; 0 where it has none."""
    sums = []
    for parameters in layers.values():
        grads = [local(p.grad) for p in parameters if p.grad is not None]
        norms = torch._foreach_norm(grads, 2.0, torch.float32) if grads else []
        sums.append(_joined_squares(norms, parameters[0].device))
    squares = summed(torch.stack(sums), sharded=_sharded(layers))
    return dict(zip(layers, squares.sqrt().tolist(), strict=True))


@torch.no_grad()
def update_ratios(layers: Layers, before: Mapping[int, Sequence[Tensor]]) -> dict[int, float]:
    """Returns |after - before| / |before| of each layer; nan where all weights were 0.

    A tensor's sample counts as much as the tensor has elements.

    Args:
        layers: parameters after the step.
        before: `sample` of each before it.
    """
    pairs = []
    for layer, parameters in layers.items():
        old = before[layer]
        weights = [math.sqrt(local(p).numel() / max(part.numel(), 1)) for p, part in zip(parameters, old, strict=True)]
        moved = torch._foreach_sub([sample(p) for p in parameters], list(old))
        sizes = [
            torch._foreach_mul(torch._foreach_norm(part, 2.0, torch.float32), weights) for part in (moved, list(old))
        ]
        pairs.append(torch.stack([_joined_squares(size, parameters[0].device) for size in sizes]))
    moves, weights_squared = summed(torch.stack(pairs), sharded=_sharded(layers)).unbind(1)
    return dict(zip(layers, (moves / weights_squared).sqrt().tolist(), strict=True))


def sample(weight: Tensor) -> Tensor:
    """Returns a view of at most 65,536 evenly spread elements of a tensor, always the same ones; of a shard if sharded.

    The step between two shares no factor with the length of a row: otherwise only some columns would be seen.
    """
    weight = local(weight.detach())
    flat = weight.reshape(-1)
    step = max(math.ceil(flat.numel() / SAMPLE), 1)
    row = weight.shape[-1] if weight.ndim > 1 else 1
    while math.gcd(step, row) > 1:
        step += 1
    return flat[::step]


def _sharded(layers: Layers) -> bool:
    return any(is_sharded(p) for parameters in layers.values() for p in parameters)


def _joined_squares(norms: Sequence[Tensor], device: torch.device) -> Tensor:
    return torch.stack([norm.to(device) for norm in norms]).square().sum() if norms else torch.zeros((), device=device)
