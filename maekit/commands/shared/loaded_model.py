"""Loads the model of a checkpoint, without Lightning."""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from maekit.base.checkpoint_card import Card
    from maekit.base.model import TransferModel


def load_model(path: Path, device: str, task: str | None = None) -> "tuple[TransferModel, Card]":
    """Returns the model of a checkpoint on a device, in evaluation mode, and the checkpoint's card.

    Args:
        path: the checkpoint.
        device: as `choose_device` takes it.
        task: a name or a task.py in place of the card's.
    """
    from maekit.base.checkpoint_card import read_card
    from maekit.recipes.tasks import find_task
    from maekit.system.hardware import choose_device

    chosen = choose_device(device)
    card = read_card(path)
    card.require_readable(path)
    module = find_task(task or card.task).load()
    model: TransferModel = module.Model.build(card.spec, card.config["model"])
    model.load_checkpoint(path)
    return model.eval().to(chosen), card
