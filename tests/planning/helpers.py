"""A task's model for a plan, and a real batch with as many objects as a step may draw."""

from dataclasses import replace
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
import torch

from maekit.base.model import TransferModel
from maekit.base.spec import DataSpec
from maekit.detection.data.batch import DetBatch, InstanceMask
from maekit.recipes.recipe import load_recipe
from maekit.recipes.settings import Settings, resolve
from maekit.recipes.tasks import find_task, shipped_tasks

TRAINED = [task.name for task in shipped_tasks() if "optim" in load_recipe(task, "smoke").values]


class Planned(NamedTuple):
    """A task with the settings of one of its recipes."""

    module: ModuleType
    settings: Settings
    spec: DataSpec

    def build(self) -> TransferModel:
        model: TransferModel = self.module.Model.build(self.spec, self.settings.values["model"])
        return model


def planned(task: str, recipe: str, *flags: str) -> Planned:
    """Returns a task without drop path, which on a CPU leaves out branches at random."""
    stacked = load_recipe(find_task(task), recipe)
    fixed = ["--model.weights", "none", *(["--model.drop_path", "0"] if "drop_path" in stacked.values["model"] else [])]
    module = stacked.task.load()
    settings = resolve(stacked, module, [*fixed, *flags], training=True)
    data = settings.values["data"]
    side = data["crop_size"] if "crop_size" in data else data["image_size"]
    return Planned(module, settings, replace(module.Data.published, image_size=(side, side)))


def real_batch(model: TransferModel, images: int, num_objects: int) -> Any:
    """Returns a batch as a training step is given it; of a detector with squares all over each image."""
    batch = model.example_batch(images)
    if isinstance(batch, DetBatch):
        side = batch.image.shape[-1]
        draw = torch.Generator().manual_seed(0)
        corners = torch.rand(num_objects, 2, generator=draw) * side * 0.6
        boxes = torch.cat([corners, corners + side * (0.05 + 0.3 * torch.rand(num_objects, 2, generator=draw))], 1)
        polygons = [np.array([x, y, u, y, u, v, x, v], dtype=np.float64) for x, y, u, v in boxes.tolist()]
        masks = [InstanceMask((polygon,), None) for polygon in polygons]
        labels = torch.zeros(num_objects, dtype=torch.int64)
        batch = batch._replace(boxes=[boxes] * images, labels=[labels] * images, masks=[masks] * images)
    return model.drawn(batch)
