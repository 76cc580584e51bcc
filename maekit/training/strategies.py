"""How the processes of a run work together: DDP, or FSDP2, which shards parameters, gradients and optimizer state."""

import copy
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from lightning.pytorch import Trainer
from lightning.pytorch.core.optimizer import LightningOptimizer
from lightning.pytorch.strategies import DDPStrategy, ModelParallelStrategy, Strategy
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.optim import Optimizer

from maekit.base.model import TransferModel
from maekit.training.run_module import CheckpointDict, run_module
from maekit.training.shards import copied, gathered, whole

if TYPE_CHECKING:
    from torch.distributed.fsdp import FSDPModule


class Sharded(ModelParallelStrategy):
    """FSDP2: each process keeps its part of every parameter, gradient and optimizer state.

    Each transformer block is gathered while it runs, and then freed. Parameters stay named tensors (DTensors) of their
    full shape, so layer decay's groups are those of DDP. Checkpoints are one plain file with DDP's names and tensors,
    made by gathering tensor after tensor; the first process writes it. Evaluations and pictures run on a whole copy in
    each process, since forward passes of processes differ in number there.

    Args:
        timeout: how long processes wait for each other.
        sync_batchnorm: make BatchNorm a SyncBatchNorm before sharding, which Lightning's strategy leaves undone.

    Attributes:
        evaluated: the whole copy; None before the model is sharded.
    """

    lightning_restore_optimizer = True  # as with DDP: after on_load_checkpoint, which re-orders its groups
    restore_checkpoint_after_setup = False  # as with DDP: before on_fit_start

    def __init__(self, timeout: timedelta, *, sync_batchnorm: bool = False) -> None:
        super().__init__(tensor_parallel_size=1, save_distributed_checkpoint=False, timeout=timeout)
        self.sync_batchnorm = sync_batchnorm
        self.evaluated: WholeCopy | None = None
        self._root: FSDPModule | None = None

    def setup_environment(self) -> None:
        """Starts the process group, with all processes in one group that shards."""
        self._data_parallel_size = self.num_nodes * self.num_processes  # Lightning's "auto" would shard nothing
        super().setup_environment()

    def shard(self, model: TransferModel) -> None:
        """Shards a model over all processes, in place: each block, then the rest."""
        self.evaluated = WholeCopy(model)
        if self.sync_batchnorm:
            synchronise_batch_norm(model)
        self._root = shard_model(model, self.device_mesh["data_parallel"])

    @contextmanager
    def block_backward_sync(self) -> Iterator[None]:
        """Keeps gradients unreduced in a device batch that is not the last one of its step, as DDP does."""
        if self._root is None:
            yield
            return
        self._root.set_requires_gradient_sync(False)
        try:
            yield
        finally:
            self._root.set_requires_gradient_sync(True)

    def on_validation_start(self) -> None:
        """Gathers the weights that are evaluated, after callbacks have exchanged them."""
        if self.evaluated is not None:
            self.evaluated.gather()

    def on_validation_end(self) -> None:
        """Frees the whole copy."""
        if self.evaluated is not None:
            self.evaluated.free()

    def lightning_module_state_dict(self) -> dict[str, Any]:
        """Returns the whole state dict on the first process, and an empty one on the others; all must call it."""
        assert self.lightning_module is not None
        state = self.lightning_module.state_dict()
        whole_tensors = gathered(state, keep=self.is_global_zero)
        if not self.is_global_zero:
            return {}
        for name, tensor in whole_tensors.items():
            state[name] = tensor  # in place: its `_metadata` belongs to it
        return state

    def load_model_state_dict(self, checkpoint: Mapping[str, Any], strict: bool = True) -> None:
        """Loads whole weights, each process its part of them."""
        assert self.lightning_module is not None
        own = self.lightning_module.state_dict()
        saved = checkpoint["state_dict"]
        parts = {name: copied_if_same(tensor, own.get(name)) for name, tensor in saved.items()}
        self.lightning_module.load_state_dict(parts, strict=strict)

    def optimizer_state(self, optimizer: Optimizer) -> dict[str, Any]:
        """Returns the whole state dict on the first process, numbered as ever, and an empty one on the others."""
        plain = optimizer.optimizer if isinstance(optimizer, LightningOptimizer) else optimizer
        saved = plain.state_dict()
        state = {number: gathered(kept, keep=self.is_global_zero) for number, kept in saved["state"].items()}
        return {**saved, "state": state} if self.is_global_zero else {}

    def load_optimizer_state_dict(self, checkpoint: Mapping[str, Any]) -> None:
        """Loads the whole state of each optimizer, each process its part of it."""
        for optimizer, saved in zip(self.optimizers, checkpoint["optimizer_states"], strict=True):
            parameters = [p for group in optimizer.param_groups for p in group["params"]]
            state = {
                number: {key: copied_if_same(tensor, parameters[number]) for key, tensor in kept.items()}
                for number, kept in saved["state"].items()
            }
            optimizer.load_state_dict({**saved, "state": state})

    def load_checkpoint(self, checkpoint_path: str | Path, weights_only: bool | None = None) -> CheckpointDict:
        """Reads a checkpoint, and changes nothing yet: Lightning's own loads past `on_load_checkpoint`."""
        found: CheckpointDict = self.checkpoint_io.load_checkpoint(checkpoint_path)
        return found


class WholeCopy:
    """A copy of a model that holds all its weights while it is evaluated or shown, and no memory otherwise.

    Args:
        model: not sharded yet.

    Attributes:
        model: the copy, in evaluation mode; empty until `gather`.
    """

    def __init__(self, model: TransferModel) -> None:
        empty = {id(p): nn.Parameter(p.detach().new_empty(0), requires_grad=False) for p in model.parameters()}
        self.model = copy.deepcopy(model, dict(empty)).eval()
        self.source = model

    @torch.no_grad()
    def gather(self) -> None:
        """Takes the model's present weights, and the first process's buffers, as DDP has them; all must call it."""
        with torch.inference_mode(False):
            for mine, parameter in zip(self.model.parameters(), self.source.parameters(), strict=True):
                mine.data = whole(parameter)
            for own, buffer in zip(self.model.buffers(), self.source.buffers(), strict=True):
                own.data = buffer.detach().clone()
                if own.is_floating_point():
                    torch.distributed.broadcast(own.data, 0)

    def free(self) -> None:
        """Frees the weights."""
        for mine in self.model.parameters():
            mine.data = mine.data.new_empty(0)


def shard_model(model: TransferModel, mesh: DeviceMesh) -> "FSDPModule":
    """Shards a model in place, and returns it: each transformer block is a unit, and all else is the last one."""
    from torch.distributed.fsdp import FSDPModule, fully_shard, register_fsdp_forward_method  # takes half a second

    for unit in model.sharded_units():
        fully_shard(unit, mesh=mesh, reshard_after_forward=True)
    # not freed between forward and backward pass: what is no block is used at the end of the one and the start of the
    # other, and a task of one's own may call its parts one by one
    fully_shard(model, mesh=mesh, reshard_after_forward=False)
    assert isinstance(model, FSDPModule)
    register_fsdp_forward_method(model, "training_losses")  # else parameters would not be gathered in it
    return model


def synchronise_batch_norm(model: nn.Module) -> None:
    """Makes every BatchNorm of a model a SyncBatchNorm, in place."""
    nn.SyncBatchNorm.convert_sync_batchnorm(model)  # type: ignore[no-untyped-call]
    left = [type(part).__name__ for part in model.modules() if isinstance(part, nn.modules.batchnorm._BatchNorm)]
    assert set(left) <= {"SyncBatchNorm"}, f"not synchronised: {left}"


def copied_if_same(value: Any, like: Tensor | None) -> Any:
    """Returns this process's part of a whole tensor that has another's shape; anything else as it is."""
    same = isinstance(value, Tensor) and like is not None and value.shape == like.shape
    return copied(value, like) if same and like is not None else value


@contextmanager
def whole_model(trainer: Trainer) -> Iterator[TransferModel]:
    """Gives the run's model with all its weights, outside validations too; every process must enter it."""
    strategy = trainer.strategy
    if not isinstance(strategy, Sharded) or strategy.evaluated is None:
        yield run_module(trainer.lightning_module).model
        return
    strategy.evaluated.gather()
    try:
        yield strategy.evaluated.model
    finally:
        strategy.evaluated.free()


def make_strategy(name: str, processes: int, timeout: timedelta, *, sync_batchnorm: bool) -> Strategy | str:
    """Returns the strategy of that name for Lightning's Trainer; `auto` is DDP where there are several processes.

    Args:
        name: `trainer.strategy`.
        processes: of the whole run.
        timeout: of `group_timeout`.
        sync_batchnorm: whether BatchNorm is synchronised; for fsdp2, since Lightning does it under DDP.
    """
    if name == "fsdp2":
        return Sharded(timeout, sync_batchnorm=sync_batchnorm)
    if name == "auto" and processes == 1:
        return name
    unused = name == "ddp_find_unused_parameters_true"
    # gradients are views of what is sent, which saves a copy of them; the graph is not static: detection's differs
    return DDPStrategy(timeout=timeout, find_unused_parameters=unused, gradient_as_bucket_view=True)
