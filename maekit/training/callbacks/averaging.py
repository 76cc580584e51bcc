"""An exponential moving average (EMA) of the weights, with which a run validates, saves and predicts."""

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from maekit.training.run_module import CheckpointDict, callbacks_of
from maekit.training.shards import copied, gathered, local

TRAINED, AVERAGE = "trained_weights", "average_weights"


class WeightAverage(Callback):
    """Averages the weights after every optimizer step: average = decay x average + (1 - decay) x weights.

    It starts at the run's initial weights. Validations measure the average; `best.ckpt` holds it, and so does the
    `state_dict` of `last.ckpt`, which also keeps the trained weights, from which a run resumes. After the fit the model
    holds the average. It averages the trained parameters and floating-point buffers (BatchNorm's statistics).

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
        """Restores the average of a resumed run; without one in the checkpoint it starts at the weights."""
        self.step, self.other = checkpoint["global_step"], checkpoint.get(AVERAGE, {})

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Starts the average at the weights, on their device."""
        self.live = averaged_tensors(pl_module)
        self.other = {name: copied(self.other.get(name, live), live) for name, live in self.live.items()}

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: object) -> None:
        """Updates the average after each optimizer step."""
        self._catch_up(trainer)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Swaps the average into the model, for the validation."""
        self._swap()

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Swaps the trained weights back into the model, to train on."""
        self._swap()

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Leaves the average in the model when the fit ends."""
        if not self.swapped:
            self._swap()

    def save_into(self, checkpoint: CheckpointDict, trainer: Trainer) -> None:
        """Writes the average as a checkpoint's weights; one with optimizer states keeps the trained ones too."""
        if not self.live:
            return
        if not self.swapped:
            self._catch_up(trainer)  # an interruption right after a step comes before on_train_batch_end
        average, trained = (self.live, self.other) if self.swapped else (self.other, self.live)
        checkpoint["state_dict"].update(gathered(average, keep=trainer.is_global_zero))
        if "optimizer_states" in checkpoint:
            checkpoint[TRAINED] = gathered(trained, keep=trainer.is_global_zero)

    def _catch_up(self, trainer: Trainer) -> None:
        if trainer.global_step > self.step:
            average, live = ([local(t) for t in kind.values()] for kind in (self.other, self.live))
            self.average_step(average, live, self.step)
            self.step = trainer.global_step

    @torch.no_grad()
    def _swap(self) -> None:
        for name, tensor in self.live.items():
            live, other = local(tensor), local(self.other[name])
            kept = live.clone()
            live.copy_(other)
            other.copy_(kept)
        self.swapped = not self.swapped


def averaged_tensors(module: nn.Module) -> dict[str, Tensor]:
    """Returns trained parameters and floating-point buffers of a module, by name."""
    return {
        name: tensor
        for name, tensor in module.state_dict(keep_vars=True).items()
        if tensor.is_floating_point() and (tensor.requires_grad or not isinstance(tensor, nn.Parameter))
    }


def averages(trainer: Trainer) -> list[tuple[str, Tensor]]:
    """Returns the tensors of a run's average with descriptions for messages; empty without an average."""
    own = (callback for callback in callbacks_of(trainer) if isinstance(callback, WeightAverage))
    return [(f"the average of {name}", tensor) for average in own for name, tensor in average.other.items()]


def put_average(checkpoint: CheckpointDict, trainer: Trainer) -> None:
    """Writes the average as a checkpoint's weights, if the run of this Trainer has one.

    The callback's own hook does not suffice: Lightning does not call it when only weights are saved.
    """
    for callback in callbacks_of(trainer):
        if isinstance(callback, WeightAverage):
            callback.save_into(checkpoint, trainer)


def take_trained(checkpoint: CheckpointDict) -> None:
    """Restores the trained weights as a checkpoint's weights, to resume; keeps the average under another key."""
    trained = checkpoint.pop(TRAINED, None)
    if trained is not None:
        checkpoint[AVERAGE] = {name: checkpoint["state_dict"][name] for name in trained}
        checkpoint["state_dict"].update(trained)
