"""Decoding a JPEG at a reduced size: the same region as of the full picture, within two levels of 255."""

import pickle
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from maekit.base.spec import Draw
from maekit.data.augment.augment import Augmentation, Box, TrainTransform
from maekit.data.augment.reduced_crop import above_its_end, factor_of, jpeg_header, reduced_crop
from maekit.data.folder_dataset import FolderDataset
from maekit.data.folders.listing import Listing, list_classes
from maekit.data.images.decode import Reading
from maekit.data.images.fast_decode import frame
from maekit.data.images.reading_of import reading_of
from maekit.data.images.reduced_size import decode_note, whole_factor
from maekit.data.images.transforms import BICUBIC, EvalTransform
from maekit.errors import UserError
from tests.data.helpers import PHOTOGRAPHS

MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
LARGE = PHOTOGRAPHS[0].resize((1601, 1197), BICUBIC)  # divisible by nothing
EVEN = PHOTOGRAPHS[0].resize((1600, 1200), BICUBIC)


def save(path: Path, image: Image.Image, turn: int = 1, **options: Any) -> Path:
    exif = Image.Exif()
    exif[0x0112] = turn
    image.save(path, "JPEG", quality=95, exif=exif, **options)
    return path


def distance(found: Image.Image, expected: Image.Image) -> float:
    return float(np.abs(np.asarray(found).astype(int) - np.asarray(expected).astype(int)).mean())


KINDS: dict[str, tuple[Image.Image, dict[str, Any]]] = {
    "colour": (LARGE, {}),
    "grey": (LARGE.convert("L"), {}),
    "CMYK": (LARGE.convert("CMYK"), {}),
    "progressive": (LARGE, {"progressive": True}),
    "no subsampling": (LARGE, {"subsampling": 0}),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("box", [(0, 0, 1601, 1197), (300, 200, 900, 700), (1301, 897, 1601, 1197)])
def test_a_crop_is_the_same_region(kind: str, box: Box, tmp_path: Path) -> None:
    image, options = KINDS[kind]
    path, reading = save(tmp_path / "a.jpg", image, **options), Reading()
    header, factor = jpeg_header(path, reading), factor_of(box, 64)
    assert header is not None
    assert (header.size, factor) == ((1197, 1601), {0: 8, 300: 4, 1301: 2}[box[0]])
    expected = reading(path).crop(box).resize((64, 64), BICUBIC)
    assert distance(reduced_crop(path, reading, header, box, 64, factor), expected) <= 2


@pytest.mark.parametrize("upright", [True, False])
@pytest.mark.parametrize("turn", range(1, 9))
def test_turned_pictures(turn: int, upright: bool, tmp_path: Path) -> None:
    """Sides that 8 does not divide: the last small pixel is at another edge in a turned picture."""
    path, reading = save(tmp_path / "a.jpg", LARGE, turn), Reading(upright)
    whole, header = reading(path), jpeg_header(path, reading)
    assert header is not None
    assert header.size == (whole.height, whole.width)
    for corner in ((8, 8), (whole.width - 1032, whole.height - 1032)):
        box = (*corner, corner[0] + 1024, corner[1] + 1024)
        expected = whole.crop(box).resize((64, 64), BICUBIC)
        found = distance(reduced_crop(path, reading, header, box, 64, 8), expected)
        shifted = [reduced_crop(path, reading, header, tuple(e + d for e in box), 64, 8) for d in (-6, 6)]  # type: ignore[arg-type]
        assert found <= 2
        assert all(found < distance(other, expected) for other in shifted)


@pytest.mark.parametrize("turn", range(1, 9))
def test_rows_below_the_crop_are_left_out(turn: int, tmp_path: Path) -> None:
    """The pixels are those of a decoding of all rows, wherever a turn puts the last ones."""
    path, reading = save(tmp_path / "a.jpg", LARGE, turn), Reading()
    header = jpeg_header(path, reading)
    assert header is not None
    left_out = 0
    for corner in ((30, 40), (200, 300)):
        box = (*corner, corner[0] + 600, corner[1] + 600)
        left_out += 1197 - above_its_end(header, box)[2]
        whole = reduced_crop(path, reading, header, box, 100, 4)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("maekit.data.images.decode.shortened", lambda data, rows: data)
            assert np.array_equal(np.asarray(whole), np.asarray(reduced_crop(path, reading, header, box, 100, 4)))
    assert left_out > 0


def images(tmp_path: Path, **saved: Image.Image) -> Listing:
    for name, image in saved.items():
        (tmp_path / "c").mkdir(exist_ok=True)
        image.save(tmp_path / "c" / name.replace("_", "."), quality=95)
    return list_classes(tmp_path, ("c",))


def train_transform(size: int, policy: str | None = None) -> TrainTransform:
    return TrainTransform(
        Augmentation(
            image_size=size, crop_scale=[0.2, 1.0], crop_ratio=[3 / 4, 4 / 3], horizontal_flip=0.5,
            rand_augment=policy, random_erasing=0.0, mean=MEAN, std=STD,
        )
    )  # fmt: skip


@pytest.mark.parametrize("decoder", ["fast", "pillow"])
def test_training_samples(decoder: Any, tmp_path: Path) -> None:
    """The same draws: the same region, mirrored or not, within two levels; the switch survives a worker's pickle."""
    listing = images(tmp_path, a_jpg=LARGE, b_jpg=EVEN)
    full, reduced = (FolderDataset(listing, train_transform(64), 0, decoder=decoder, reduced=r) for r in (False, True))
    reduced = pickle.loads(pickle.dumps(reduced))
    for epoch in range(2):
        for index in range(2):
            expected, found = full[Draw(epoch, index)][0], reduced[Draw(epoch, index)][0]
            levels = (found - expected).abs() * torch.tensor(STD).view(3, 1, 1) * 255
            assert 0 < levels.mean() <= 2


def test_other_formats_and_small_pictures_are_decoded_in_full(tmp_path: Path) -> None:
    deep = Image.fromarray(np.arange(256 * 256, dtype=np.uint16).reshape(256, 256))
    small = EVEN.resize((100, 75))
    listing = images(tmp_path, a_png=small.resize((300, 300)), b_webp=EVEN, c_tif=deep, d_jpg=small)
    for policy in (None, "rand-m9-mstd0.5-inc1"):
        full, reduced = (
            FolderDataset(listing, train_transform(64, policy), 0, decoder="fast", reduced=r) for r in (False, True)
        )
        for index in range(len(listing)):
            assert torch.equal(full[Draw(0, index)][0], reduced[Draw(0, index)][0])
    reading = Reading(least=64)
    for index in range(len(listing)):
        assert reading(listing.path(index)).size == Reading()(listing.path(index)).size


def test_damaged_files_are_refused_as_ever(tmp_path: Path) -> None:
    data = BytesIO()
    LARGE.save(data, "JPEG")
    (tmp_path / "c").mkdir()
    (tmp_path / "c/a.jpg").write_bytes(data.getvalue()[:20_000])
    (tmp_path / "c/b.jpg").write_bytes(b"no picture")
    listing = list_classes(tmp_path, ("c",))
    for index in range(2):
        messages = []
        for reduced in (False, True):
            with pytest.raises(UserError) as caught:
                _ = FolderDataset(listing, train_transform(64), 0, decoder="fast", reduced=reduced)[Draw(0, index)]
            messages.append(str(caught.value))
        assert messages[0] == messages[1]


def test_evaluation(tmp_path: Path) -> None:
    """Reduced only where 8, 4 or 2 divides both sides, and not below 1.5 times the side that the crop is cut from."""
    listing = images(tmp_path, a_jpg=EVEN, b_jpg=LARGE)
    transforms = [
        EvalTransform(image_size=64, crop_fraction=0.875, mean=MEAN, std=STD, reduced_decode=reduced)
        for reduced in (False, True)
    ]
    full, reduced = (FolderDataset(listing, transform, None) for transform in transforms)
    levels = (full[Draw(0, 0)][0] - reduced[Draw(0, 0)][0]).abs() * torch.tensor(STD).view(3, 1, 1) * 255
    assert 0 < levels.mean() <= 2
    assert torch.equal(full[Draw(0, 1)][0], reduced[Draw(0, 1)][0])
    assert [whole_factor(listing.path(0), least) for least in (73, 100, 101, 400, 401)] == [8, 8, 4, 2, 1]


def test_checkpoints_say_how_pictures_were_decoded(tmp_path: Path) -> None:
    """`predict` and `embed` read a user's pictures by the card alone: as evaluation did."""
    transform = EvalTransform(image_size=64, crop_fraction=0.875, mean=MEAN, std=STD, reduced_decode=True)
    path = save(tmp_path / "a.jpg", EVEN)
    assert EvalTransform(**transform.describe()).describe() == transform.describe()
    assert reading_of({**transform.describe()})(path).size == (200, 150)
    assert reading_of({**transform.describe(), "white": 255.0})(path).size == (200, 150)
    plain = EvalTransform(image_size=64, crop_fraction=0.875, mean=MEAN, std=STD)
    assert "reduced_decode" not in plain.describe()
    assert reading_of({**plain.describe()})(path).size == EVEN.size


def test_the_data_line_names_large_pictures() -> None:
    assert "--data.reduced_decode train" in decode_note("never", 3000, 224)
    assert decode_note("never", 375, 224) == ""
    assert "data.reduced_decode always" in decode_note("always", 0, 224)


def test_a_phone_picture_with_a_second_frame(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    EVEN.save(path, "MPO", save_all=True, append_images=[EVEN.resize((160, 120))], quality=95)
    assert frame(memoryview(path.read_bytes())) is not None
    found = Reading(least=100)(path)
    assert found.size == (200, 150)
    assert distance(found, EVEN.resize((200, 150), BICUBIC)) <= 2
