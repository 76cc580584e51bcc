"""Scenes of any channels with their label maps, as the data of a run."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch

from maekit import cli
from maekit.base.spec import Draw
from maekit.data.images.reading_of import reading_of
from maekit.errors import UserError
from maekit.segmentation.data.folders import SegmentationFolders
from maekit.segmentation.data.transforms.transforms import SegEvalTransform
from tests.helpers_data import check
from tests.segmentation.data.helpers import build, save_label

NAMES = "R,G,B,NIR"
BANDS: dict[str, Any] = {"bands": "NIR,R", "file_bands": NAMES}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two scenes a split, of four channels of 16 bits, with statistics."""
    draw = np.random.default_rng(0)
    for split in ("train", "val"):
        for name in ("a", "b"):
            pixels = draw.integers(0, 4000, (40, 50, 4)).astype(np.uint16)
            (tmp_path / "images" / split).mkdir(parents=True, exist_ok=True)
            tifffile.imwrite(tmp_path / "images" / split / f"{name}.tif", pixels, photometric="rgb", extrasamples=[0])
            save_label(tmp_path / "masks" / split / f"{name}.png", draw.integers(0, 2, (40, 50)).astype(np.uint8))
    (tmp_path / "classes.txt").write_text("field\nroad\n")
    assert cli.main(["data", "stats", "--root", str(tmp_path / "images"), "--data.file_bands", NAMES]) == 0
    (tmp_path / "images" / "stats.json").rename(tmp_path / "stats.json")
    return tmp_path


def test_a_run_has_the_bands_that_are_asked_for(root: Path) -> None:
    data = build(root, SegmentationFolders, **BANDS)
    assert data.spec().bands == ("R", "NIR")
    assert data.train_dataset(0)[Draw(0, 1)].image.shape == (2, 32, 32)
    input = data.input_transform()
    path = root / "images" / "val" / "b.tif"
    assert torch.equal(SegEvalTransform(**input)(reading_of(input)(path)), data.val_dataset()[Draw(0, 1)].image)
    assert "photometric" in data.summary()
    assert check(SegmentationFolders, root, full=True, **BANDS).ok


def test_a_scene_of_another_size_or_channel_count_is_refused(root: Path) -> None:
    data, path = build(root, SegmentationFolders, **BANDS), root / "images" / "val" / "b.tif"
    dataset = data.val_dataset()
    for shape, fact in (((40, 48, 4), "b.png: 50 x 40"), ((40, 50, 3), "b.tif: 3 channels")):
        tifffile.imwrite(path, np.zeros(shape, np.uint16), photometric="rgb", extrasamples=[0] * (shape[2] - 3))
        with pytest.raises(UserError, match=fact):
            dataset[Draw(0, 1)]
    with pytest.raises(UserError, match="3 channels"):
        build(root, SegmentationFolders, **BANDS).setup()
