"""The smallest data of each family, with the settings of a model that is as small."""

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tests.conftest import few_digits
from tests.detection import helpers as detection_runs


def few_labelled(root: Path) -> dict[str, Any]:
    """Three training and three validation images of as many sizes with label maps, in the benchmark's form."""
    rng = np.random.default_rng(0)
    for split, stem in (("training", "ADE_train_"), ("validation", "ADE_val_")):
        for part in ("images", "annotations"):
            (root / part / split).mkdir(parents=True)
        for number in range(1, 4):
            size = (50 + number, 60 - number)
            image = Image.fromarray(rng.integers(0, 256, (*size, 3), dtype=np.uint8))
            image.save(root / "images" / split / f"{stem}{number:08}.jpg")
            labels = Image.fromarray(np.sort(rng.integers(1, 5, size, dtype=np.uint8)))
            labels.save(root / "annotations" / split / f"{stem}{number:08}.png")
    model = {"taps": "[0,1,1,2]", "head_channels": "24", "aux_channels": "16"}
    return {"data.root": str(root), **{f"model.{key}": value for key, value in model.items()}}


def few_objects(root: Path) -> dict[str, Any]:
    """Six training and five validation pictures with rings and bars."""
    flags = [*detection_runs.SMALL, *detection_runs.own_data(root)]
    return {flag[2:].split("=")[0]: flag.split("=")[1] for flag in flags}


def few_plain(root: Path) -> dict[str, Any]:
    """Digits, and a small decoder."""
    model = {"decoder_width": "32", "decoder_depth": "1", "decoder_heads": "4"}
    return {"data.root": str(few_digits()), **{f"model.{key}": value for key, value in model.items()}}
