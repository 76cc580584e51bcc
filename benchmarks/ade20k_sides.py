"""One model on two sides: maekit's `ade20k_upernet --recipe base`, and mmsegmentation's own modules."""

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ade20k_peer
import torch
from torch import Tensor

from maekit.base.spec import DataSpec
from maekit.optim.settings import Optimisation
from maekit.recipes.recipe import load_recipe
from maekit.recipes.settings import resolve
from maekit.recipes.tasks import find_task
from maekit.segmentation.data.dataset import SegBatch

CLASSES = 150
Losses = dict[str, Tensor]


@dataclass
class Side:
    """One implementation.

    Attributes:
        model: what is trained and evaluated.
        optimizer: its own.
        losses: of the batch; `loss` is their weighted sum.
        logits: of crops [B, 3, H, W], at their size.
        labels: of an image [3, H, W], at its size, in sliding windows.
        precision: bf16 or fp32.
    """

    model: torch.nn.Module
    optimizer: torch.optim.Optimizer
    losses: Callable[[], Losses]
    logits: Callable[[Tensor], Tensor]
    labels: Callable[[Tensor], Tensor]
    precision: str

    def step(self) -> dict[str, float]:
        """Forward, losses, backward, AdamW; returns the losses."""
        self.model.train()
        with self.autocast():
            found = self.losses()
        found["loss"].backward()
        self.optimizer.step()
        self.optimizer.zero_grad()
        return {name: value.item() for name, value in found.items()}

    def evaluate(self, call: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
        """`logits` or `labels` without gradients."""
        self.model.eval()
        with self.autocast(), torch.no_grad():
            return call(images)

    def autocast(self) -> torch.autocast:
        """The precision asked for."""
        return torch.autocast("cpu", torch.bfloat16, enabled=self.precision == "bf16")


def make_batch(size: int, batch: int) -> SegBatch:
    """Noise, with labels in squares of 32 px and a tenth of the pixels ignored."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(batch, 3, size, size, generator=generator)
    coarse = torch.randint(CLASSES, (batch, size // 32, size // 32), generator=generator)
    labels = coarse.repeat_interleave(32, 1).repeat_interleave(32, 2)
    labels[torch.rand(labels.shape, generator=generator) < 0.1] = 255
    return SegBatch(images, labels, torch.arange(batch))


def maekit_side(args: argparse.Namespace, batch: SegBatch, weights: Path | None) -> Side:
    """maekit's side, from a file of weights or none."""
    task = find_task("ade20k_upernet")
    stacked, module = load_recipe(task, "base"), task.load()
    flags = [f"--model.weights={weights or 'none'}", f"--model.drop_path={args.drop_path}", "--model.dropout=0"]
    values = resolve(stacked, module, flags, training=False).values
    model: Any = module.Model.build(DataSpec(tuple(map(str, range(CLASSES))), (512, 512)), values["model"])
    if weights:
        report = model.load_start(complete=True)
        assert report.coverage == 1.0 and not report.new, report.lines()
    optimizer = Optimisation(**values["optim"]).make_optimizer(
        model, model.backbone, values["data"]["total_batch_size"]
    )
    size = lambda image: (image.shape[1], image.shape[2])  # noqa: E731
    return Side(
        model, optimizer, lambda: dict(model.training_losses(batch)), model,
        lambda image: model.labels(image, size(image)), args.precision,
    )  # fmt: skip


def mmsegmentation_side(args: argparse.Namespace, batch: SegBatch, weights: Path | None) -> Side:
    """mmsegmentation's side; writes its weights to the file, if one is given."""
    model, optimizer = ade20k_peer.build(args.drop_path)
    if weights:
        torch.save({"state_dict": model.state_dict()}, weights)
    return Side(
        model, optimizer, lambda: ade20k_peer.losses(model, batch.image, batch.label),
        lambda crops: model.encode_decode(crops, [{"img_shape": crops.shape[2:]}]),
        lambda image: ade20k_peer.labels(model, image), args.precision,
    )  # fmt: skip


SIDES = {"maekit": maekit_side, "mmsegmentation": mmsegmentation_side}
