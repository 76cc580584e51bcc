"""The best and the worst validation images, when a run has ended."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from maekit.base.model import TransferModel
from maekit.system.generators import untouched_generators
from maekit.system.terminal import say
from maekit.training.callbacks.best import SaveBest
from maekit.training.examples import evaluated, judge_some, write_examples
from maekit.training.run_module import RunModule, run_module
from maekit.training.strategies import whole_model


class Examples(Callback):
    """Keeps pictures of the validation images that the weights of best.ckpt do best and worst on, in `examples/`.

    The first process does it alone, when the run has been saved: no other process waits for it inside the run, no
    metric and no generator is touched, and where it fails the run stands, with a line that says why. A run that was
    paused has no examples yet, and one without a best.ckpt shows its final weights. With averaged weights it is the
    average that is shown: this callback comes after it.

    Args:
        folder: the run's folder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draws the best and the worst of the images whose scores the evaluation kept, else of up to 256 it scores."""
        module, (file, step) = run_module(pl_module), shown_weights(trainer)
        done = trainer.global_step >= module.total_steps()
        if not done or module.model.shown().score is None:
            return
        with whole_model(trainer) as model:
            if trainer.is_global_zero:
                self._keep(trainer, module, model, file, step)

    def _keep(self, trainer: Trainer, module: RunModule, model: TransferModel, file: Path | None, step: int) -> None:
        shown, images = model.shown(), validated_images(trainer, module)
        try:
            rows = [] if file is None else evaluated(self.folder, file.name, step, images)
            known = shown.judged(rows) if rows else None
            with (
                holding(model, None if step == trainer.global_step or known else file),
                evaluating(model, trainer.strategy.root_device),
                trainer.precision_plugin.forward_context(),
            ):
                judged = known or judge_some(
                    shown,
                    module.data,
                    first=images,
                    batch_size=module.plan.device_batch,
                    move=lambda batch: module.transfer_batch_to_device(batch, trainer.strategy.root_device, 0),
                )
                weights = {"checkpoint": None if file is None else file.name, "step": step}
                write_examples(self.folder, shown, module.data, judged, weights)
        except Exception as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            say(f"no examples: {reason}; the run itself is whole")


def shown_weights(trainer: Trainer) -> tuple[Path | None, int]:
    """Returns the best checkpoint of a run and its step; without one, None and the run's last step."""
    best = next((one for one in trainer.checkpoint_callbacks if isinstance(one, SaveBest)), None)
    if best is None or best.value is None:
        return None, trainer.global_step
    return best.path, best.step


@contextmanager
def holding(model: TransferModel, file: Path | None) -> Iterator[None]:
    """Gives a model the weights of a checkpoint for a while, and then its own back; None changes nothing."""
    if file is None:
        yield
        return
    own = {name: tensor.detach().cpu().clone() for name, tensor in model.state_dict().items()}
    try:
        model.load_checkpoint(file)
        yield
    finally:
        model.load_state_dict(own)


def validated_images(trainer: Trainer, module: RunModule) -> int:
    """Returns how many images a validation of this run sees, `limit_val_batches` heeded."""
    images, limit = len(module.data.val_dataset()), trainer.limit_val_batches
    if isinstance(limit, float):
        return int(images * limit)
    return min(images, limit * module.plan.device_batch * trainer.world_size)


@contextmanager
def evaluating(model: torch.nn.Module, device: torch.device) -> Iterator[None]:
    """Moves a model to a device, in evaluation mode, for a while; then restores place, modes and random generators."""
    modes, before = {module: module.training for module in model.modules()}, next(model.parameters()).device
    with untouched_generators(), torch.no_grad():
        try:
            model.to(device).eval()
            yield
        finally:
            model.to(before)
            for module, training in modes.items():
                module.training = training
