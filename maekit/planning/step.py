"""One training step and one evaluation of a model, counted on fake tensors: bytes and arithmetic, no values."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._pytree import tree_leaves

from maekit.base.model import TransferModel
from maekit.planning.autograd import backward
from maekit.planning.blocks import Costs, stood_in
from maekit.planning.ledger import Ledger
from maekit.planning.target import Target


@dataclass(frozen=True)
class Step:
    """What a step of some images needs, in bytes and floating-point operations; see `Ledger`.

    Attributes:
        inputs: of the batch.
        saved: of activations saved for the backward pass.
        weight_copies: of autocast's copies of weights, which live as long.
        peak: at one moment, beyond the batch, parameters and gradients: saved activations, weight copies and what the
            operation of that moment works on.
        flops: of the forward and backward pass.
    """

    inputs: int
    saved: int
    weight_copies: int
    peak: int
    flops: int


@contextmanager
def fake(model: nn.Module) -> Iterator[None]:
    """Gives a model of the meta device fake tensors of the CPU, on which the code inside runs without values."""
    with FakeTensorMode(allow_non_fake_inputs=True):
        model.to_empty(device="cpu")
        yield


def count_step(model: TransferModel, images: int, target: Target) -> Step:
    """Counts a training step of `images` images, for a model inside `fake`."""
    model.train()
    for parameter in model.parameters():
        parameter.grad = torch.empty_like(parameter) if parameter.requires_grad else None
    batch = model.drawn(model.example_batch(images))
    given = [leaf for leaf in tree_leaves(batch) if isinstance(leaf, Tensor)]
    grads = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
    ledger = Ledger([*given, *model.parameters(), *model.buffers(), *grads], model.parameters())
    costs = Costs(target, ledger)
    with stood_in(model, costs), target.kernels() as kernels, ledger:
        with target.autocast():
            loss = model.planned_losses(batch)["loss"]
        saved, copies = ledger.saved(costs.copies), ledger.weight_copies(costs.copies)
        costs.copies.clear()
        ledger.release()
        backward(loss)
    inputs = sum(tensor.untyped_storage().nbytes() for tensor in given)
    return Step(inputs, saved, copies, ledger.peak, ledger.flops + kernels.flops + costs.flops)


def count_evaluation(model: TransferModel, images: int, target: Target) -> Step:
    """Counts an evaluation of `images` images, for a model inside `fake`; nothing is saved."""
    model.eval()
    ledger = Ledger([*model.parameters(), *model.buffers()], model.parameters())
    costs = Costs(target, ledger)
    with torch.no_grad(), stood_in(model, costs), target.kernels() as kernels, ledger, target.autocast():
        model.evaluate_example(images)
    return Step(0, 0, 0, ledger.peak, ledger.flops + kernels.flops + costs.flops)
