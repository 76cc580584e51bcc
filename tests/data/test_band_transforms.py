"""Transforms of pictures of any channels: against those of RGB, and against Pillow's and timm's of single channels."""

import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from timm.data import auto_augment
from torch import Tensor

from maekit.base.data import seeded
from maekit.data.augment.augment import Augmentation, TrainTransform
from maekit.data.augment.band_augment import BandRandAugment
from maekit.data.images.bands.facts import Bands
from maekit.data.images.bands.pixels import resize
from maekit.data.images.transforms import BICUBIC, EvalTransform, Normalise, normalise_of
from maekit.errors import UserError
from maekit.system.size import HeightWidth

MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
POLICY = "rand-m9-mstd0.5-inc1"
GREY = Bands(("grey",), ("grey",), "uint8", (112.0,), (60.0,), 255.0)
THIRTEEN = tuple(f"B{number}" for number in range(1, 14))
DEEP = Bands(THIRTEEN, THIRTEEN, "uint16", (900.0,) * 13, (300.0,) * 13, 4095.0)


def picture(width: int, height: int) -> Image.Image:
    """A grey picture, smooth with sharp edges."""
    coarse = np.random.default_rng(width * 10007 + height).integers(0, 256, (7, 9), dtype=np.uint8)
    return Image.fromarray(coarse).resize((width, height), BICUBIC)


def pixels(image: Image.Image) -> Tensor:
    return torch.from_numpy(np.array(image))[..., None]


def deep(height: int, width: int, seed: int = 0) -> Tensor:
    """Thirteen bands as files of 12 bits give them: [H, W, 13] float32."""
    planes = [np.asarray(picture(width + seed, height + band))[:height, :width] for band in range(13)]
    return torch.from_numpy(np.stack(planes, axis=2)).float() * 16


def numbers(**more: object) -> Augmentation:
    given = {"image_size": 32, "crop_scale": [0.3, 1.0], "crop_ratio": [3 / 4, 4 / 3], "horizontal_flip": 0.5}
    return Augmentation(**{**given, "rand_augment": None, "random_erasing": 0.0, "mean": MEAN, "std": STD, **more})  # type: ignore[arg-type]


def evaluation(bands: Bands, size: int = 48, fraction: float = 0.875) -> EvalTransform:
    return EvalTransform(image_size=size, crop_fraction=fraction, **bands.plain())


@pytest.mark.parametrize("size", [(90, 70), (33, 997), (48, 48), (3, 2), (1, 700)])
def test_one_channel_is_evaluated_as_grey_repeated_to_rgb(size: tuple[int, int]) -> None:
    image = picture(*size)
    ours = evaluation(GREY)(pixels(image))
    rgb = EvalTransform(image_size=48, crop_fraction=0.875, mean=[112 / 255] * 3, std=[60 / 255] * 3)
    expected = rgb(image.convert("RGB"))
    assert ours.shape == (1, 48, 48)
    assert torch.allclose(ours, expected[:1], atol=1e-5, rtol=0)


def test_floats_are_resized_with_pillows_weights_and_not_cut() -> None:
    image = picture(90, 70)
    ours = resize(pixels(image).float(), HeightWidth(31, 40))[..., 0].numpy()
    pillow = np.asarray(image.convert("F").resize((40, 31), BICUBIC))
    assert np.abs(ours - pillow).max() < 0.01
    bright = torch.zeros(16, 16, 1)
    bright[:, 8:] = 1000.0
    assert resize(bright, HeightWidth(16, 40)).max() > 1000
    assert resize(bright.clamp(max=255).to(torch.uint8), HeightWidth(16, 40)).max() == 255


def test_a_card_rebuilds_the_transform_and_the_normalisation() -> None:
    bands = replace(DEEP, shown=("B4", "B3", "B2"))
    transform = evaluation(bands)
    again = EvalTransform(**transform.describe())
    image = deep(70, 90)
    assert again.describe() == transform.describe()
    assert torch.equal(again(image), transform(image))
    assert normalise_of(transform.describe()).bands == bands
    assert torch.allclose(transform.normalise(image), ((image - 900) / 300).permute(2, 0, 1))
    assert "bands" not in EvalTransform(image_size=8, crop_fraction=1.0, mean=MEAN, std=STD).describe()


def test_a_band_without_spread_is_refused() -> None:
    with pytest.raises(UserError, match="std"):
        Normalise((), (), replace(DEEP, std=(300.0,) * 12 + (0.0,)))


def test_nothing_changes_the_picture_that_was_read() -> None:
    for bands in (DEEP, replace(GREY, dtype="float32")):  # one channel is contiguous in either order of axes
        image = deep(40, 40)[..., : len(bands.names)].contiguous()
        kept = image.clone()
        TrainTransform(numbers(rand_augment=POLICY, random_erasing=1.0), bands)(image)
        evaluation(bands, 40, 1.0)(image)
        assert torch.equal(image, kept)


def test_training_of_one_channel_is_that_of_grey_repeated_to_rgb() -> None:
    image = picture(90, 70)
    rgb = torch.from_numpy(np.array(image.convert("RGB")))
    own = replace(GREY, mean=(112.0,), std=(60.0,))
    three = numbers(mean=[112 / 255] * 3, std=[60 / 255] * 3)
    for epoch in range(5):
        with seeded(0, epoch, 3):
            ours = TrainTransform(numbers(), own)(pixels(image))
        with seeded(0, epoch, 3):
            expected = TrainTransform(three)(rgb)
        assert torch.allclose(ours, expected[:1], atol=1e-5, rtol=0)


def test_moves_are_timms_of_each_channel() -> None:
    """timm's own operation on a float image of Pillow's; bicubic weights differ (a = -0.75 and -0.5)."""
    image = picture(60, 50).convert("F")
    values = torch.from_numpy(np.array(image))[None] - 128
    for name in ("Rotate", "ShearX", "ShearY", "TranslateXRel", "TranslateYRel"):
        options = {"img_mean": 128, "interpolation": BICUBIC}
        policy = auto_augment.rand_augment_transform("rand-m9-n1", options)
        policy.ops = [operation for operation in policy.ops if operation.name == name]
        ours = BandRandAugment("rand-m9-n1")
        ours.policy.ops = [operation for operation in ours.policy.ops if operation.name == name]
        for drawn in (policy.ops[0], ours.policy.ops[0]):
            vars(drawn)["prob"] = 1.0
        with seeded(0, 0, 0):
            expected = torch.from_numpy(np.array(policy(image)))[None] - 128
        with seeded(0, 0, 0):
            moved = ours(values)
        assert (moved - expected).abs().mean() < 0.02 * (values - expected).abs().mean() + 1e-3, name
        assert torch.equal(moved == 0, expected == 0), name  # uncovered pixels are the mean


def test_operations_for_rgb_are_named_and_do_nothing() -> None:
    transform = TrainTransform(numbers(rand_augment=POLICY), DEEP)
    assert {"Posterize", "Solarize", "Color", "Equalize", "AutoContrast", "Brightness"} <= set(transform.left_out)
    assert not {"Rotate", "ShearX", "TranslateXRel"} & set(transform.left_out)
    assert TrainTransform(numbers(rand_augment=POLICY)).left_out == TrainTransform(numbers(), DEEP).left_out == ()
    augment = BandRandAugment(POLICY)
    augment.policy.ops = [operation for operation in augment.policy.ops if operation.name == "Equalize"]
    image = torch.randn(13, 8, 8)
    assert torch.equal(augment(image), image)


def test_draws_come_from_seed_epoch_and_index_and_survive_a_pickle() -> None:
    transform = TrainTransform(numbers(rand_augment=POLICY, random_erasing=0.5), DEEP)
    other = pickle.loads(pickle.dumps(transform))
    image = deep(50, 60)

    def drawn(which: TrainTransform, epoch: int) -> Tensor:
        with seeded(1, epoch, 7):
            return which(image)

    assert all(torch.equal(drawn(transform, epoch), drawn(other, epoch)) for epoch in range(4))
    assert not torch.equal(drawn(transform, 0), drawn(transform, 1))
    assert torch.isfinite(drawn(transform, 0)).all()


def test_an_unknown_policy_is_refused() -> None:
    with pytest.raises(UserError, match="rand_augment"):
        TrainTransform(numbers(rand_augment="nonsense"), DEEP)


def test_pictures_show_the_named_bands_from_two_deviations_below_the_mean_to_two_above() -> None:
    image = torch.full((4, 4, 13), 900.0)
    image[..., 3], image[..., 2], image[..., 1] = 1500.0, 900.0, 300.0
    shown = np.asarray(evaluation(replace(DEEP, shown=("B4", "B3", "B2"))).normalise.picture(image))
    assert (shown == (255, 128, 0)).all()
    one = np.asarray(evaluation(replace(DEEP, shown=("B2",))).normalise.picture(image))
    assert (one == 0).all()
    first = np.asarray(evaluation(DEEP).normalise.picture(image))
    assert (first[0, 0] == (128, 0, 128)).all()


def test_pictures_of_eight_bits_are_as_they_are() -> None:
    image = picture(20, 10)
    shown = np.asarray(evaluation(GREY).normalise.picture(pixels(image)))
    assert (shown == np.asarray(image.convert("RGB"))).all()


def test_seen_is_what_undo_draws() -> None:
    """Reconstructions are in shares of the unit; pictures of both ways are the same."""
    image = deep(24, 24)
    for bands in (
        DEEP,
        replace(DEEP, shown=("B9",)),
        replace(GREY, names=THIRTEEN, mean=(90.0,) * 13, std=(9.0,) * 13),
    ):
        normalise = normalise_of(bands.plain())
        seen = normalise.seen(image.permute(2, 0, 1)[None] / bands.unit)[0]
        drawn = torch.from_numpy(np.array(normalise.picture(image))).permute(2, 0, 1)
        assert ((255 * seen).round() - drawn).abs().max() <= 1
