"""Detectors with moved weights that find many objects, and what they are exported as."""

from functools import cache
from typing import Any

import torch
from torch import Tensor

from maekit.base.exportable import Exportable
from maekit.base.spec import DataSpec
from maekit.recipes.recipe import load_recipe
from maekit.recipes.settings import resolve
from maekit.recipes.tasks import find_task
from tests.detection.golden import detection_case as case

SIDE = 64
INPUT: dict[str, Any] = {"image_size": SIDE, "mean": [0.5, 0.4, 0.3], "std": [0.2, 0.3, 0.4]}
SMALL: dict[str, Any] = {
    "backbone": "vit_test_patch8", "weights": "none", "window": 3, "global_blocks": [1], "taps": [2],
    "pos_grid": [4, 4], "pyramid_channels": 16, "mask_rcnn.anchor_sizes": [20, 24, 28, 32, 36],
    "mask_rcnn.anchor_ratios": [0.5, 1, 2], "mask_rcnn.rpn_post_nms": [60, 60],
    "mask_rcnn.max_detections": 40,
}  # fmt: skip
CASCADE = {f"mask_rcnn.{key}": value for key, value in case.CASCADE.items()}
KINDS: dict[str, dict[str, Any]] = {
    "mask": {}, "cascade": CASCADE, "boxes": {"masks": False}, "cascade of boxes": {"masks": False, **CASCADE},
}  # fmt: skip


@cache
def detector(kind: str, min_score: float = 0.05, seed: int = 0) -> Any:
    """A small detector of five classes, whose every weight is moved: at a start all scores are nearly the same."""
    stacked = load_recipe(find_task("coco_maskrcnn"), "smoke")
    module, given = stacked.task.load(), dict(KINDS[kind])
    spec = DataSpec(tuple("abcde"), (SIDE, SIDE), ("2", "3", "5", "7", "11"), masks=given.pop("masks", True))
    values = {**SMALL, **given, "mask_rcnn.min_score": min_score}
    flags = [f"--model.{key}={str(value).replace(' ', '')}" for key, value in values.items()]
    torch.manual_seed(0)
    model = module.Model.build(spec, resolve(stacked, module, flags, training=False).values["model"])
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator))
    return model.eval()


def exportable(kind: str, **more: Any) -> Exportable:
    found = detector(kind, **more).exportable(INPUT)
    assert isinstance(found, Exportable)
    return found


def pictures(count: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Square images of noise in a few frequencies, and sizes of which most do not fill the square."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.randn(count, 3, 9, 9, generator=generator)
    images = torch.nn.functional.interpolate(coarse, (SIDE, SIDE), mode="bicubic")
    sizes = torch.randint(SIDE // 2, SIDE + 1, (count, 2), generator=generator)
    return images, sizes
