"""Loads the model of a checkpoint, without Lightning."""

from pathlib import Path
from typing import TYPE_CHECKING

from maekit.errors import UserError

if TYPE_CHECKING:
    from maekit.base.checkpoint_card import Card
    from maekit.base.model import TransferModel


def load_model(path: Path, device: str, task: str | None = None) -> "tuple[TransferModel, Card]":
    """Returns the model of a checkpoint on a device, in evaluation mode, and the checkpoint's card.

    Args:
        path: the checkpoint.
        device: as `choose_device` takes it.
        task: a name or a task.py in place of the card's.

    Raises:
        UserError: it is no checkpoint of a run, or of another task than `task`.
    """
    from maekit.base.checkpoint_card import read_card
    from maekit.recipes.tasks import find_task
    from maekit.system.hardware import choose_device

    chosen = choose_device(device)
    card = read_card(path)
    card.require_readable(path)
    module = find_task(task or card.task).load()
    if task is not None:
        _refuse_other_task(task, module.Model, card, path)
    model: TransferModel = module.Model.build(card.spec, card.config["model"])
    model.load_checkpoint(path)
    return model.eval().to(chosen), card


def _refuse_other_task(task: str, model: "type[TransferModel]", card: "Card", path: Path) -> None:
    """Refuses a task whose model lacks a setting that the checkpoint has."""
    from dataclasses import fields

    from maekit.recipes.model_settings import settings_class

    known = {field.name for field in fields(settings_class(model))}
    if lacking := sorted(set(card.config["model"]) - known):
        raise UserError(
            f"--task {task}: its model has no setting {lacking[0]}, which {path} of the task {card.task} has; leave "
            "--task out, or give that task's own file"
        )
