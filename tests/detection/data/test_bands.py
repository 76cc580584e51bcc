"""Images of any channels with COCO's annotations, as the data of a run."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from maekit import cli
from maekit.base.spec import Draw
from maekit.data.images.reading_of import reading_of
from maekit.detection.data.coco.coco import COCO
from maekit.detection.data.transforms import DetEvalTransform
from maekit.errors import UserError
from tests.detection.data.helpers import SIZES, build, content, write
from tests.helpers_data import check

BANDS: dict[str, Any] = {"bands": "B5,B2"}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Arrays of five channels for both splits, with statistics."""
    draw = np.random.default_rng(0)
    values = json.loads(json.dumps(content()).replace(".jpg", ".npy"))
    for split in ("train", "val"):
        write(tmp_path / f"annotations/instances_{split}2017.json", values)
        for ident, (height, width) in SIZES.items():
            path = tmp_path / f"{split}2017" / f"{ident:012}.npy"
            path.parent.mkdir(exist_ok=True)
            np.save(path, draw.normal(5, 2, (height, width, 5)).astype(np.float32))
    words = ["data", "stats", "--root", str(tmp_path), "--task", "coco_maskrcnn", "--recipe", "smoke"]
    assert cli.main(words) == 0
    return tmp_path


def test_a_run_has_the_bands_that_are_asked_for(root: Path) -> None:
    data = build(root, **BANDS)
    assert data.spec().bands == ("B2", "B5")
    assert data.train_dataset(0)[Draw(0, 0)].image.shape == (2, 64, 64)
    sample, input = data.val_dataset()[Draw(0, 1)], data.input_transform()
    path = data.files[1].image(1)
    assert torch.equal(DetEvalTransform(**input)(reading_of(input)(path))[0], sample.image)
    assert not [line for line in check(COCO, root, full=True, **BANDS).problems if ".npy" in line]


def test_a_picture_with_nan_or_of_another_size_is_refused(root: Path) -> None:
    data = build(root, **BANDS)
    dataset, path = data.val_dataset(), Path(data.files[1].image(1))
    pixels = np.load(path)
    np.save(path, pixels[:-1])
    with pytest.raises(UserError, match="its annotation file says"):
        dataset[Draw(0, 1)]
    pixels[3, 4, 1] = np.nan
    np.save(path, pixels)
    with pytest.raises(UserError, match="band B2 is nan at row 3, column 4"):
        dataset[Draw(0, 1)]
    with pytest.raises(UserError, match="band B2 is nan"):
        build(root, **BANDS).setup()


def test_sizes_that_yolo_does_not_give_are_those_of_the_arrays(tmp_path: Path) -> None:
    for split in ("train", "val"):
        for folder in ("images", "labels"):
            (tmp_path / folder / split).mkdir(parents=True)
        np.save(tmp_path / "images" / split / "a.npy", np.arange(40 * 30 * 4).reshape(40, 30, 4).astype(np.uint16))
        (tmp_path / "labels" / split / "a.txt").write_text("0 0.1 0.1 0.5 0.1 0.5 0.5\n")
    (tmp_path / "classes.txt").write_text("thing\n")
    words = ["data", "stats", "--root", str(tmp_path), "--task", "coco_maskrcnn", "--recipe", "smoke"]
    assert cli.main(words) == 0
    data = build(tmp_path, bands=4)
    assert data.files[0].size(0) == (40, 30)
    assert data.train_dataset(0)[Draw(0, 0)].image.shape == (4, 64, 64)
