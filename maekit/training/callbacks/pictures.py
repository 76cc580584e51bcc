"""What the model makes of a few fixed validation images, at each evaluation of a run."""

from pathlib import Path
from typing import Any

import numpy as np
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.loggers import TensorBoardLogger


class Pictures(Callback):
    """Keeps the task's picture, if it has one, as `pictures/step_0001000.png` and in TensorBoard.

    Args:
        folder: the run's folder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "pictures"

    def on_validation_end(self, trainer: Trainer, pl_module: Any) -> None:
        """Draws, on the first rank, after a validation inside a run."""
        if trainer.state.fn != "fit" or trainer.sanity_checking or not trainer.is_global_zero:
            return
        picture = pl_module.model.shown().picture(pl_module.data)
        if picture is None:
            return
        self.folder.mkdir(exist_ok=True)
        picture.save(self.folder / f"step_{trainer.global_step:07}.png")
        for logger in trainer.loggers:
            if isinstance(logger, TensorBoardLogger):
                logger.experiment.add_image("val/pictures", np.asarray(picture), trainer.global_step, dataformats="HWC")
