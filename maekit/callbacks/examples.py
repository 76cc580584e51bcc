"""The best and the worst validation images, when a run has ended."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.utilities import move_data_to_device
from lightning.pytorch import Callback, Trainer

from maekit.examples import judge_some, write_examples
from maekit.online_probe import untouched_generators
from maekit.story import say


class Examples(Callback):
    """Keeps pictures of the validation images that the final weights do best and worst on, in `examples/`.

    The first process does it alone, when the run has been saved: no other process waits for it inside the run, no
    metric and no generator is touched, and where it fails the run stands, with a line that says why. A run that was
    paused has no examples yet. With averaged weights it is the average that is shown: this callback comes after it.

    Args:
        folder: the run's folder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def on_fit_end(self, trainer: Trainer, pl_module: Any) -> None:
        """Scores up to 256 of the images that a validation sees, and draws the best and the worst."""
        model = pl_module.model
        done = trainer.global_step >= pl_module.total_steps()
        if not trainer.is_global_zero or not done or model.example_score is None:
            return
        try:
            with evaluating(model, trainer.strategy.root_device), trainer.precision_plugin.forward_context():
                judged = judge_some(
                    model,
                    pl_module.data,
                    first=validated_images(trainer, pl_module),
                    batch_size=pl_module.plan.device_batch,
                    move=lambda batch: move_data_to_device(batch, trainer.strategy.root_device),
                )
                write_examples(self.folder, model, pl_module.data, judged)
        except Exception as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            say(f"no examples: {reason}; the run itself is whole")


def validated_images(trainer: Trainer, module: Any) -> int:
    """Returns how many images a validation of this run sees, `limit_val_batches` heeded."""
    images, limit = len(module.data.val_dataset()), trainer.limit_val_batches
    if isinstance(limit, float):
        return int(images * limit)
    return min(images, limit * int(module.plan.device_batch) * trainer.world_size)


@contextmanager
def evaluating(model: torch.nn.Module, device: torch.device) -> Iterator[None]:
    """Puts the model on a device and every module into evaluation mode, and all of it back, generators too."""
    modes, before = {module: module.training for module in model.modules()}, next(model.parameters()).device
    with untouched_generators(), torch.no_grad():
        try:
            model.to(device).eval()
            yield
        finally:
            model.to(before)
            for module, training in modes.items():
                module.training = training
