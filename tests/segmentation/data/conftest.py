"""The folder that the tests of ADE20K's data share."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.segmentation.data.helpers import SPLITS, save_label

RNG = np.random.default_rng(0)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder in the benchmark's form with few images, each of another size; a label map holds 0 to 150 and 255."""
    root = tmp_path / "ADEChallengeData2016"
    for split, (stem, count) in SPLITS.items():
        (root / "images" / split).mkdir(parents=True)
        for number in range(1, count + 1):
            size = (30 + number, 40 + number)
            image = RNG.integers(0, 256, (*size, 3), dtype=np.uint8)
            Image.fromarray(image).save(root / "images" / split / f"{stem}{number:08}.jpg")
            values = np.resize(np.append(np.arange(151), 255), size).astype(np.uint8)
            save_label(root / "annotations" / split / f"{stem}{number:08}.png", values)
    return root
