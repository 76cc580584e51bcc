"""Transforms against torchvision (evaluation) and timm (training): the same tensors, bit for bit."""

import math
import pickle
import random

import numpy as np
import pytest
import torch
from PIL import Image
from timm.data.transforms_factory import create_transform
from torchvision import transforms as tv

from maekit.base.data import seeded
from maekit.data.augment.augment import Augmentation, TrainTransform, clipped_crop_box
from maekit.data.images.transforms import EvalTransform
from maekit.errors import UserError
from maekit.system.size import HeightWidth

MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
POLICY = "rand-m9-mstd0.5-inc1"


def picture(width: int, height: int) -> Image.Image:
    rng = np.random.default_rng(width * 10007 + height)
    coarse = Image.fromarray(rng.integers(0, 256, (7, 9, 3), dtype=np.uint8))
    return coarse.resize((width, height), Image.Resampling.BICUBIC)


def published(size: int = 64) -> TrainTransform:
    return TrainTransform(
        Augmentation(
            image_size=size,
            crop_scale=[0.08, 1.0],
            crop_ratio=[3 / 4, 4 / 3],
            horizontal_flip=0.5,
            rand_augment=POLICY,
            random_erasing=0.25,
            mean=MEAN,
            std=STD,
        )
    )


SIZES = [(500, 375), (375, 500), (256, 256), (257, 511), (224, 224), (30, 20), (33, 997), (1, 1), (3, 2)]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(("image_size", "fraction", "short"), [(224, 0.875, 256), (448, 1.0, 448), (32, 1.0, 32)])
def test_evaluation_equals_torchvision(size: tuple[int, int], image_size: int, fraction: float, short: int) -> None:
    reference = tv.Compose(
        [
            tv.Resize(short, interpolation=tv.InterpolationMode.BICUBIC),
            tv.CenterCrop(image_size),
            tv.ToTensor(),
            tv.Normalize(MEAN, STD),
        ]
    )
    ours = EvalTransform(image_size=image_size, crop_fraction=fraction, mean=MEAN, std=STD)(picture(*size))
    assert torch.equal(ours, reference(picture(*size)))


@pytest.mark.parametrize("size", [(100_000, 1), (1, 100_000)])
def test_a_strip_is_not_blown_up(size: tuple[int, int]) -> None:
    image = Image.new("RGB", size, (255, 0, 0))
    out = EvalTransform(image_size=224, crop_fraction=0.875, mean=[0, 0, 0], std=[1, 1, 1])(image)
    assert torch.equal(out, torch.tensor([1.0, 0, 0]).view(3, 1, 1).expand(3, 224, 224))


def test_evaluation_is_rebuilt_from_its_description() -> None:
    transform = EvalTransform(image_size=48, crop_fraction=0.9, mean=MEAN, std=STD)
    description = transform.describe()
    assert description == {"image_size": 48, "crop_fraction": 0.9, "mean": MEAN, "std": STD}
    image = picture(70, 60)
    assert torch.equal(EvalTransform(**description)(image), transform(image))


@pytest.mark.parametrize(
    ("flip", "policy", "erasing"), [(0.5, POLICY, 0.25), (0.0, None, 0.0), (0.5, None, 1.0), (0.0, POLICY, 0.0)]
)
def test_training_equals_timm_from_the_same_generator_states(flip: float, policy: str | None, erasing: float) -> None:
    ours = TrainTransform(
        Augmentation(
            image_size=64,
            crop_scale=[0.08, 1.0],
            crop_ratio=[3 / 4, 4 / 3],
            horizontal_flip=flip,
            rand_augment=policy,
            random_erasing=erasing,
            mean=MEAN,
            std=STD,
        )
    )
    timms = create_transform(
        64,
        is_training=True,
        hflip=flip,
        color_jitter=None,  # type: ignore[arg-type]  # timm itself takes None for none
        auto_augment=policy,
        interpolation="bicubic",
        re_prob=erasing,
        re_mode="pixel",
        re_count=1,
        mean=tuple(MEAN),
        std=tuple(STD),
    )
    for index in range(60):
        image = picture(*SIZES[index % 6])
        with seeded(0, 0, index):
            own = ours(image)
        with seeded(0, 0, index):
            assert torch.equal(own, timms(image)), index


@pytest.mark.parametrize("size", [(1, 1), (1, 2), (2, 1), (1, 5000)])
def test_training_takes_the_smallest_images(size: tuple[int, int]) -> None:
    transform = published(32)
    for index in range(30):
        with seeded(0, 0, index):
            assert transform(picture(*size)).shape == (3, 32, 32)


def test_transforms_pickle() -> None:
    image = picture(50, 40)
    for transform in (published(), EvalTransform(image_size=32, crop_fraction=1.0, mean=MEAN, std=STD)):
        copy = pickle.loads(pickle.dumps(transform))
        with seeded(0, 0, 0):
            expected = transform(image)
        with seeded(0, 0, 0):
            assert torch.equal(copy(image), expected)


def test_seeded_depends_on_seed_epoch_and_index_and_restores_the_generators() -> None:
    def numbers(*key: int) -> tuple[float, float, float]:
        with seeded(*key):
            return random.random(), float(np.random.rand()), float(torch.rand(()))

    keys = [(0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1), (0, 0, 2**40)]
    drawn = [numbers(*key) for key in keys]
    assert all(len({row[generator] for row in drawn}) == len(keys) for generator in range(3))
    assert [numbers(*key) for key in keys] == drawn
    random.seed(1), np.random.seed(1), torch.manual_seed(1)
    expected = random.random(), np.random.rand(), torch.rand(())
    random.seed(1), np.random.seed(1), torch.manual_seed(1)
    with pytest.raises(KeyError), seeded(3, 4, 5):
        random.random(), np.random.rand(), torch.rand(())
        raise KeyError
    assert (random.random(), np.random.rand(), torch.rand(())) == expected


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rand_augment": "rand-x9"}, "data.rand_augment: got 'rand-x9'"),
        ({"rand_augment": "m9"}, "data.rand_augment: got 'm9'"),
        ({"crop_scale": [0.5]}, "data.crop_scale"),
        ({"crop_ratio": [2.0, 1.0]}, "data.crop_ratio"),
        ({"horizontal_flip": 1.5}, "data.horizontal_flip"),
        ({"random_erasing": -0.1}, "data.random_erasing"),
        ({"std": [0.2, 0.0, 0.2]}, "data.std: got [0.2, 0.0, 0.2], expected 3 numbers"),
        ({"mean": [0.5]}, "expected 3 numbers"),
    ],
)
def test_impossible_numbers_are_one_line(change: dict[str, object], message: str) -> None:
    arguments: dict[str, object] = {
        "image_size": 32,
        "crop_scale": [0.08, 1.0],
        "crop_ratio": [0.75, 1.33],
        "horizontal_flip": 0.5,
        "rand_augment": None,
        "random_erasing": 0.0,
        "mean": MEAN,
        "std": STD,
    }
    with pytest.raises(UserError) as caught:
        TrainTransform(Augmentation(**{**arguments, **change}))  # type: ignore[arg-type]
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_impossible_evaluation_crop_is_one_line() -> None:
    with pytest.raises(UserError, match=r"got 1\.2, expected above 0"):
        EvalTransform(image_size=32, crop_fraction=1.2, mean=MEAN, std=STD)
    with pytest.raises(UserError, match="got 0, expected 1 or more pixels"):
        EvalTransform(image_size=0, crop_fraction=1.0, mean=MEAN, std=STD)


def test_the_clipped_crop_is_drawn_once_and_cut_to_the_image() -> None:
    """By its definition, on an image so narrow that most draws are cut."""
    for seed in range(300):
        random.seed(seed)
        box = clipped_crop_box(HeightWidth(400, 40), (0.08, 1.0), (3 / 4, 4 / 3))
        random.seed(seed)
        area = random.uniform(0.08, 1.0) * 40 * 400
        aspect = math.exp(random.uniform(math.log(3 / 4), math.log(4 / 3)))
        width, height = min(round((area * aspect) ** 0.5), 40), min(round((area / aspect) ** 0.5), 400)
        top = random.randint(0, 400 - height)
        left = random.randint(0, 40 - width)
        assert box == (left, top, left + width, top + height)


def test_a_clipped_crop_of_a_pixel_is_the_pixel() -> None:
    assert clipped_crop_box(HeightWidth(1, 1), (0.08, 0.08), (1.0, 1.0)) == (0, 0, 1, 1)
