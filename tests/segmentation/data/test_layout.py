"""Where people keep images and label maps, how they name them, and which way up photographs are."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from maekit.base.findings import Findings
from maekit.base.spec import Draw
from maekit.errors import UserError
from maekit.recipes.recipe import load_recipe
from maekit.recipes.tasks import find_task
from maekit.segmentation.data.ade20k import ADE20K
from maekit.segmentation.data.labels.coding import Coding
from maekit.segmentation.data.labels.read import read_pair
from maekit.segmentation.data.layout.names import key
from maekit.segmentation.data.layout.search import meaning
from maekit.segmentation.data.transforms.transforms import SegEvalTransform

NUM = {"train": 3, "val": 2}
NUMBERS = load_recipe(find_task("ade20k_upernet"), None).values["data"]


def data_set(root: Path, image: str, label: str, splits: tuple[str, ...] = ("train", "val")) -> Path:
    """Images and label maps at paths that hold `{split}` and `{n}`; a label map's first pixel tells its number."""
    for at, (split, count) in enumerate(zip(splits, NUM.values(), strict=False)):
        for number in range(count):
            rng = np.random.default_rng(10 * at + number)
            picture, labels = (root / text.format(split=split, n=f"im{at}{number}") for text in (image, label))
            for path in (picture, labels):
                path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(picture)
            values = np.zeros((8, 8), np.uint8)
            values[number + 1 :] = 1
            Image.fromarray(values).save(labels)
    (root / "classes.txt").write_text("background\nobject\n")
    return root


def build(root: Path, **flags: Any) -> ADE20K:
    return ADE20K(**{**NUMBERS, "root": str(root), "crop_size": 8, "resize": [16, 8], **flags})


def check(root: Path) -> Findings:
    return build(root).check()


def refusal(root: Path) -> str:
    with pytest.raises(UserError) as caught:
        build(root).setup()
    assert str(caught.value) in check(root).problems
    return str(caught.value)


def pairs(data: ADE20K) -> dict[str, list[tuple[str, str]]]:
    """Names of the images with those of their label maps, by split."""
    found = {"train": data.train_dataset(0).pairs, "val": data.val_dataset().pairs}
    return {
        split: [(Path(part.image(i)).name, Path(part.label(i)).name) for i in range(len(part))]
        for split, part in found.items()
    }


PLAIN = {"train": ["im00", "im01", "im02"], "val": ["im10", "im11"]}


@pytest.mark.parametrize(
    ("image", "label", "splits"),
    [
        ("images/{split}/{n}.png", "masks/{split}/{n}.png", ("train", "val")),
        ("images/{split}/{n}.png", "annotations/{split}/{n}.png", ("training", "validation")),
        ("images/{split}/{n}.png", "labels/{split}/{n}.png", ("Train", "Valid")),
        ("{split}/images/{n}.png", "{split}/masks/{n}.png", ("train", "val")),
        ("{split}/Images/{n}.png", "{split}/Labels/{n}.png", ("TRAIN", "VAL")),
        ("img_dir/{split}/{n}.png", "ann_dir/{split}/{n}.png", ("train", "val")),
        ("imgs/{split}/{n}.png", "gt/{split}/{n}.png", ("train", "dev")),
        ("{split}_images/{n}.png", "{split}_masks/{n}.png", ("train", "val")),
        ("{split}Images/{n}.png", "{split}Masks/{n}.png", ("Train", "Valid")),
        ("images_{split}/{n}.png", "mask-{split}/{n}.png", ("train", "val")),
        ("{split}/{n}.png", "{split}annot/{n}.png", ("train", "val")),
        ("{split}/{n}.png", "{split}_masks/{n}.png", ("train", "val")),
        ("images/{split}/deep/{n}.png", "masks/{split}/deep/{n}.png", ("train", "val")),
    ],
)
def test_folders_that_are_found(tmp_path: Path, image: str, label: str, splits: tuple[str, str]) -> None:
    data = build(data_set(tmp_path, image, label, splits))
    expected = {split: [(f"{stem}.png", f"{stem}.png") for stem in stems] for split, stems in PLAIN.items()}
    assert pairs(data) == expected
    assert check(tmp_path).ok


def test_cityscapes(tmp_path: Path) -> None:
    data_set(
        tmp_path,
        "leftImg8bit/{split}/bonn/{n}_000019_leftImg8bit.png",
        "gtFine/{split}/bonn/{n}_000019_gtFine_labelTrainIds.png",
    )
    for path in list(tmp_path.glob("gtFine/*/*/*.png")):
        for other in ("color", "instanceIds", "labelIds"):
            shutil.copy(path, path.with_name(path.name.replace("labelTrainIds", other)))
        path.with_name("polygons.json").write_text("{}")
    data = build(tmp_path)
    assert pairs(data)["val"][0] == ("im10_000019_leftImg8bit.png", "im10_000019_gtFine_labelTrainIds.png")
    assert "label maps by near names" in data.summary()
    assert "left out: 1 .json" in data.summary()
    assert check(tmp_path).ok


def test_pascal_voc(tmp_path: Path) -> None:
    data_set(tmp_path, "JPEGImages/{n}.png", "SegmentationClass/{n}.png")
    shutil.copy(tmp_path / "JPEGImages/im00.png", tmp_path / "JPEGImages/unlabelled.png")
    (tmp_path / "Annotations").mkdir()
    (tmp_path / "Annotations/im00.xml").write_text("<a/>")
    lists = tmp_path / "ImageSets/Segmentation"
    lists.mkdir(parents=True)
    (lists / "train.txt").write_text("im00\nim01\nim02\n")
    (lists / "val.txt").write_text("im10\r\nim11\r\n")
    assert {split: [image for image, _ in found] for split, found in pairs(build(tmp_path)).items()} == {
        split: [f"{stem}.png" for stem in stems] for split, stems in PLAIN.items()
    }
    assert check(tmp_path).ok
    assert "did you mean --data.root" in refusal(tmp_path / "JPEGImages")
    (lists / "val.txt").write_text("im02\nim10\nim11\n")
    assert "1 of 3 validation images are training images too" in check(tmp_path).problems[0]


@pytest.mark.parametrize(
    ("image", "label"),
    [
        ("{n}.png", "{n}_mask.png"),
        ("{n}.png", "{n}_labelIds.png"),
        ("{n}_sat.png", "{n}_mask.png"),
        ("img_{n}.png", "mask_{n}.png"),
        ("{n}-image.png", "{n}-seg.png"),
        ("{n}.PNG", "{n}_GT.tif"),
    ],
)
def test_label_maps_by_near_names(tmp_path: Path, image: str, label: str) -> None:
    data = build(data_set(tmp_path, "images/{split}/" + image, "masks/{split}/" + label))
    assert pairs(data)["val"] == [(image.format(n=n), label.format(n=n)) for n in PLAIN["val"]]
    wanted = f"label maps by near names, as {label.format(n='im00')} of {image.format(n='im00')}"
    assert wanted in data.summary()
    assert wanted in check(tmp_path).facts


def test_another_case_is_the_same_name(tmp_path: Path) -> None:
    data_set(tmp_path, "images/{split}/{n}.png", "masks/{split}/{n}.png")
    (tmp_path / "images/train/im00.png").rename(tmp_path / "images/train/IM00.PNG")
    assert ("IM00.PNG", "im00.png") in pairs(build(tmp_path))["train"]
    (tmp_path / "images/train/im01.png").rename(tmp_path / "images/train/caf\u00e9.png")
    (tmp_path / "masks/train/im01.png").rename(tmp_path / "masks/train/cafe\u0301.png")
    assert ("caf\u00e9.png", "cafe\u0301.png") in pairs(build(tmp_path))["train"]


def test_two_label_maps_of_one_image(tmp_path: Path) -> None:
    data_set(tmp_path, "images/{split}/{n}.png", "masks/{split}/{n}.png")
    with Image.open(tmp_path / "masks/train/im00.png") as image:
        image.save(tmp_path / "masks/train/im00.tif")
    assert "im00.png and im00.tif are both label maps of im00.png" in refusal(tmp_path)


def test_a_name_that_is_only_alike_is_told(tmp_path: Path) -> None:
    data_set(tmp_path, "images/{split}/{n}.png", "masks/{split}/{n}.png")
    (tmp_path / "masks/train/im00.png").rename(tmp_path / "masks/train/im00x.png")
    line = refusal(tmp_path)
    assert line.startswith(f"{tmp_path / 'images/train/im00.png'}: no label map for it")
    assert "did you mean 'im00x.png'?" in line


def test_label_maps_of_a_kind_that_is_not_read(tmp_path: Path) -> None:
    data_set(tmp_path, "images/{split}/{n}.png", "masks/{split}/{n}.png")
    for path in tmp_path.glob("masks/*/*.png"):
        path.rename(path.with_suffix(".npy"))
    assert "expected " + str(tmp_path / "masks/train/im00.png") + " (left out: 3 .npy there)" in refusal(tmp_path)


def test_keys_of_names() -> None:
    assert key("a/IM_1_mask.png") == key("a/im-1.jpg") == "a/im_1"
    assert key("a/1.png") != key("b/1.png")
    assert key("mask.png") == ""


def test_without_a_validation_split_a_share_is_set_aside(tmp_path: Path) -> None:
    data = build(data_set(tmp_path, "images/{n}.png", "masks/{n}.png"), val_fraction=0.4)
    found = pairs(data)
    assert (len(found["train"]), len(found["val"])) == (3, 2)
    assert all(image == label for part in found.values() for image, label in part)
    assert not set(found["train"]) & set(found["val"])
    assert "no validation split: 0.4 of the images set aside, split_seed 0" in data.summary()
    assert pairs(build(tmp_path, val_fraction=0.4)) == found
    with pytest.raises(UserError, match=r"data.val_fraction: got 1.0"):
        build(tmp_path, val_fraction=1.0)


def test_one_image_alone_is_refused(tmp_path: Path) -> None:
    data_set(tmp_path, "images/{n}.png", "masks/{n}.png")
    for folder in ("images", "masks"):
        for path in list((tmp_path / folder).iterdir())[1:]:
            path.unlink()
    assert "no" in refusal(tmp_path)


def test_a_test_split_is_named_and_not_used(tmp_path: Path) -> None:
    data_set(tmp_path, "images/{split}/{n}.png", "masks/{split}/{n}.png", ("train", "test"))
    data = build(tmp_path)
    assert "not used: images/test" in data.summary()
    assert "no validation split" in data.summary()


def test_one_split_alone_points_at_the_whole(tmp_path: Path) -> None:
    data_set(tmp_path, "{split}/images/{n}.png", "{split}/masks/{n}.png")
    assert refusal(tmp_path / "train").endswith(f"give the folder above it: --data.root {tmp_path}")
    for inside in ("train/images", "val/masks"):
        assert refusal(tmp_path / inside).endswith(f"did you mean --data.root {tmp_path}?")
    assert build(tmp_path).summary()


def test_label_maps_of_both_splits_in_one_folder(tmp_path: Path) -> None:
    data_set(tmp_path, "images/{split}/{n}.png", "masks/{n}.png")
    assert [label for _, label in pairs(build(tmp_path))["val"]] == ["im10.png", "im11.png"]


def test_two_folders_that_may_be_meant(tmp_path: Path) -> None:
    data_set(tmp_path, "images/{split}/{n}.png", "masks/{split}/{n}.png")
    shutil.copytree(tmp_path / "masks", tmp_path / "annotations")
    assert "may both be meant; rename" in refusal(tmp_path)
    shutil.rmtree(tmp_path / "annotations")
    (tmp_path / "labels/train").mkdir(parents=True)
    (tmp_path / "labels/train/im00.txt").write_text("0 1 1 1 1")  # of another task
    assert check(tmp_path).ok


def test_what_is_left_out_is_counted(tmp_path: Path) -> None:
    data_set(tmp_path, "images/{split}/{n}.png", "masks/{split}/{n}.png")
    (tmp_path / "images/train/scan.npy").write_bytes(b"")
    (tmp_path / "masks/train/im00.json").write_text("{}")
    for words in ("images/train: left out: 1 .npy", "masks/train: left out: 1 .json"):
        assert words in build(tmp_path).summary()
        assert words in check(tmp_path).facts


def test_what_folder_names_mean() -> None:
    assert meaning("train_images") == ("train", "images")
    assert meaning("SegmentationClass") == (None, "labels")
    assert meaning("annotations_instance") == (None, None)
    assert meaning("images_masks") == (None, None)
    assert meaning("ValidationMasks") == ("val", "labels")


def turned(image: Image.Image, orientation: int, path: Path, **options: Any) -> None:
    """Saves an image so that a viewer, which obeys the tag, shows it as it is."""
    ways = {
        1: None, 2: "FLIP_LEFT_RIGHT", 3: "ROTATE_180", 4: "FLIP_TOP_BOTTOM",
        5: "TRANSPOSE", 6: "ROTATE_90", 7: "TRANSVERSE", 8: "ROTATE_270",
    }  # fmt: skip
    exif, way = Image.Exif(), ways[orientation]
    exif[0x0112] = orientation
    (image.transpose(Image.Transpose[way]) if way else image).save(path, exif=exif, **options)


@pytest.mark.parametrize("size", [(32, 32), (32, 48)])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_photographs_are_read_as_their_label_maps_were_drawn(
    tmp_path: Path, orientation: int, size: tuple[int, int]
) -> None:
    values = np.zeros(size, np.uint8)
    values[4:10, 2:24] = 1
    seen = Image.fromarray(np.repeat(values[..., None] * np.uint8(255), 3, axis=2))
    turned(seen, orientation, tmp_path / "photo.jpg", quality=95)
    Image.fromarray(values).save(tmp_path / "map.png")
    image, label = read_pair(tmp_path / "photo.jpg", tmp_path / "map.png", Coding(2, False))
    np.testing.assert_array_equal(np.asarray(image)[..., 0] > 127, label == 1)
    np.testing.assert_array_equal(label, values)


def test_opencv_turns_them_too(tmp_path: Path) -> None:
    """mmsegmentation reads images with OpenCV's default flags."""
    cv2 = pytest.importorskip("cv2")
    rng = np.random.default_rng(0)
    image = Image.fromarray(np.repeat(np.repeat(rng.integers(0, 256, (4, 6, 3), dtype=np.uint8), 8, axis=0), 8, axis=1))
    for orientation in range(1, 9):
        turned(image, orientation, tmp_path / "photo.jpg", quality=95)
        Image.fromarray(np.zeros((32, 48), np.uint8)).save(tmp_path / "map.png")
        ours = np.asarray(read_pair(tmp_path / "photo.jpg", tmp_path / "map.png", Coding(2, False))[0])
        theirs = cv2.imread(str(tmp_path / "photo.jpg"), cv2.IMREAD_COLOR)[..., ::-1]
        assert np.abs(ours.astype(int) - theirs.astype(int)).mean() < 1


def test_a_label_map_that_fits_the_stored_photograph_only(tmp_path: Path) -> None:
    stored = np.zeros((32, 48, 3), np.uint8)
    stored[:8] = 255
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(stored).save(tmp_path / "photo.png", exif=exif)
    Image.fromarray(stored[..., 0] // 255).save(tmp_path / "map.png")
    image, label = read_pair(tmp_path / "photo.png", tmp_path / "map.png", Coding(2, False))
    np.testing.assert_array_equal(np.asarray(image)[..., 0] > 0, label == 1)


def test_a_label_map_with_a_tag_of_its_own_is_turned(tmp_path: Path) -> None:
    values = np.zeros((8, 8), np.uint8)
    values[:2] = 1
    turned(Image.fromarray(values), 3, tmp_path / "map.png")
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(tmp_path / "photo.png")
    np.testing.assert_array_equal(read_pair(tmp_path / "photo.png", tmp_path / "map.png", Coding(2, False))[1], values)


def test_a_label_map_of_another_size_is_refused_by_check(tmp_path: Path) -> None:
    data_set(tmp_path, "images/{split}/{n}.png", "masks/{split}/{n}.png")
    exif = Image.Exif()
    exif[0x0112] = 6
    photo = tmp_path / "images/train/im00.png"
    Image.fromarray(np.random.default_rng(5).integers(0, 256, (8, 12, 3), dtype=np.uint8)).save(photo, exif=exif)
    assert any("8 x 8 pixels, its image im00.png has 8 x 12" in line for line in check(tmp_path).problems)
    for size in ((12, 8), (8, 12)):  # upright, then as stored
        values = np.ones(size, np.uint8)
        values[0] = 0
        Image.fromarray(values).save(tmp_path / "masks/train/im00.png")
        assert check(tmp_path).ok


def test_images_of_twelve_bits_are_not_black(tmp_path: Path) -> None:
    """The white that the sample shows, or the flag's, becomes 255; it goes with the checkpoint."""
    root = data_set(tmp_path, "images/{split}/{n}.png", "masks/{split}/{n}.png")
    for path in root.glob("images/*/*.png"):
        pixels = np.linspace(0, 4000, 64).reshape(8, 8).astype(np.uint16)
        pixels[0, 0] = 4095
        Image.fromarray(pixels).save(path)
    assert any("4,095" in fact for fact in check(root).facts)
    for flags in ({}, {"white": 4095.0}):
        data = build(root, **flags)
        data.setup()
        assert "4,095" in data.summary()
        scaled = data.val_dataset()[Draw(0, 0)].image * torch.tensor(NUMBERS["std"]).view(3, 1, 1)
        found = (scaled + torch.tensor(NUMBERS["mean"]).view(3, 1, 1)) * 255
        assert found[0, -1, -1].item() == pytest.approx(4000 / 4095 * 255, abs=0.51)
        assert data.input_transform()["white"] == 4095
        SegEvalTransform(**data.input_transform())
    for path in root.glob("images/*/*.png"):
        Image.fromarray(np.full((8, 8), 70_000, np.float32)).save(path.with_suffix(".tif"))
        path.unlink()
    assert "data.white" in refusal(root)
    with pytest.raises(UserError, match=r"data\.white"):
        build(root, white=-1.0)
