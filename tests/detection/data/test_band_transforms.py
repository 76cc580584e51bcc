"""Transforms of images of any channels with objects: the geometry and the objects of RGB."""

from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from maekit.base.data import seeded
from maekit.data.images.bands.facts import Bands
from maekit.detection.data.batch import InstanceMask
from maekit.detection.data.transforms import DetEvalTransform, DetTrainTransform

GREY = Bands(("grey",), ("grey",), "uint8", (112.0,), (60.0,), 255.0)
NAMES = tuple(f"B{number}" for number in range(1, 14))
DEEP = Bands(NAMES, NAMES, "uint16", (112.0,) * 13, (60.0,) * 13, 4095.0)
RGB: dict[str, Any] = {"mean": [112 / 255] * 3, "std": [60 / 255] * 3}
SQUARE = InstanceMask((np.array([10.0, 10, 40, 10, 40, 30, 10, 30]),), None)


def picture() -> Image.Image:
    coarse = np.random.default_rng(5).integers(0, 256, (7, 9), dtype=np.uint8)
    return Image.fromarray(coarse).resize((80, 60), Image.Resampling.BICUBIC)


def pixels(channels: int = 1) -> Tensor:
    return torch.from_numpy(np.array(picture()))[..., None].repeat(1, 1, channels)


@pytest.mark.parametrize("index", range(4))
def test_channels_go_the_way_of_rgb(index: int) -> None:
    def seen(image: Image.Image | Tensor, bands: Bands | None) -> tuple[Tensor, ...]:
        numbers = {"image_size": 64, "scale_range": [0.5, 2.0], "horizontal_flip": 0.5}
        transform = DetTrainTransform(**numbers, **RGB, bands=bands)  # type: ignore[arg-type]
        with seeded(0, 0, index):
            image, _, boxes, labels, _ = transform(image, [SQUARE], [3])
        return image, boxes, labels

    rgb = seen(picture().convert("RGB"), None)
    grey, deep = seen(pixels(), GREY), seen(pixels(13).float(), DEEP)
    assert grey[0].shape == (1, 64, 64)
    assert deep[0].shape == (13, 64, 64)
    for ours in (grey, deep):
        assert torch.equal(ours[1], rgb[1])
        assert torch.equal(ours[2], rgb[2])
    assert torch.allclose(grey[0], rgb[0][:1], atol=1e-5, rtol=0)
    # Floats are not rounded to whole numbers, which Pillow does twice, by half a level each; 60 are a deviation.
    assert torch.allclose(deep[0], rgb[0][:1].expand(13, -1, -1), atol=1.01 / 60, rtol=0)


def test_evaluation_pads_with_the_mean_and_a_card_rebuilds_it() -> None:
    evaluation = DetEvalTransform(image_size=64, **DEEP.plain())
    image, size = evaluation(pixels(13).float())
    assert image.shape == (13, 64, 64)
    assert size == (48, 64)
    assert (image[:, 48:] == 0).all()
    again = DetEvalTransform(**evaluation.describe())
    assert again.normalise.bands == DEEP
    assert torch.equal(again(pixels(13).float())[0], image)
    grey, _ = DetEvalTransform(image_size=64, **GREY.plain())(pixels())
    rgb, _ = DetEvalTransform(image_size=64, **RGB)(picture().convert("RGB"))
    assert torch.allclose(grey, rgb[:1], atol=1e-5, rtol=0)
