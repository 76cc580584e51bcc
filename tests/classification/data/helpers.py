"""Small data sets of classification, built without a recipe."""

from pathlib import Path
from typing import Any, TypeVar

import pytest

from maekit.classification.data.labelled_images import LabelledImages
from maekit.errors import UserError

NUMBERS: dict[str, Any] = {
    "total_batch_size": 2,
    "device_batch_size": None,
    "image_size": 4,
    "crop_scale": [0.08, 1.0],
    "crop_ratio": [0.75, 1.33],
    "horizontal_flip": 0.0,
    "rand_augment": None,
    "random_erasing": 0.0,
    "eval_crop_fraction": 1.0,
    "mean": [0.5, 0.5, 0.5],
    "std": [0.5, 0.5, 0.5],
}
Data = TypeVar("Data", bound=LabelledImages)


def build(kind: type[Data], root: Path | None, **changes: Any) -> Data:
    """The data of a folder with `NUMBERS` and changes."""
    return kind(root=None if root is None else str(root), **{**NUMBERS, **changes})


def refusal(data: LabelledImages) -> str:
    """The one line with which data are refused when they are set up."""
    with pytest.raises(UserError) as caught:
        data.setup()
    assert "\n" not in str(caught.value)
    return str(caught.value)
