"""Users' own folders and pictures: split names, nested folders, orientations, copies in both splits."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image

from maekit.base.data import TransferData
from maekit.base.spec import Draw
from maekit.classification.data.folders import ClassFolders
from maekit.classification.data.imagenet import ImageNet
from maekit.errors import UserError
from maekit.pretraining.unlabelled import AnyImages
from maekit.recipes.recipe import load_recipe
from maekit.recipes.tasks import find_task
from tests.helpers_data import TASK_OF, check

RNG = np.random.default_rng(0)


def picture(path: Path, turn: int = 1, size: tuple[int, int] = (24, 24), **options: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    exif = Image.Exif()
    exif[0x0112] = turn
    pixels = RNG.integers(0, 256, (*size, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path, **{**({"exif": exif} if turn != 1 else {}), **options})
    return path


def folders(root: Path, *splits: str, classes: tuple[str, ...] = ("cat", "dog"), n: int = 3, ext: str = "png") -> Path:
    for split in splits:
        for name in classes:
            for number in range(n):
                picture(root / split / name / f"{number}.{ext}")
    return root


def build(kind: type[TransferData], root: Path, **flags: Any) -> Any:
    numbers = load_recipe(find_task(TASK_OF[kind]), None).values["data"]
    return kind(**{**numbers, "root": str(root), **flags})


def refusal(kind: type[TransferData], root: Path, **flags: Any) -> str:
    """The line on which `fit` ends; `data check` must say it too."""
    with pytest.raises(UserError) as caught:
        build(kind, root, **flags).setup()
    assert str(caught.value) in check(kind, root, **flags).problems
    return str(caught.value)


@pytest.mark.parametrize(
    ("train", "val"),
    [("Train", "Val"), ("training", "validation"), ("seg_train", "dev"), ("TRAIN", "eval"), ("train_set", "valid")],
)
def test_splits_are_found_by_any_usual_name(train: str, val: str, tmp_path: Path) -> None:
    folders(tmp_path, train, val)
    findings = check(ClassFolders, tmp_path)
    assert findings.ok
    assert findings.facts[:2] == ["training: 6 images of 2 classes", "validation: 6 images"]
    assert len(build(AnyImages, tmp_path).val_dataset()) == 6


@pytest.mark.parametrize("kind", [ClassFolders, AnyImages])
def test_a_test_split_is_passed_over_and_named(kind: type[TransferData], tmp_path: Path) -> None:
    folders(tmp_path, "Train", "Test")
    assert "left out: folder Test" in build(kind, tmp_path).summary()
    assert "left out: folder Test" in check(kind, tmp_path).facts
    assert len(build(kind, tmp_path).train_dataset(0)) + len(build(kind, tmp_path).val_dataset()) == 6


@pytest.mark.parametrize("beside", ["test/cat/1.png", "test/1.png", "Val/cat/1.png"])
def test_a_split_beside_class_folders_is_refused(beside: str, tmp_path: Path) -> None:
    folders(tmp_path, "")
    picture(tmp_path / beside)
    line = refusal(ClassFolders, tmp_path)
    assert line.startswith(f"{tmp_path / beside.split('/')[0]}: named as a split, beside class folders")
    (tmp_path / "train").mkdir()
    for name in ("cat", "dog"):
        (tmp_path / name).rename(tmp_path / "train" / name)
    assert check(ClassFolders, tmp_path).ok or "val" in beside.lower()  # as the line advises


def test_splits_without_class_folders_are_no_classes(tmp_path: Path) -> None:
    for split in ("train", "test"):
        picture(tmp_path / split / "1.png")
    assert "it has test, train and no class folders in train/" in refusal(ClassFolders, tmp_path)


def test_a_validation_split_may_lack_a_class_or_have_it_empty(tmp_path: Path) -> None:
    folders(tmp_path, "train", classes=("ant", "bee", "cat"))
    folders(tmp_path, "val", classes=("ant", "cat"))
    (tmp_path / "val/bee").mkdir()
    for _ in range(2):
        data = build(ClassFolders, tmp_path)
        labels = [data.val_dataset()[Draw(0, index)][1] for index in range(6)]
        assert labels == [0, 0, 0, 2, 2, 2]
        line = "1 of 3 classes have no validation images and are not judged: 'bee'"
        assert line in data.summary()
        assert line in check(ClassFolders, tmp_path).facts
        assert check(ClassFolders, tmp_path).ok
        if (tmp_path / "val/bee").is_dir():
            (tmp_path / "val/bee").rmdir()


def test_a_class_with_another_unicode_form_is_reported(tmp_path: Path) -> None:
    folders(tmp_path, "train", classes=("caf\u00e9", "dog"))
    folders(tmp_path, "val", classes=("cafe\u0301", "dog"))
    assert "whose accents are encoded otherwise, NFC against NFD" in refusal(ClassFolders, tmp_path)


def test_one_image_a_class_cannot_be_split(tmp_path: Path) -> None:
    folders(tmp_path, "", n=1)
    assert "one image a class, so none can be set aside" in refusal(ClassFolders, tmp_path)
    (tmp_path / "dog").rename(tmp_path / "dogs")
    (tmp_path / "dogs/0.png").unlink()
    (tmp_path / "dogs").rmdir()
    assert "none can be set aside" in refusal(AnyImages, tmp_path)


def test_an_empty_validation_split_is_refused(tmp_path: Path) -> None:
    folders(tmp_path, "train")
    for name in ("cat", "dog"):
        (tmp_path / "val" / name).mkdir(parents=True)
    assert refusal(ClassFolders, tmp_path).startswith(f"{tmp_path / 'val'}: no images in its class folders")


def test_check_finds_an_empty_class_and_broken_images_in_one_run(tmp_path: Path) -> None:
    folders(tmp_path, "train", "val")
    (tmp_path / "train/emu").mkdir()
    (tmp_path / "train/cat/0.png").write_bytes(b"<html>")
    (tmp_path / "val/dog/1.png").write_bytes(b"")
    problems = check(ClassFolders, tmp_path).problems
    assert [line.split(": ")[0] for line in problems] == [
        str(tmp_path / name) for name in ("train/emu", "train/cat/0.png", "val/dog/1.png")
    ]


@pytest.mark.parametrize(("images", "masks"), [("images", "masks"), ("Images", "annotations"), ("imgs", "labels")])
def test_images_and_their_masks_are_no_classes(images: str, masks: str, tmp_path: Path) -> None:
    folders(tmp_path, "", classes=(images, masks))
    assert f"folders {images} and {masks} are images and their labels" in refusal(ImageNet, tmp_path)
    folders(tmp_path / "split", "train", "val", classes=(images, masks))
    assert "are images and their labels" in refusal(ImageNet, tmp_path / "split")


@pytest.mark.parametrize("name", ["annotations/instances_train2017.json", "train/_annotations.coco.json", "train.json"])
def test_a_coco_folder_is_no_folder_of_classes(name: str, tmp_path: Path) -> None:
    for split in ("train", "val"):
        picture(tmp_path / split / "1.png")
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text('{"images": [], "annotations": [], "categories": []}')
    assert refusal(ImageNet, tmp_path).startswith(f"{tmp_path / name}: annotations of objects in images")


def test_images_beside_and_below_class_folders_are_reported(tmp_path: Path) -> None:
    folders(tmp_path, "train", "val")
    picture(tmp_path / "train/loose.png")
    picture(tmp_path / "train/cat/siamese/1.png")
    data, findings = build(ClassFolders, tmp_path), check(ClassFolders, tmp_path)
    assert "left out: 1 images beside the class folders (loose.png)" in data.summary()
    (tmp_path / "train/owl.zip").write_bytes(b"PK")  # a class that was not unpacked
    assert "left out: 1 images beside the class folders (loose.png), 1 .zip" in build(ClassFolders, tmp_path).summary()
    assert "nested: 1 images lie deeper, such as cat/siamese/1.png; its class is 'cat', not 'siamese'" in findings.facts


def test_files_that_cannot_be_read_are_counted(tmp_path: Path) -> None:
    folders(tmp_path, "train", "val")
    for name in ("train/cat/a.jxl", "train/cat/b.dcm", "val/dog/c.txt"):
        (tmp_path / name).write_bytes(b"x")
    for line in (build(ClassFolders, tmp_path).summary(), "\n".join(check(ClassFolders, tmp_path).facts)):
        assert "1 .jxl" in line
        assert "1 .dcm" in line
        assert "1 .txt" in line


@pytest.mark.parametrize("kind", [ClassFolders, AnyImages])
def test_the_same_images_in_two_splits_are_reported(kind: type[TransferData], tmp_path: Path) -> None:
    folders(tmp_path, "train", "val")
    (tmp_path / "val/cat/copy.png").write_bytes((tmp_path / "train/dog/1.png").read_bytes())
    findings = check(kind, tmp_path)
    (line,) = [fact for fact in findings.facts if "are training images too" in fact]
    assert f"{tmp_path / 'val/cat/copy.png'} is {tmp_path / 'train/dog/1.png'}" in line
    assert line.startswith("1 of ")
    assert findings.ok


# Orientation


def view(data: Any, index: int = 0) -> np.ndarray:
    array: np.ndarray = data.val_dataset()[Draw(0, index)][0].numpy()
    return array


def test_own_photos_are_turned_and_that_is_reported(tmp_path: Path) -> None:
    folders(tmp_path, "train", "val")
    photo = picture(tmp_path / "val/cat/0.png", turn=6)
    data, stored = build(ClassFolders, tmp_path), build(ClassFolders, tmp_path, orientation="stored")
    assert np.abs(view(data) - np.rot90(view(stored), -1, (1, 2))).mean() < 0.05  # the resize rounds to 8 bits
    assert np.abs(view(data) - view(stored)).mean() > 0.5
    assert "1 of 12 sampled pictures are turned as their EXIF orientation says" in data.summary()
    assert "1 of 12 sampled pictures have an EXIF orientation, which is ignored" in stored.summary()
    assert photo.is_file()


@pytest.mark.parametrize("kind", [ImageNet, AnyImages])
def test_imagenet_is_read_as_its_published_numbers_were(kind: type[TransferData], tmp_path: Path) -> None:
    names = [f"n{number:08}" for number in range(1000)]
    source = picture(tmp_path / "one.jpg", turn=6, size=(8, 8))
    for split in ("train", "val"):
        for name in names:
            (tmp_path / "set" / split / name).mkdir(parents=True)
            os.link(source, tmp_path / "set" / split / name / "1.jpg")
    data = build(kind, tmp_path / "set")
    assert "as stored, EXIF orientation ignored, as for ImageNet-1K's published numbers" in data.summary()
    assert not data.form().reading.upright
    assert build(kind, tmp_path / "set", orientation="upright").form().reading.upright


# More than 8 bits


def deep(root: Path, factor: float, dtype: Any = np.uint16, suffix: str = "tif") -> Path:
    for split in ("train", "val"):
        for name in ("cat", "dog"):
            (root / split / name).mkdir(parents=True)
            for number in range(2):
                pixels = RNG.integers(60, 246, (8, 8)).astype(np.float64) * factor
                pixels[0, 0] = 255 * factor
                Image.fromarray(pixels.astype(dtype)).save(root / split / name / f"{number}.{suffix}")
    return root


@pytest.mark.parametrize(
    ("factor", "dtype", "white"),
    [
        (16, np.uint16, 4095),
        (1, np.uint16, 255),
        (64, np.uint16, 16383),
        (257, np.uint16, 65535),
        (16, np.int32, 4095),
        (1 / 255, np.float32, 1),
        (1, np.float32, 255),
    ],
)
def test_white_is_found_reported_and_saved_in_the_card(factor: float, dtype: Any, white: int, tmp_path: Path) -> None:
    data = build(ImageNet, deep(tmp_path, factor, dtype))
    assert f"white = {white:,}, the brightest pixel of 8 sampled ones is" in data.summary()
    assert data.input_transform()["white"] == white
    assert check(ImageNet, tmp_path).ok
    pixels = np.asarray(data.form().reading(tmp_path / "val/cat/0.tif"))
    assert pixels.max() >= 254
    assert (pixels > 50).all()


def test_a_given_white_is_used_and_brighter_pixels_are_clipped(tmp_path: Path) -> None:
    data = build(ImageNet, deep(tmp_path, 16), white=2000)
    assert data.input_transform()["white"] == 2000
    assert data.input_transform()["clip"] is True
    assert np.asarray(data.form().reading(tmp_path / "val/cat/0.tif")).max() == 255
    with pytest.raises(UserError, match=r"data.white: got -1"):
        build(ImageNet, tmp_path, white=-1)


@pytest.mark.parametrize(
    ("factor", "dtype", "why"),
    [
        (0.05, np.uint16, "the brightest pixel of 8 sampled pictures of more than 8 bits is 12; which value is white"),
        (300, np.int32, "76,500; which value is white is unclear: give it with --data.white"),
        (0.1, np.float32, "25.5; which value is white is unclear"),
        (-1, np.int32, "its lowest pixel is -2"),
        (np.nan, np.float32, "its lowest pixel is nan"),
    ],
)
def test_an_unclear_white_is_refused(factor: float, dtype: Any, why: str, tmp_path: Path) -> None:
    assert why in refusal(ImageNet, deep(tmp_path, factor, dtype))


def test_plain_pictures_have_no_note_on_white(tmp_path: Path) -> None:
    data = build(ImageNet, folders(tmp_path, "train", "val"))
    assert data.form().notes == ()
    assert "white" not in data.input_transform()


def frames(path: Path, *kinds: int) -> None:
    """A TIFF file of pages of these NewSubfileTypes."""
    with tifffile.TiffWriter(path) as file:
        for kind in kinds:
            file.write(RNG.integers(0, 256, (24, 24), dtype=np.uint8), subfiletype=kind, metadata=None)


def test_pages_and_channels_that_are_not_used_are_reported(tmp_path: Path) -> None:
    folders(tmp_path, "train", "val", ext="tif")
    notes = " ".join(check(ClassFolders, tmp_path).facts)
    assert "pages" not in notes and "channel" not in notes
    first, second = sorted((tmp_path / "train" / "cat").iterdir())[:2]
    frames(first, 0, 1)  # an overview is no page of its own
    assert "pages" not in " ".join(check(ClassFolders, tmp_path).facts)
    frames(first, 0, 0)
    near_infrared = RNG.integers(0, 256, (24, 24, 4), dtype=np.uint8)
    tifffile.imwrite(second, near_infrared, photometric="rgb", extrasamples=["unspecified"])
    notes = " ".join(check(ClassFolders, tmp_path).facts)
    assert "1 of 12 sampled pictures have several pages" in notes
    assert "1 of 12 sampled pictures have a channel beside their colours" in notes


def test_transparent_pictures_are_reported(tmp_path: Path) -> None:
    folders(tmp_path, "train", "val")
    Image.new("RGBA", (9, 9), (255, 0, 0, 0)).save(tmp_path / "val/cat/0.png")
    Image.new("RGBA", (9, 9), (255, 0, 0, 255)).save(tmp_path / "val/cat/1.png")
    assert (
        "1 of 12 sampled pictures have transparent pixels, whose hidden colours are used"
        in check(ImageNet, tmp_path).facts
    )
