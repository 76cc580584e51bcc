"""What the model makes of a few fixed validation images, at each evaluation of a run."""

from pathlib import Path

import numpy as np
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger

from maekit.training.run_module import run_module


class Pictures(Callback):
    """Keeps the task's picture, if it has one, as `pictures/step_0001000.png` and in TensorBoard.

    Args:
        folder: the run's folder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "pictures"

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draws, on the first rank, after a validation inside a run."""
        if trainer.state.fn != "fit" or trainer.sanity_checking or not trainer.is_global_zero:
            return
        module = run_module(pl_module)
        picture = module.evaluated.shown().picture(module.data)
        if picture is None:
            return
        self.folder.mkdir(exist_ok=True)
        picture.save(self.folder / f"step_{trainer.global_step:07}.png")
        for logger in trainer.loggers:
            if isinstance(logger, TensorBoardLogger):
                logger.experiment.add_image("val/pictures", np.asarray(picture), trainer.global_step, dataformats="HWC")
