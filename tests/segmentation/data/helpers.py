"""Data sets of a few images with label maps, and what is refused of them."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from maekit.base.spec import Draw
from maekit.errors import UserError
from maekit.segmentation.data.ade20k import ADE20K
from maekit.segmentation.data.folders import SegmentationFolders
from tests.helpers_data import check

SPLITS = {"training": ("ADE_train_", 6), "validation": ("ADE_val_", 3)}
NUMBERS: dict[str, Any] = {
    "total_batch_size": 4,
    "device_batch_size": None,
    "crop_size": 32,
    "resize": [128, 32],
    "resize_ratio": [0.5, 2.0],
    "cat_max_ratio": 0.75,
    "horizontal_flip": 0.5,
    "photometric": True,
    "mean": [0.485, 0.456, 0.406],
    "std": [0.229, 0.224, 0.225],
}


def save_label(path: Path, values: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values).save(path)


def own(root: Path, *, names: str = "sky\nsea\nsand\n") -> Path:
    """The same images as anyone's data: masks of 0, 1, 2 and 255, and three names."""
    (root / "annotations").rename(root / "masks")
    for part in ("images", "masks"):
        (root / part / "training").rename(root / part / "train")
        (root / part / "validation").rename(root / part / "val")
    for path in root.glob("masks/*/*.png"):
        save_label(path, np.resize(np.array([0, 1, 2, 255], np.uint8), np.asarray(Image.open(path)).shape))
    (root / "classes.txt").write_text(names)
    return root


def build(root: Path | None, kind: type[SegmentationFolders] = ADE20K, **changes: Any) -> SegmentationFolders:
    return kind(root=None if root is None else str(root), **{**NUMBERS, **changes})


def refusal(data: SegmentationFolders, draw: Draw | None = None) -> str:
    """The line on which training or evaluation ends; `data check` must say it too."""
    with pytest.raises(UserError) as caught:
        data.setup() if draw is None else data.train_dataset(0)[draw]
    line = str(caught.value)
    assert "\n" not in line
    if data.root:
        assert line in check(type(data), Path(data.root), full=True).problems
    return line
