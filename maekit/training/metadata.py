"""The metadata of a run's checkpoints."""

from maekit.base.data import RunData
from maekit.base.model import TransferModel
from maekit.optim.batch_plan import BatchPlan
from maekit.recipes.settings import Settings


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
        "class_ids": list(model.spec.class_ids),
        "image_size": list(model.spec.image_size),
        "palette": [list(colour) for colour in model.spec.palette],
        "input": data.input_transform(),
        "data": data.identity().plain(),
    }


def plan_of(plan: BatchPlan) -> dict[str, int]:
    """Returns how a step's images are divided, as a checkpoint's metadata has it."""
    return {"devices": plan.devices, "device_batch": plan.device_batch, "accumulation": plan.accumulation}
