"""`maekit data check` for tests: a data set built as the command builds it."""

from pathlib import Path
from typing import Any

from maekit.base.data import TransferData
from maekit.base.findings import Findings
from maekit.classification.data.folders import ClassFolders
from maekit.classification.data.imagenet import ImageNet
from maekit.classification.data.inaturalist.inaturalist import INaturalist
from maekit.classification.data.places.places import Places
from maekit.detection.data.coco.coco import COCO
from maekit.pretraining.unlabelled import AnyImages
from maekit.recipes.recipe import load_recipe
from maekit.recipes.tasks import find_task
from maekit.robustness.data.imagenet_variants import Robustness
from maekit.segmentation.data.ade20k import ADE20K
from maekit.segmentation.data.folders import SegmentationFolders

TASK_OF: dict[type[TransferData], str] = {
    ADE20K: "ade20k_upernet",
    SegmentationFolders: "ade20k_upernet",
    AnyImages: "mae_pretrain",
    COCO: "coco_maskrcnn",
    ClassFolders: "imagenet_finetune",
    ImageNet: "imagenet_finetune",
    INaturalist: "inaturalist_finetune",
    Places: "places_finetune",
    Robustness: "imagenet_robustness",
}


def check(
    kind: type[TransferData], root: Path, *, classes: int | None = None, full: bool = False, **flags: Any
) -> Findings:
    """Checks a folder as `maekit data check --data.root ROOT` does, with the base recipe's numbers and more flags."""
    numbers = load_recipe(find_task(TASK_OF[kind]), None).values["data"]
    if kind is SegmentationFolders:
        numbers.pop("reduce_zero_label", None)  # ADE20K's own
    return kind(**{**numbers, "root": str(root), **flags}).check(classes=classes, full=full)


def missing_from(line: str, *facts: object) -> list[str]:
    """The facts (paths, keys, numbers, flags) that an error does not name."""
    return [str(fact) for fact in facts if str(fact) not in line]
