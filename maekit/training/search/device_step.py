"""The forward and backward pass of one device batch as `fit` makes them, without Lightning's loops around them."""

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from lightning.fabric.utilities.apply_func import move_data_to_device
from torch import Tensor
from torch.optim import Optimizer

from maekit.base.data import RunData
from maekit.base.model import TransferModel
from maekit.data.loader import choose_workers, make_loader
from maekit.data.sampler import TrainSampler
from maekit.optim.batch_plan import BatchPlan
from maekit.optim.clip import clip_gradients, gradient_norms, total_norm
from maekit.system.generators import seed_generators
from maekit.system.hardware import auto_precision, autocast_of


class DeviceStep:
    """Computes gradients and updates of one process with the precision, clipping and draws of `fit`.

    Args:
        model: on `device`, in training mode.
        device: where it computes.
        trainer: the section `trainer` of the settings.
        seed: of the run; what a device batch draws comes from (seed, step, place, rank 0), as in `fit`.
        accumulation: device batches of an optimizer step.
    """

    def __init__(
        self, model: TransferModel, device: torch.device, trainer: Mapping[str, Any], *, seed: int, accumulation: int
    ) -> None:
        self.model, self.device, self.seed, self.accumulation = model, device, seed, accumulation
        self.precision = trainer["precision"] if trainer["precision"] != "auto" else auto_precision(device.type)
        self.clip, self.by_value = trainer["gradient_clip_val"], trainer["gradient_clip_algorithm"] == "value"
        self.scaler = torch.amp.GradScaler(device.type, enabled=self.precision == "16-mixed")
        self.parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]

    def backward(self, batch: Any, step: int, place: int) -> Tensor:
        """Adds the gradients of one device batch to those of its step; returns its loss, detached, on the device.

        Args:
            batch: as the loader gives it.
            step: optimizer steps done.
            place: of the device batch in its step, from 0.
        """
        seed_generators(self.seed, step, place, 0)
        with autocast_of(self.precision, self.device.type):
            moved = move_data_to_device(batch, self.device)
            loss = self.model.training_losses(self.model.drawn(moved))["loss"]
        torch.autograd.backward(self.scaler.scale(loss / self.accumulation))
        return loss.detach()

    def update(self, optimizer: Optimizer) -> Tensor:
        """Clips the gradients, takes the optimizer's step and frees them; returns their norm before, on the device."""
        self.scaler.unscale_(optimizer)
        grads = [parameter.grad for parameter in self.parameters if parameter.grad is not None]
        norm = total_norm(gradient_norms(grads))
        clip_gradients(grads, norm, self.clip, self.by_value)
        self.scaler.step(optimizer)
        self.scaler.update()
        optimizer.zero_grad(set_to_none=True)
        return norm


def training_steps(data: RunData, plan: BatchPlan, *, seed: int, pin: bool) -> Iterator[list[object]]:
    """Yields the device batches of each optimizer step of one process, without end, in the order of `fit`.

    Args:
        data: set up, with at least one total batch of training images.
        plan: how the total batch is made; of one device.
        seed: of the run.
        pin: page-locked memory, for faster copies to a CUDA device.
    """
    images, workers = data.train_dataset(seed), choose_workers(data.num_workers, 1)
    sampler = TrainSampler(
        len(images),
        total_batch=plan.total,
        device_batch=plan.device_batch,
        rank=0,
        world=1,
        seed=seed,
        weights=data.sample_weights(),
    )
    loader, epoch = make_loader(images, sampler, plan.device_batch, workers, pin, data.collate), 0
    while True:
        sampler.set_epoch(epoch)
        step: list[object] = []
        for batch in loader:
            step.append(batch)
            if len(step) == plan.accumulation:
                yield step
                step = []
        epoch += 1
