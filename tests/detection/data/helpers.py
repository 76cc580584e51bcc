"""A small COCO data set and its annotation file, which tests change."""

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from maekit.detection.data.coco.coco import COCO
from maekit.detection.data.coco.file import CocoFile, scan_coco
from maekit.detection.data.coco.rle import counts_of_bitmap, text_of_bitmap
from maekit.errors import UserError
from tests.helpers_data import check

RNG = np.random.default_rng(0)

NUMBERS: dict[str, Any] = {
    "total_batch_size": 2,
    "device_batch_size": None,
    "image_size": 64,
    "scale_range": [0.1, 2.0],
    "horizontal_flip": 0.5,
    "mean": [0.485, 0.456, 0.406],
    "std": [0.229, 0.224, 0.225],
}

CATS = [{"id": 7, "name": "dog"}, {"id": 2, "name": "cat", "supercategory": "animal"}, {"id": 90, "name": "toothbrush"}]

SIZES = {42: (30, 40), 9: (50, 20), 17: (24, 24), 139: (33, 48), 5: (20, 30)}  # of each image id: height, width


def ring(height: int, width: int) -> np.ndarray:
    bitmap = np.zeros((height, width), bool)
    bitmap[3:12, 4:15] = True
    bitmap[6:9, 7:11] = False
    return bitmap


def mask(bitmap: np.ndarray, *, text: bool) -> dict[str, Any]:
    return {"size": list(bitmap.shape), "counts": (text_of_bitmap if text else counts_of_bitmap)(bitmap)}


def thing(ident: int, image: int, category: int, shape: Any, box: list[float], **more: Any) -> dict[str, Any]:
    base = {"id": ident, "image_id": image, "category_id": category, "iscrowd": 0, "area": 12.5}
    return {**base, "bbox": box, "segmentation": shape, **more}


def content() -> dict[str, Any]:
    """An annotation file: polygons in two parts, both kinds of run lengths, a crowd, images without objects."""
    square = [[2.5, 3.25, 10.0, 3.25, 10.0, 12.0, 2.5, 12.0]]
    return {
        "info": {"year": 2017, "note": 'a "list": [1, {"images": []}]'},
        "licenses": [],
        "images": [
            {"id": ident, "file_name": f"{ident:012}.jpg", "height": h, "width": w, "license": 3}
            for ident, (h, w) in SIZES.items()
        ],
        "annotations": [
            thing(1001, 42, 90, [*square, [20.0, 1.0, 30.5, 1.0, 25.0, 9.0]], [2.5, 1.0, 28.0, 11.0]),
            thing(1002, 9, 2, mask(ring(50, 20), text=True), [4.0, 3.0, 11.0, 9.0], area=87.0),
            thing(1003, 42, 7, mask(ring(30, 40), text=False), [4.0, 3.0, 11.0, 9.0], area=87.0, iscrowd=1),
            thing(1004, 17, 7, mask(ring(24, 24), text=False), [4.0, 3.0, 11.0, 9.0], area=87.0, iscrowd=1),
            thing(1005, 42, 2, square, [2.5, 3.25, 7.5, 8.75], area=65.625),
            thing(1006, 5, 7, square, [2.5, 3.25, 7.5, 8.75], area=65.625),
        ],
        "categories": copy.deepcopy(CATS),
    }


def write(path: Path, values: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(values if isinstance(values, str) else json.dumps(values))
    return path


def build(root: Path | None, **changes: Any) -> COCO:
    return COCO(root=None if root is None else str(root), **{**NUMBERS, **changes})


def edit(root: Path, change: Callable[[dict[str, Any]], Any], split: str = "train") -> Path:
    values = content()
    change(values)
    return write(root / f"annotations/instances_{split}2017.json", values)


def refusal(data: COCO) -> str:
    """The line on which reading ends; `data check` must say it too."""
    with pytest.raises(UserError) as caught:
        data.setup()
    line = str(caught.value)
    assert "\n" not in line
    if data.root and not any(data.places):
        assert line in check(COCO, Path(data.root)).problems
    return line


def problems(root: Path) -> list[str]:
    lines = check(COCO, root, full=True).problems
    assert not any("\n" in line for line in lines)
    return lines


def read_coco(path: Path, *folders: Path) -> CocoFile:
    """Reads an annotation file; the first thing that is wrong with it is an error."""
    file, lines = scan_coco(path, *folders)
    if lines or file is None:
        raise UserError(lines[0])
    return file
