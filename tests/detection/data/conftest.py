from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.detection.data.helpers import RNG, SIZES, content, write


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder in COCO 2017's form, both splits alike."""
    root = tmp_path / "coco"
    for split in ("train", "val"):
        write(root / f"annotations/instances_{split}2017.json", content())
        (root / f"{split}2017").mkdir()
        for ident, (height, width) in SIZES.items():
            image = RNG.integers(0, 256, (height, width, 3), dtype=np.uint8)
            Image.fromarray(image).save(root / f"{split}2017/{ident:012}.jpg")
    return root
