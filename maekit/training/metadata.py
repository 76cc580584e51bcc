"""The metadata of a run's checkpoints."""

from maekit.base.data import RunData
from maekit.base.model import TransferModel
from maekit.errors import UserError
from maekit.optim.batch_plan import BatchPlan
from maekit.recipes.settings import Settings
from maekit.weights.get.find import find_weights
from maekit.weights.load.load import read_state
from maekit.weights.state.start import Start, start_of


def card(settings: Settings, model: TransferModel, data: RunData) -> dict[str, object]:
    """Returns the metadata of a checkpoint: enough to predict and validate from the file alone."""
    return {
        "format": 1,
        "task": settings.recipe.task.given_as,
        "recipe": settings.recipe.name,
        "config": settings.values,
        "target": model.spec.target,
        "class_names": list(model.spec.class_names),
        "value_names": list(model.spec.value_names),
        "value_mean": list(model.spec.value_mean),
        "value_std": list(model.spec.value_std),
        "bands": list(model.spec.bands),
        "class_counts": list(model.spec.class_counts),
        "train_images": model.spec.train_images,
        "masks": model.spec.masks,
        "class_ids": list(model.spec.class_ids),
        "image_size": list(model.spec.image_size),
        "palette": [list(colour) for colour in model.spec.palette],
        "input": data.input_transform(),
        "data": data.identity().plain(),
    }


def plan_of(plan: BatchPlan) -> dict[str, int]:
    """Returns how a step's images are divided, as a checkpoint's metadata has it."""
    return {"devices": plan.devices, "device_batch": plan.device_batch, "accumulation": plan.accumulation}


def left_out(settings: Settings, model: TransferModel, saved: Start | None) -> Start | None:
    """Returns what a run's checkpoints leave out of its model, or None where they are whole.

    Args:
        settings: of the run.
        model: with the weights it starts from, or of the checkpoint it resumes.
        saved: what the checkpoint that is resumed left out.

    Raises:
        UserError: the run starts from no weights, or their file is gone.
    """
    if settings.values["run"]["checkpoint_content"] == "whole":
        return None
    weights = settings.values["model"]["weights"]
    if weights in (None, "none"):
        raise UserError(
            "got --run.checkpoint_content changed with --model.weights none, expected weights that complete such a "
            "checkpoint; name them, or leave --run.checkpoint_content out"
        )
    if saved is not None:
        return saved
    path = find_weights(weights)
    return start_of(weights, path, model, read_state(path).tensors)
