"""An exponential moving average of the weights (EMA), which is what is validated, kept and predicted with."""

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from maekit.training.run_module import CheckpointDict, callbacks_of

TRAINED, AVERAGE = "trained_weights", "average_weights"


class WeightAverage(Callback):
    """Averages the weights after every optimizer step: average = decay x average + (1 - decay) x weights.

    It begins at the run's first weights. The average is what validations measure, what `best.ckpt` holds and what
    `last.ckpt` has as its `state_dict`; beside it `last.ckpt` keeps the trained weights, from which a run goes on.
    After the fit the model holds the average. Averaged are the parameters that are trained, and buffers of floating
    point (BatchNorm's statistics).

    Why not Lightning's WeightAveraging (2.6.6): it is not asked when weights alone are saved, so best.ckpt would hold
    the trained ones; a run stopped inside a validation, or saved at its end, would save the two exchanged or only one
    of them; it is made before the model is on its device, and stays where it was made; and it copies the whole module,
    with the lists of the images' files and all that is frozen. The arithmetic here is torch's.

    Args:
        decay: in [0, 1), of each step.
    """

    def __init__(self, decay: float) -> None:
        self.average_step = get_ema_multi_avg_fn(decay)  # type: ignore[no-untyped-call]
        self.step = 0
        self.live: dict[str, Tensor] = {}  # the module's own tensors, by name
        self.other: dict[str, Tensor] = {}  # their average; while the model holds that, their trained values
        self.swapped = False

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: CheckpointDict) -> None:
        """Takes the average of a run that goes on; one that had none starts it from its weights."""
        self.step, self.other = checkpoint["global_step"], checkpoint.get(AVERAGE, {})

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begins where the weights are, on their device."""
        self.live = averaged_tensors(pl_module)
        self.other = {name: self.other.get(name, live).detach().to(live, copy=True) for name, live in self.live.items()}

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: object) -> None:
        """Averages, once an optimizer step."""
        self._catch_up(trainer)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Puts the average into the model."""
        self._swap()

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Puts the trained weights back."""
        self._swap()

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Leaves the average in the model."""
        if not self.swapped:
            self._swap()

    def save_into(self, checkpoint: CheckpointDict, trainer: Trainer) -> None:
        """Makes the average a checkpoint's weights, and keeps the trained ones beside them where a run can resume."""
        if not self.live:
            return
        if not self.swapped:
            self._catch_up(trainer)  # an interruption right after a step comes before its batch's end
        average, trained = (self.live, self.other) if self.swapped else (self.other, self.live)
        checkpoint["state_dict"].update(average)
        if "optimizer_states" in checkpoint:
            checkpoint[TRAINED] = dict(trained)

    def _catch_up(self, trainer: Trainer) -> None:
        if trainer.global_step > self.step:
            self.average_step(list(self.other.values()), list(self.live.values()), self.step)
            self.step = trainer.global_step

    @torch.no_grad()
    def _swap(self) -> None:
        for name, live in self.live.items():
            kept = live.clone()
            live.copy_(self.other[name])
            self.other[name].copy_(kept)
        self.swapped = not self.swapped


def averaged_tensors(module: nn.Module) -> dict[str, Tensor]:
    """The tensors of a module, by name, that training changes a little at a time."""
    return {
        name: tensor
        for name, tensor in module.state_dict(keep_vars=True).items()
        if tensor.is_floating_point() and (tensor.requires_grad or not isinstance(tensor, nn.Parameter))
    }


def averages(trainer: Trainer) -> list[tuple[str, Tensor]]:
    """The tensors of a run's average, each with what it is; none if the run has no average."""
    own = (callback for callback in callbacks_of(trainer) if isinstance(callback, WeightAverage))
    return [(f"the average of {name}", tensor) for average in own for name, tensor in average.other.items()]


def put_average(checkpoint: CheckpointDict, trainer: Trainer) -> None:
    """Makes the average a checkpoint's weights, if the run of this Trainer has one.

    The callback's own hook will not do: Lightning does not call it where weights alone are saved.
    """
    for callback in callbacks_of(trainer):
        if isinstance(callback, WeightAverage):
            callback.save_into(checkpoint, trainer)


def take_trained(checkpoint: CheckpointDict) -> None:
    """Makes the trained weights a checkpoint's weights again, for a run that goes on; the average is kept beside."""
    trained = checkpoint.pop(TRAINED, None)
    if trained is not None:
        checkpoint[AVERAGE] = {name: checkpoint["state_dict"][name] for name in trained}
        checkpoint["state_dict"].update(trained)
