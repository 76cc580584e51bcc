"""A small pre-training and its batches, for tests of its model and of what is shown of it."""

from functools import cache
from typing import Any

import torch
from torch import Tensor

from maekit.base.spec import DataSpec
from maekit.data.images.batch import ImageBatch
from maekit.pretraining.model import Pretrainer
from maekit.recipes.recipe import load_recipe
from maekit.recipes.settings import resolve
from maekit.recipes.tasks import find_task

HEIGHT, WIDTH, PATCH = 32, 48, 8
MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)
SPEC = DataSpec((), (HEIGHT, WIDTH), mean=MEAN, std=STD, target="none")
TASK = "mae_pretrain"


@cache
def values(recipe: str = "smoke") -> dict[str, Any]:
    stacked = load_recipe(find_task(TASK), recipe)
    return dict(resolve(stacked, stacked.task.load(), [], training=True).values["model"])


def pretrainer(spec: DataSpec = SPEC, **changed: Any) -> Pretrainer:
    torch.manual_seed(0)
    small = {"backbone": "vit_test_patch8", "decoder_width": 32, "decoder_depth": 2, "decoder_heads": 4}
    chosen = {**values(), **small, **changed}
    model: Pretrainer = find_task(TASK).load().Model.build(spec, chosen)
    return model


def images(batch: int = 3) -> Tensor:
    return torch.randn(batch, 3, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(1))


def batch_of(count: int, offset: int = 0) -> ImageBatch:
    index = torch.arange(count) + offset
    return ImageBatch(images(count + offset)[offset:], torch.zeros_like(index), index)
