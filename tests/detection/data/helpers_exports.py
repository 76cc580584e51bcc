"""Data sets as other tools export them: eight training and four validation images with one object each."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from maekit.base.findings import Findings
from maekit.base.spec import Draw
from maekit.detection.data.coco.coco import COCO
from maekit.detection.data.coco.rle import counts_of_bitmap
from maekit.errors import UserError
from tests import helpers_data
from tests.detection.data.helpers import NUMBERS

SIDE = 64

Entry = dict[str, Any]


def box_of(number: int) -> tuple[int, int, int, int]:
    """x y width height, other for each image."""
    return 5 + 3 * (number % 5), 4 + 2 * (number % 7), 20 + number % 4, 16 + number % 3


def annotation(number: int) -> Entry:
    x, y, w, h = box_of(number)
    corners = [[x, y, x + w, y, x + w, y + h, x, y + h]]
    base = {"id": number, "image_id": number, "category_id": 1, "iscrowd": 0, "area": w * h}
    return {**base, "bbox": [x, y, w, h], "segmentation": corners}


def export(
    root: Path,
    *,
    annotate: Callable[[Entry], Entry] = lambda entry: entry,
    list_image: Callable[[Entry], Entry] = lambda entry: entry,
    edit: Callable[[Entry], Any] = lambda values: None,
    sizes: tuple[int, int] = (SIDE, SIDE),
) -> Path:
    """Eight training and four validation images of width and height, each with one object of class `red`."""
    for split, count in (("train", 8), ("val", 4)):
        (root / split).mkdir(parents=True)
        values: Entry = {"images": [], "annotations": [], "categories": [{"id": 1, "name": "red"}]}
        for number in range(1, count + 1):
            pixels = np.random.default_rng((number, count)).integers(0, 256, (sizes[1], sizes[0], 3), dtype=np.uint8)
            Image.fromarray(pixels).save(root / split / f"{number}.png")
            entry = {"id": number, "file_name": f"{number}.png", "width": sizes[0], "height": sizes[1]}
            values["images"].append(list_image(entry))
            values["annotations"].append(annotate(annotation(number)))
        edit(values)
        (root / f"{split}.json").write_text(json.dumps(values))
    return root


def build(root: Path, **flags: Any) -> COCO:
    return COCO(**{**NUMBERS, "root": str(root), **flags})


def check(root: Path, **flags: Any) -> Findings:
    found = helpers_data.check(COCO, root, full=True, **flags)
    assert not [line for line in (*found.facts, *found.problems) if "\n" in line]
    return found


def used(root: Path, **flags: Any) -> COCO:
    """A data set that check calls ok, and of which every sample of both splits can be read."""
    assert check(root, **flags).problems == []
    data = build(root, **flags)
    for dataset in (data.train_dataset(0), data.val_dataset()):
        for index in range(len(dataset)):
            dataset[Draw(0, index)]
    return data


def refused(root: Path, **flags: Any) -> str:
    """What stops a run; check says it too."""
    with pytest.raises(UserError) as caught:
        build(root, **flags).setup()
    assert str(caught.value) in check(root, **flags).problems
    return str(caught.value)


def points(entry: Entry, form: tuple[int, ...]) -> Any:
    return np.reshape(entry["segmentation"], form).tolist()


def runs(entry: Entry) -> Entry:
    x, y, w, h = entry["bbox"]
    bitmap = np.zeros((SIDE, SIDE), bool)
    bitmap[y : y + h, x : x + w] = True
    return {"size": [SIDE, SIDE], "counts": counts_of_bitmap(bitmap)}
