"""TransferModule: the one LightningModule. It trains any TransferModel on any data."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import DataLoader

from maekit.base.checkpoint_card import measured_in
from maekit.base.data import RunData
from maekit.base.model import TransferModel
from maekit.errors import UserError
from maekit.optim.batch_plan import BatchPlan
from maekit.optim.clip import clip_gradients, gradient_norms, total_norm
from maekit.optim.groups import TorchGroup
from maekit.optim.resume import OptimizerState, place_schedule, restore_order
from maekit.optim.settings import Optimisation
from maekit.system.generators import generator_states
from maekit.training.batches import Batches
from maekit.training.callbacks.averaging import put_average, take_trained
from maekit.training.callbacks.best import forget_best
from maekit.training.callbacks.layers import loss_scale
from maekit.training.keep_step import keep_step
from maekit.training.nan_guard import gradient_fault, loss_fault, raise_together
from maekit.training.progress_state import counters_at, steps_of
from maekit.training.resume_changes import Resume
from maekit.training.run_module import CheckpointDict, RunModule
from maekit.training.shards import is_sharded, joined_norms, local
from maekit.training.step_guard import LOOK_STEPS, Found, StepGuard
from maekit.training.strategies import Sharded, whole_model
from maekit.weights.state.start import Start, leave_out, put_back

CARD = "maekit"


class TransferModule(RunModule):
    """A task's model and data, with the layer-decayed optimizer, the per-step schedule and the loaders.

    Args:
        model: backbone, head, loss and metrics.
        data: the data set, set up.
        optimisation: the optimizer and the schedule; None for a model that is only evaluated.
        plan: how the total batch is made of devices, device batch and accumulation.
        seed: randomness of a step comes from (seed, step, device batch, rank), of a sample from (seed, epoch, index).
        card: metadata of the checkpoints: task, recipe, config, class names, input transform. Plain values.
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
        self.card = card
        self.losses = model.training_losses  # `training.compiling` may replace them
        self.metrics: Any = model.new_metrics()
        self.batches = Batches(data, plan, seed)
        self.steps_per_epoch = self.batches.steps_per_epoch
        self.table, self.results, self.records = [], {}, None  # of the last validation
        self.resume: Resume | None = None  # the checkpoint that is resumed, and what may differ from it
        self.start: Start | None = None  # what checkpoints leave out, unless they are whole
        self.guard = StepGuard(torch.device("cpu"))  # of the run's device, once it is there
        self.gradient_norm = torch.zeros(())
        self._step_loss = torch.zeros(())
        self._total_steps: int | None = None
        # step, place in it and contents of the last device batch, and the generators' states before its loss
        self._newest: tuple[int, int, object, Mapping[str, Any]] | None = None
        self.nan_step = None
        self._begun = self._updating = -1  # the newest steps that began a batch, and began to update
        self._measures = any(isinstance(part, nn.modules.batchnorm._BatchNorm) for part in model.modules())

    @property
    def optimisation(self) -> Optimisation:
        """The optimizer and the schedule of a model that is trained."""
        assert self._optimisation is not None, "a model that is only evaluated has no optimizer"
        return self._optimisation

    def total_steps(self) -> int:
        """Optimizer steps of the whole run: the smaller of max_steps and max_epochs."""
        if self._total_steps is None:  # cached: CatchUp removes the trainer's limits for a while
            self._total_steps = steps_of(self.trainer.max_steps, self.trainer.max_epochs, self.steps_per_epoch)
        return self._total_steps

    def train_dataloader(self) -> DataLoader[object]:
        """The training batches from the present step on."""
        return self.batches.train_loader(self.trainer)

    def val_dataloader(self) -> DataLoader[object]:
        """The validation batches."""
        return self.batches.val_loader(self.trainer)

    def configure_model(self) -> None:
        """Shards the model that is trained with fsdp2, once the processes have found each other."""
        strategy = self.trainer.strategy
        if isinstance(strategy, Sharded) and self.trainer.state.fn == "fit" and strategy.evaluated is None:
            strategy.shard(self.model)
            self.losses = self.model.training_losses  # it now gathers what it needs

    @property
    def evaluated(self) -> TransferModel:
        """The model to validate and to show: `model`; with fsdp2 a copy that holds all weights during a validation."""
        strategy = self.trainer.strategy
        whole = strategy.evaluated if isinstance(strategy, Sharded) else None
        return self.model if whole is None else whole.model

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """The optimizer over layer-decayed groups, and the schedule by which each step scales them."""
        optimizer = self.optimisation.make_optimizer(self.model, self.model.backbone, self.plan.total)
        factor = self.optimisation.factor(self.total_steps(), self.steps_per_epoch)

        def of_group(group: TorchGroup) -> Callable[[int], float]:
            return lambda step: factor(step, group)

        frozen = [{**group, "params": None} for group in optimizer.param_groups]
        schedule = LambdaLR(optimizer, [of_group(group) for group in frozen])
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def on_fit_start(self) -> None:
        """Makes the guard on the device that the run trains on."""
        self.guard = StepGuard(self.device)

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        """Returns a batch on the device, but for what the model reads on the host (`TransferModel.on_host`)."""
        kept = {name: getattr(batch, name) for name in self.model.on_host if name in getattr(batch, "_fields", ())}
        if not kept:
            return super().transfer_batch_to_device(batch, device, dataloader_idx)
        rest = batch._replace(**dict.fromkeys(kept))
        return super().transfer_batch_to_device(rest, device, dataloader_idx)._replace(**kept)

    def on_train_batch_start(self, batch: object, batch_idx: int) -> None:
        """Seeds every generator for this device batch."""
        self.batches.seed_step(self.trainer, self.trainer.global_step, batch_idx % self.plan.accumulation)
        self._begun = self.trainer.global_step

    def training_step(self, batch: object, batch_idx: int) -> Tensor:
        """Returns the loss of one device batch, a scalar; logs the mean over the whole optimizer step."""
        step, place = self.trainer.global_step, batch_idx % self.plan.accumulation
        drawn = self.model.drawn(batch)
        self._newest = (step, place, drawn, generator_states(self.device))
        loss = self.losses(drawn)["loss"]
        part = loss.detach() / self.plan.accumulation
        self._step_loss = part if place == 0 else self._step_loss + part
        if place == self.plan.accumulation - 1:
            self.log("train/loss", self._step_loss, logger=False, sync_dist=self.trainer.world_size > 1)
        return self.guard.guarded(loss, step, place)

    def configure_gradient_clipping(
        self,
        optimizer: Optimizer,
        gradient_clip_val: int | float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clips the gradients, and gives the optimizer the guard's flag: with a NaN in them it changes nothing.

        Under fp16 gradients that are not finite are no fault: its scaler leaves such steps out, with a smaller scale.
        """
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        grads = [local(p.grad) for p in parameters if p.grad is not None]
        norms = joined_norms(gradient_norms(grads).to(self.device), sharded=any(map(is_sharded, parameters)))
        norm, scale = total_norm(norms), loss_scale(self.trainer, optimizer)
        if self.trainer.precision != "16-mixed":
            self.guard.see_gradients(norms, norm, self.trainer.global_step)
            optimizer.found_inf = self.guard.found_inf()  # type: ignore[attr-defined]
        if self.may_wait():
            self.require_finite()
        self.gradient_norm = norm if scale is None else norm / scale
        clip_gradients(grads, norm, gradient_clip_val, gradient_clip_algorithm == "value", scale)
        self._updating, self._newest = self.trainer.global_step, None

    def may_wait(self) -> bool:
        """Whether the host may wait for the device in this step: in every one on a CPU, else in every tenth."""
        return self.device.type == "cpu" or self.trainer.global_step % LOOK_STEPS == 0

    def require_finite(self) -> None:
        """Stops every process of a run if a loss or a gradient was not finite since its start; waits for the device.

        Raises:
            NotFiniteError: with the first one, its step and where it began; the same in every process.
        """
        found, known = self.guard.look(), self.trainer.precision != "16-mixed"
        if found is None:
            raise_together(self.trainer, None, known=known, keep=str)
            return
        with whole_model(self.trainer) as model:
            fault = self._fault(found, model)
            raise_together(self.trainer, fault, known=known, keep=lambda: keep_step(self, model, found, fault))

    def is_frozen(self) -> bool:
        """Whether the weights are those of an earlier step, the last one without a NaN; waits for the device."""
        found = self.guard.look()
        return found is not None and found.step < self.trainer.global_step

    def _fault(self, found: Found, model: TransferModel) -> str:
        if found.gradient is not None:
            parameters = [p for group in self.optimizer_groups() for p in group["params"]]
            return gradient_fault(self, parameters, found)
        with self.trainer.precision_plugin.forward_context():
            return loss_fault(model.train(), self.drawn_again(found.step, found.batch)[0], found)

    def drawn_again(self, step: int, place: int) -> tuple[object, Mapping[str, Any]]:
        """Returns a device batch as a step had it, the last one or loaded once more, and the generators' states."""
        if self._newest is not None and self._newest[:2] == (step, place):
            return self._newest[2:]
        drawn = self.model.drawn(self.batches.again(self.trainer, step, place))
        return drawn, generator_states(self.device)

    def is_whole(self) -> bool:
        """Whether weights, statistics and optimizer all belong to `global_step`, and so are worth saving.

        They do not during an optimizer's step, nor after a batch of the next step that changed BatchNorm's statistics.
        """
        step = self.trainer.global_step
        return step != self._updating and not (self._measures and step == self._begun)

    def on_validation_model_eval(self) -> None:
        """Looks at the guard, so that no validation measures weights that stopped changing; before an EMA is there."""
        if self.trainer.state.fn == "fit":
            self.require_finite()
        super().on_validation_model_eval()

    def validation_step(self, batch: object, batch_idx: int) -> None:
        """Runs the model on one validation batch and adds the outcome to `self.metrics`."""
        self.evaluated.update_metrics(self.metrics, batch)

    def on_validation_epoch_end(self) -> None:
        """Logs `val/<metric>` on every rank, keeps table and results, and resets the metrics."""
        values = {f"val/{name}": value for name, value in self.metrics.compute().items()}
        self.model.measured = {name: float(values[f"val/{name}"]) for name in self.model.kept_metrics}
        self.table = self.model.table(self.metrics)
        self.results = self.model.results(self.metrics)
        self.records = None if self.trainer.sanity_checking else self.model.image_records(self.metrics)
        self.metrics.reset()
        if self.global_rank == 0 and not self.trainer.sanity_checking:
            with self.trainer.precision_plugin.forward_context():
                found = self.evaluated.side_metrics(self.data)
            values |= {f"val/{name}": torch.tensor(value) for name, value in found.items()}
        self.log_dict(values, logger=False, rank_zero_only=False)

    def on_save_checkpoint(self, checkpoint: CheckpointDict) -> None:
        """Adds the metadata; with an EMA, replaces the weights by their average."""
        measured = {"measured": dict(self.model.measured)} if self.model.measured else {}
        checkpoint[CARD] = {**self.card, **measured, "step": checkpoint["global_step"]}
        put_average(checkpoint, self.trainer)
        leave_out(checkpoint, self.start)

    def on_load_checkpoint(self, checkpoint: CheckpointDict) -> None:
        """Prepares a checkpoint for resuming: optimizer state by parameter name, schedule and counters of this run."""
        put_back(checkpoint, self.state_dict)
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
            self.model.measured = measured_in(checkpoint)  # a checkpoint before the next validation has it too
            if self.resume is not None and self.resume.new_evaluation:
                forget_best(checkpoint)  # measured in another way, or on other images

    def resumed_optimizer(self, checkpoint: CheckpointDict) -> OptimizerState:
        """Returns a checkpoint's optimizer state with this run's groups and options; does not change the checkpoint.

        Raises:
            UserError: the run cannot resume from it with its present settings.
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

    def data_seconds(self) -> float:
        """The seconds that training has waited for its batches in this session."""
        return self.batches.waited()

    def optimizer_groups(self) -> list[TorchGroup]:
        """The live parameter groups, with their current lr and weight decay."""
        optimizer = self.optimizers()
        assert isinstance(optimizer, Optimizer)
        return optimizer.param_groups
