"""Bytes of what a device holds between steps: parameters, gradients, optimizer state, average."""

from collections.abc import Iterable
from dataclasses import dataclass, fields
from typing import Literal

from torch import Tensor, nn

from maekit.base.model import TransferModel

Strategy = Literal["one", "ddp", "fsdp2"]
STEP_BYTES = 4  # AdamW's own count of steps, float32, one for each parameter
COPIES = {"adamw": 2, "lars": 1}  # tensors of a parameter's size: two moments, or momentum


@dataclass(frozen=True)
class State:
    """Bytes on the device that holds the most.

    Attributes:
        trained: parameters that are trained.
        frozen: parameters that are not.
        buffers: of the model, such as BatchNorm's statistics.
        gradients: of trained parameters; DDP's buckets are these (gradient_as_bucket_view).
        optimizer: moments and steps.
        average: of trained parameters and floating-point buffers, with `--model.ema_decay`.
        gathered: whole parameters and gradients that FSDP2 makes of shards: the root's and two blocks' parameters (one
            is prefetched), and the gradients of the largest unit.
        evaluated: the whole copy of the weights that an evaluation under FSDP2 makes in the place of `gathered`; not in
            the total, since training does not hold it.
    """

    trained: int
    frozen: int
    buffers: int
    gradients: int
    optimizer: int
    average: int
    gathered: int = 0
    evaluated: int = 0

    @property
    def total(self) -> int:
        """The sum of what is held in training."""
        return sum(int(getattr(self, field.name)) for field in fields(self)) - self.evaluated


def state_of(model: TransferModel, optimizer: str, *, average: bool, strategy: Strategy, devices: int) -> State:
    """Returns the bytes of a model, on any device or on the meta device.

    Args:
        model: the task's model.
        optimizer: `adamw` or `lars`.
        average: whether the weights are averaged.
        strategy: FSDP2 shards each parameter along its first dimension, which it pads to whole shares.
        devices: that work together.
    """
    parts = devices if strategy == "fsdp2" else 1
    parameters = list(model.parameters())
    trained = [parameter for parameter in parameters if parameter.requires_grad]
    share = sum(_shard(parameter, parts) for parameter in trained)
    floating = sum(_whole(buffer) for buffer in saved_buffers(model) if buffer.is_floating_point())
    return State(
        trained=share,
        frozen=sum(_shard(parameter, parts) for parameter in parameters if not parameter.requires_grad),
        buffers=sum(map(_whole, model.buffers())),
        gradients=share,
        optimizer=COPIES[optimizer] * share + (STEP_BYTES * len(trained) if optimizer == "adamw" else 0),
        average=share + floating if average else 0,
        gathered=_gathered(model) if parts > 1 else 0,
        evaluated=_sum(parameters) if strategy == "fsdp2" else 0,
    )


def saved_buffers(model: nn.Module) -> list[Tensor]:
    """Returns the buffers that a checkpoint holds."""
    own = {id(parameter) for parameter in model.parameters()}
    return [tensor for tensor in model.state_dict(keep_vars=True).values() if id(tensor) not in own]


def _gathered(model: TransferModel) -> int:
    blocks = [list(module.parameters()) for module in model.sharded_units()]
    within = {id(parameter) for block in blocks for parameter in block}
    root = [parameter for parameter in model.parameters() if id(parameter) not in within]
    gradients = [sum(_whole(p) for p in unit if p.requires_grad) for unit in (root, *blocks)]
    return _sum(root) + 2 * max(map(_sum, blocks), default=0) + max(gradients)


def _sum(tensors: Iterable[Tensor]) -> int:
    return sum(map(_whole, tensors))


def _whole(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size()


def _shard(tensor: Tensor, parts: int) -> int:
    """Bytes of the first of `parts` shares along the first dimension; a scalar is not cut."""
    if parts == 1 or tensor.ndim == 0:
        return _whole(tensor)
    rows = -(-tensor.shape[0] // parts)
    return rows * (tensor.numel() // max(tensor.shape[0], 1)) * tensor.element_size()
