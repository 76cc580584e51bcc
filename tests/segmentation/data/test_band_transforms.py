"""Transforms of scenes of any channels: those of RGB, without the colours' steps, which are for 8-bit RGB."""

from dataclasses import replace
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor

from maekit.base.data import seeded
from maekit.data.images.bands.facts import Bands
from maekit.segmentation.data.transforms.settings import SegAugmentation
from maekit.segmentation.data.transforms.transforms import SegEvalTransform, SegTrainTransform

GREY = Bands(("grey",), ("grey",), "uint8", (112.0,), (60.0,), 255.0)
NAMES = tuple(f"B{number}" for number in range(1, 14))
DEEP = Bands(NAMES, NAMES, "float32", (112.0,) * 13, (60.0,) * 13, 1.0)


def transform(bands: Bands | None, **more: Any) -> SegTrainTransform:
    numbers = {
        "crop_size": 32,
        "resize": [128, 32],
        "resize_ratio": [0.5, 2.0],
        "cat_max_ratio": 0.75,
        "horizontal_flip": 0.5,
        "photometric": False,
        "mean": [112 / 255] * 3,
        "std": [60 / 255] * 3,
    }
    return SegTrainTransform(SegAugmentation(**{**numbers, **more}), bands)


def scene(height: int = 60, width: int = 80) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(3)
    small = rng.integers(0, 256, (9, 9), dtype=np.uint8)
    grey = np.asarray(cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC))
    label = rng.integers(0, 4, (height // 8 + 1, width // 8 + 1), dtype=np.uint8)
    return grey, label.repeat(8, 0).repeat(8, 1)[:height, :width]


@pytest.mark.parametrize("index", range(4))
def test_channels_go_the_way_of_rgb(index: int) -> None:
    grey, label = scene()
    images: dict[str, tuple[Bands | None, np.ndarray | Tensor]] = {
        "rgb": (None, np.repeat(grey[..., None], 3, 2)),
        "grey": (GREY, torch.from_numpy(grey[..., None].copy())),
        "deep": (DEEP, torch.from_numpy(np.repeat(grey[..., None], 13, 2)).float()),
    }
    found = {}
    for name, (bands, image) in images.items():
        with seeded(0, 0, index):
            found[name] = transform(bands)(image, label)
    assert found["grey"][0].shape == (1, 32, 32)
    assert found["deep"][0].shape == (13, 32, 32)
    assert torch.equal(found["grey"][1], found["rgb"][1])
    assert torch.equal(found["deep"][1], found["rgb"][1])
    assert torch.allclose(found["grey"][0], found["rgb"][0][:1], atol=1e-5, rtol=0)
    # Floats are not rounded to whole numbers when resized: by half a level at most, of 60 a standard deviation.
    assert torch.allclose(found["deep"][0], found["rgb"][0][:1].expand(13, -1, -1), atol=1 / 60, rtol=0)


def test_photometric_distortion_is_left_out_and_named() -> None:
    grey, label = scene()
    image = torch.from_numpy(grey[..., None].copy())
    distorted = transform(GREY, photometric=True)
    assert distorted.left_out
    assert not transform(None, photometric=True).left_out
    assert not transform(GREY).left_out
    with seeded(0, 0, 1):
        ours = distorted(image, label)[0]
    with seeded(0, 0, 1):
        assert torch.equal(ours, transform(GREY)(image, label)[0])


def test_a_card_rebuilds_the_evaluation() -> None:
    bands = replace(DEEP, shown=("B1",))
    evaluation = SegEvalTransform(resize=[128, 32], min_side=32, **bands.plain())
    image: Tensor = torch.from_numpy(np.repeat(scene()[0][..., None], 13, 2)).float()
    again = SegEvalTransform(**evaluation.describe())
    assert again.describe() == evaluation.describe()
    assert again.normalise.bands == bands
    assert torch.equal(again(image), evaluation(image))
    assert evaluation(image).shape == (13, 32, 43)
