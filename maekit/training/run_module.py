"""What callbacks may ask of the LightningModule of a run, so that they need not import it."""

from abc import abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeAlias

from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from maekit.base.data import RunData
from maekit.base.evaluation.image_records import ImageRecords
from maekit.base.model import TransferModel
from maekit.optim.batch_plan import BatchPlan
from maekit.optim.groups import TorchGroup

# Lightning's: state_dict, optimizer_states, lr_schedulers, loops, callbacks, global_step; and our card under `maekit`.
CheckpointDict: TypeAlias = dict[str, Any]


class RunModule(LightningModule):
    """The interface between a run's callbacks and `TransferModule`, its one subclass.

    Attributes:
        model: the task's model.
        losses: the model's training losses of a batch, eager or compiled.
        data: what it is trained and validated on.
        plan: how the total batch is divided into devices, device batch and accumulation.
        steps_per_epoch: optimizer steps of an epoch.
        card: metadata of the checkpoints.
        nan_step: where a step is kept whose loss is not finite; None keeps none.
        table: lines of the last validation, such as one for each class; empty where the task prints none.
        results: contents of the last validation's JSON files, by file name.
        records: what the last validation found of each image; None where the task keeps nothing of them.
        gradient_norm: L2 norm over all gradients of the last optimizer step, before clipping; a scalar on the device.
    """

    model: TransferModel
    losses: Callable[[Any], dict[str, Tensor]]
    data: RunData
    plan: BatchPlan
    steps_per_epoch: int
    card: Mapping[str, object]
    nan_step: Path | None
    table: list[str]
    results: dict[str, object]
    records: ImageRecords | None
    gradient_norm: Tensor

    @property
    @abstractmethod
    def evaluated(self) -> TransferModel:
        """The model to validate and to show: `model`, or a copy of it where `model` is sharded over the processes."""

    @abstractmethod
    def total_steps(self) -> int:
        """Returns the optimizer steps of the whole run."""

    @abstractmethod
    def is_whole(self) -> bool:
        """Returns whether weights, statistics and optimizer all belong to `global_step`, and so are worth saving."""

    @abstractmethod
    def may_wait(self) -> bool:
        """Returns whether the host may wait for the device in this step; the same in every process."""

    @abstractmethod
    def require_finite(self) -> None:
        """Stops every process of a run, with a NotFiniteError, if a loss or a gradient was not finite."""

    @abstractmethod
    def drawn_again(self, step: int, place: int) -> tuple[object, Mapping[str, Any]]:
        """Returns a device batch of this process as a step had it, drawn, and the generators' states before its loss.

        Args:
            step: optimizer steps done before it.
            place: the device batch of this step, from 0.
        """

    @abstractmethod
    def is_frozen(self) -> bool:
        """Returns whether the weights stay those of an earlier step, since a NaN was found and not yet reported."""

    @abstractmethod
    def data_seconds(self) -> float:
        """Returns the seconds that training has waited for its batches in this session."""

    @abstractmethod
    def optimizer_groups(self) -> list[TorchGroup]:
        """Returns the optimizer's own parameter groups, with their current lr and weight decay."""


def run_module(module: LightningModule) -> RunModule:
    """Returns the module that Lightning passes to a callback, as the one that maekit trains."""
    assert isinstance(module, RunModule), f"got a {type(module).__name__}, expected a TransferModule"
    return module


def callbacks_of(trainer: Trainer) -> list[Callback]:
    """Returns a Trainer's callbacks, which Lightning's types leave out."""
    callbacks: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]
    return callbacks
