"""TransferModule: the one LightningModule. It trains any TransferModel on any data."""

import random
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import DataLoader, Sampler

from maekit.base.data import DrawDataset, RunData
from maekit.base.model import TransferModel
from maekit.base.spec import Draw
from maekit.data.loader import make_loader
from maekit.data.sampler import EvalSampler, TrainSampler
from maekit.errors import UserError
from maekit.optim.batch_plan import BatchPlan
from maekit.optim.clip import clip_gradients, gradient_norm
from maekit.optim.groups import TorchGroup
from maekit.optim.resume import OptimizerState, place_schedule, restore_order
from maekit.optim.settings import Optimisation
from maekit.training.callbacks.averaging import put_average, take_trained
from maekit.training.callbacks.checkpoints import forget_best
from maekit.training.callbacks.layers import loss_scale
from maekit.training.nan_guard import NotFiniteError, gradient_fault, loss_fault, raise_together
from maekit.training.progress_state import counters_at
from maekit.training.resume_changes import Resume
from maekit.training.run_module import CheckpointDict, RunModule

CARD = "maekit"


def steps_of(max_steps: int | None, max_epochs: int | None, steps_per_epoch: int) -> int:
    """Optimizer steps of a run that ends at the smaller of two limits; a limit that is none is None or below 1.

    Raises:
        UserError: both are none.
    """
    limits = [limit for limit in (max_steps or -1, (max_epochs or -1) * steps_per_epoch) if limit > 0]
    if not limits:
        raise UserError("the run has no end; give --trainer.max_epochs or --trainer.max_steps")
    return min(limits)


class TransferModule(RunModule):
    """A task's model and data, with the layer-decayed optimizer, the per-step schedule and the loaders.

    Args:
        model: backbone, head, loss and metrics.
        data: the data set, set up.
        optimisation: the optimizer and the schedule; None for a model that is only evaluated.
        plan: how the total batch is made of devices, device batch and accumulation.
        seed: randomness of a step comes from (seed, step, rank), of a sample from (seed, epoch, index).
        card: what a checkpoint says of itself: task, recipe, config, class names, input transform. Plain values.
    """

    def __init__(
        self,
        model: TransferModel,
        data: RunData,
        optimisation: Optimisation | None,
        *,
        plan: BatchPlan,
        seed: int,
        card: Mapping[str, object],
    ) -> None:
        super().__init__()
        self.model = model
        self.data = data
        self._optimisation = optimisation
        self.plan = plan
        self.seed = seed
        self.card = card
        self.losses: Callable[[object], dict[str, Tensor]] = model.training_losses  # or what it was compiled to
        self.metrics: Any = model.new_metrics()
        self.train_data = data.train_dataset(seed)
        self.steps_per_epoch = len(self.train_data) // plan.total
        self.table: list[str] = []  # of the last validation: each class, if the task has such a thing
        self.results: dict[str, object] = {}  # of the last validation: JSON files by name
        self.resume: Resume | None = None  # what may differ from the checkpoint from which it goes on
        self._step_loss = torch.zeros(())
        self._total_steps: int | None = None
        self._fault: str | None = None  # of this process's loss, until the others know of it
        self._begun = self._updating = -1  # the steps in which a batch was begun, and the weights began to change
        self._measures = any(isinstance(part, nn.modules.batchnorm._BatchNorm) for part in model.modules())

    @property
    def optimisation(self) -> Optimisation:
        """The optimizer and the schedule of a model that is trained."""
        assert self._optimisation is not None, "a model that is only evaluated has no optimizer"
        return self._optimisation

    def total_steps(self) -> int:
        """Optimizer steps of the whole run: the smaller of max_steps and max_epochs."""
        if self._total_steps is None:  # kept, since CatchUp opens the trainer's limits for a while
            self._total_steps = steps_of(self.trainer.max_steps, self.trainer.max_epochs, self.steps_per_epoch)
        return self._total_steps

    def train_dataloader(self) -> DataLoader[object]:
        """Whole total batches in the epoch's order, from where a resumed run stood."""
        epoch, step = divmod(self.trainer.global_step, max(self.steps_per_epoch, 1))
        sampler = TrainSampler(
            len(self.train_data),
            total_batch=self.plan.total,
            device_batch=self.plan.device_batch,
            rank=self.trainer.global_rank,
            world=self.trainer.world_size,
            seed=self.seed,
            resume_epoch=epoch,
            skip_batches=step * self.plan.accumulation,
        )
        return self._loader(self.train_data, sampler)

    def val_dataloader(self) -> DataLoader[object]:
        """Every validation image once; ranks are evened out with padding that no metric counts."""
        images = self.data.val_dataset()
        sampler = EvalSampler(len(images), rank=self.trainer.global_rank, world=self.trainer.world_size)
        return self._loader(images, sampler)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """The optimizer over layer-decayed groups, and the schedule by which each step scales them."""
        optimizer = self.optimisation.make_optimizer(self.model, self.model.backbone, self.plan.total)
        factor = self.optimisation.factor(self.total_steps(), self.steps_per_epoch)

        def of_group(group: TorchGroup) -> Callable[[int], float]:
            return lambda step: factor(step, group)

        frozen = [{**group, "params": None} for group in optimizer.param_groups]
        schedule = LambdaLR(optimizer, [of_group(group) for group in frozen])
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def on_train_batch_start(self, batch: object, batch_idx: int) -> None:
        """Seeds the step, so that a resumed run draws what an uninterrupted one would have drawn."""
        place = (self.seed, self.trainer.global_step, batch_idx % self.plan.accumulation, self.global_rank)
        drawn = int(np.random.SeedSequence(place).generate_state(1)[0])
        random.seed(drawn)
        np.random.seed(drawn)
        torch.manual_seed(drawn)
        self._begun = self.trainer.global_step

    def training_step(self, batch: object, batch_idx: int) -> Tensor:
        """The loss of one device batch; logs the mean over the whole optimizer step."""
        losses = self.losses(self.model.drawn(batch))
        loss = self._checked(losses, batch)
        part = losses["loss"].detach() / self.plan.accumulation
        self._step_loss = part if batch_idx % self.plan.accumulation == 0 else self._step_loss + part
        if (batch_idx + 1) % self.plan.accumulation == 0:
            self.log("train/loss", self._step_loss, prog_bar=True, logger=False, sync_dist=self.trainer.world_size > 1)
        return loss

    def _checked(self, losses: dict[str, Tensor], batch: object) -> Tensor:
        """The loss to go backward from; where it is not finite, and other processes do not know, one of NaN gradients.

        DDP brings those to every process, and all of them stop before the optimizer steps.
        """
        fault = loss_fault(self.model, batch, losses, self.trainer.global_step)
        if fault is None:
            return losses["loss"]
        if self.trainer.world_size == 1:
            raise NotFiniteError(fault)
        self._fault = self._fault or fault
        return losses["loss"] * float("nan")

    def configure_gradient_clipping(
        self,
        optimizer: Optimizer,
        gradient_clip_val: int | float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Stops the run where a gradient is not finite; else clips. fp16's scaler leaves such steps out by itself."""
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        norm, scaled = gradient_norm(parameters), self.trainer.precision == "16-mixed"
        fault = self._fault or (None if scaled else gradient_fault(self, norm, self.trainer.global_step))
        raise_together(self.trainer, fault, known=not scaled)
        by_value, scale = gradient_clip_algorithm == "value", loss_scale(self.trainer, optimizer)
        clip_gradients(parameters, norm, gradient_clip_val, by_value, scale)
        self._updating = self.trainer.global_step

    def is_whole(self) -> bool:
        """Whether weights, statistics and optimizer are all those of `global_step`, and so worth saving.

        They are not inside an optimizer's step, nor after a batch of the next one if it changed BatchNorm's statistics.
        """
        step = self.trainer.global_step
        return step != self._updating and not (self._measures and step == self._begun)

    def validation_step(self, batch: object, batch_idx: int) -> None:
        """Adds one batch to the metrics."""
        self.model.update_metrics(self.metrics, batch)

    def on_validation_epoch_end(self) -> None:
        """Publishes `val/<metric>` on every rank, and starts afresh."""
        values = {f"val/{name}": value for name, value in self.metrics.compute().items()}
        self.table = self.model.table(self.metrics)
        self.results = self.model.results(self.metrics)
        self.metrics.reset()
        if self.global_rank == 0 and not self.trainer.sanity_checking:
            with self.trainer.precision_plugin.forward_context():
                found = self.model.side_metrics(self.data)
            values |= {f"val/{name}": torch.tensor(value) for name, value in found.items()}
        self.log_dict(values, logger=False, rank_zero_only=False)

    def on_save_checkpoint(self, checkpoint: CheckpointDict) -> None:
        """Adds the card, and makes an average the weights."""
        checkpoint[CARD] = {**self.card, "step": checkpoint["global_step"]}
        put_average(checkpoint, self.trainer)

    def on_load_checkpoint(self, checkpoint: CheckpointDict) -> None:
        """Matches the optimizer's state to this run's groups by parameter name, and makes the counters this run's."""
        if self.trainer.state.fn == "fit":
            step, saved = checkpoint["global_step"], checkpoint["lr_schedulers"][0]
            optimizer = self.resumed_optimizer(checkpoint)
            factor = self.optimisation.factor(self.total_steps(), self.steps_per_epoch)
            checkpoint["lr_schedulers"] = [place_schedule(saved, optimizer["param_groups"], factor, step)]
            checkpoint["optimizer_states"] = [optimizer]
            fresh = self.trainer.fit_loop.state_dict()
            counters = counters_at(fresh, step, self.plan.accumulation, self.steps_per_epoch)
            checkpoint["loops"] = {"fit_loop": counters}
            take_trained(checkpoint)
            if self.resume is not None and "val" in self.resume.new_data:
                forget_best(checkpoint)  # measured on other images

    def resumed_optimizer(self, checkpoint: CheckpointDict) -> OptimizerState:
        """The optimizer's state of a checkpoint with today's groups and options; the checkpoint is left as it is.

        Raises:
            UserError: the run cannot resume from it with its settings of today.
        """
        states = checkpoint.get("optimizer_states")
        if not states:
            raise UserError(
                "this checkpoint holds weights only, so no run can resume from it; "
                "give last.ckpt, or start a new run with --model.weights FILE"
            )
        optimizer = self.optimisation.make_optimizer(self.model, self.model.backbone, self.plan.total)
        allowed = self.resume.may_differ if self.resume is not None else ()
        return restore_order(states[0], optimizer.param_groups, allowed)

    def optimizer_groups(self) -> list[TorchGroup]:
        """The live parameter groups, with their current lr and weight decay."""
        optimizer = self.optimizers()
        assert isinstance(optimizer, Optimizer)
        return optimizer.param_groups

    def _loader(self, images: DrawDataset, sampler: Sampler[Draw]) -> DataLoader[object]:
        pin = self.trainer.strategy.root_device.type == "cuda"
        workers = self.data.num_workers or 0
        return make_loader(images, sampler, self.plan.device_batch, workers, pin, self.data.collate)
