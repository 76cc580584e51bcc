"""A small segmenter, for tests of the model and of what is shown of it."""

from typing import Any

import torch

from maekit.base.spec import DataSpec
from maekit.recipes.recipe import load_recipe
from maekit.recipes.settings import resolve
from maekit.recipes.tasks import find_task

CLASSES, SIDE = 7, 64


def model(spec: DataSpec | None = None, recipe: str = "smoke", task: str = "ade20k_upernet", **overrides: Any) -> Any:
    stacked = load_recipe(find_task(task), recipe)
    module = stacked.task.load()
    small = {"backbone": "vit_test_patch8", "taps": "[0,1,1,2]", "head_channels": 24, "aux_channels": 16}
    if task == "ade20k_linear":
        small = {"backbone": "vit_test_patch8", "weights": "none"}
    flags = [f"--model.{key}={value}" for key, value in {**(small if recipe == "smoke" else {}), **overrides}.items()]
    values = resolve(stacked, module, flags, training=False).values["model"]
    torch.manual_seed(0)
    return module.Model.build(spec or DataSpec(tuple(map(str, range(CLASSES))), (SIDE, SIDE)), values)
