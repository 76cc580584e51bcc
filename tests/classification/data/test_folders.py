"""Class folders: what is found, how a validation split is made, and the error of every wrong folder."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from torchvision.datasets import ImageFolder

from maekit.base.spec import Draw
from maekit.classification.data.folders import ClassFolders
from maekit.data.folders.listing import Names, list_classes, split, sub_folders
from maekit.errors import UserError
from maekit.optim.batch_plan import require_batch
from tests.classification.data import helpers

PIXEL = Image.new("RGB", (4, 4))


def plant(root: Path, *paths: str) -> Path:
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        PIXEL.save(root / path, "PNG")
    return root


def build(root: Path | None, **changes: Any) -> ClassFolders:
    numbers = {"total_batch_size": 8, "image_size": 16, "horizontal_flip": 0.5, "val_fraction": 0.25}
    return helpers.build(ClassFolders, root, **{**numbers, **changes})


def two_splits(root: Path) -> Path:
    return plant(root, "train/dog/1.png", "train/cat/a.png", "train/cat/b.png", "val/cat/c.png", "val/dog/2.png")


def test_splits_and_classes_are_those_of_torchvision(tmp_path: Path) -> None:
    two_splits(tmp_path)
    plant(tmp_path, "train/dog/deeper/3.PNG", "train/Zebra/z.JPG", "val/Zebra/z.tif")
    data = build(tmp_path)
    for dataset, name in ((data.train_dataset(0), "train"), (data.val_dataset(), "val")):
        reference = ImageFolder(str(tmp_path / name))
        listing = dataset.listing
        found = [(listing.path(i), int(listing.labels[i])) for i in range(len(listing))]
        assert sorted(found) == sorted(reference.samples)
        assert listing.classes == tuple(reference.classes)
    spec = data.spec()
    assert spec.class_names == spec.ids() == ("Zebra", "cat", "dog")
    assert spec.image_size == (16, 16)
    assert "5 training and 3 validation images of 3 classes" in data.summary()
    assert data.input_transform()["image_size"] == 16


def test_hidden_and_other_files_are_left_out(tmp_path: Path) -> None:
    two_splits(tmp_path)
    plant(tmp_path, "train/.cache/x.png", "train/cat/._a.png", "train/cat/.thumbs/t.png")
    (tmp_path / "train/cat/notes.txt").write_text("x")
    (tmp_path / "train/README.md").write_text("x")
    listing = build(tmp_path).train_dataset(0).listing
    assert list(listing.names) == ["cat/a.png", "cat/b.png", "dog/1.png"]


def test_linked_folders_and_files_are_followed(tmp_path: Path) -> None:
    real = plant(tmp_path / "real", "cat/1.png", "cat/2.png", "dog/1.png", "dog/2.png")
    root = tmp_path / "links"
    root.mkdir()
    for name in ("cat", "dog"):
        (root / name).symlink_to(real / name)
    train, val = build(root)._read()[:2]
    assert len(train) + len(val) == 4


@pytest.mark.parametrize("val", ["val", "validation", "valid"])
def test_names_of_the_validation_folder(tmp_path: Path, val: str) -> None:
    plant(tmp_path, "train/a/1.png", "train/b/1.png", f"{val}/a/2.png", f"{val}/b/2.png", f"{val}/b/3.png")
    assert len(build(tmp_path).val_dataset()) == 3


def test_a_class_may_be_called_train(tmp_path: Path) -> None:
    plant(tmp_path, *(f"{name}/{i}.png" for name in ("bus", "car", "train") for i in range(4)))
    data = build(tmp_path)
    assert data.spec().class_names == ("bus", "car", "train")
    assert (len(data.train_dataset(0)), len(data.val_dataset())) == (9, 3)
    assert "0.25 of each class set aside, split_seed 0" in data.summary()


def test_a_made_split_is_stratified_stated_and_stable(tmp_path: Path) -> None:
    plant(tmp_path, *(f"{name}/{i}.png" for name, n in (("a", 40), ("b", 12), ("c", 2), ("d", 1)) for i in range(n)))
    classes = sub_folders(tmp_path)
    train, val = split(list_classes(tmp_path, classes), 0.25, seed=1)
    assert np.bincount(val.labels, minlength=4).tolist() == [10, 3, 1, 0]
    assert sorted([*train.names, *val.names]) == sorted(list_classes(tmp_path, classes).names)
    assert not set(train.names) & set(val.names)
    plant(tmp_path, "0_new/1.png", "0_new/2.png", *(f"b/new{i}.png" for i in range(12)))
    later = split(list_classes(tmp_path, sub_folders(tmp_path)), 0.25, seed=1)[1]
    assert {n for n in later.names if n[0] in "acd"} == {n for n in val.names if n[0] in "acd"}
    other = split(list_classes(tmp_path, classes), 0.25, seed=2)[1]
    assert set(other.names) != set(val.names)


def test_names_survive_their_packing() -> None:
    words = ["a", "", "Ärger/ß.jpg", "\udcff.png", "x" * 300]
    names = Names(words)
    assert list(names) == words
    assert len(names) == 5
    for index in (5, -1):
        with pytest.raises(IndexError):
            names[index]


def test_no_root_shows_what_to_type() -> None:
    assert "--data.root DIR" in helpers.refusal(build(None))


def test_a_root_goes_before_made_data(tmp_path: Path) -> None:
    assert build(two_splits(tmp_path), synthetic="digits").spec().class_names == ("cat", "dog")


def test_a_missing_folder_names_the_nearest(tmp_path: Path) -> None:
    (tmp_path / "imagenet").mkdir()
    line = helpers.refusal(build(tmp_path / "imagenett" / "deeper"))
    assert "no such folder" in line
    assert "did you mean 'imagenet'?" in line


def test_a_file_is_not_a_folder(tmp_path: Path) -> None:
    (tmp_path / "images.zip").write_bytes(b"PK")
    assert "this is a file, expected a folder; unpack it" in helpers.refusal(build(tmp_path / "images.zip"))


def test_no_class_folders(tmp_path: Path) -> None:
    assert "no class folders in it, expected train/<class>/" in helpers.refusal(build(tmp_path))
    plant(tmp_path, "1.png")
    assert "no class folders in it (but images)" in helpers.refusal(build(tmp_path))


def test_one_class_only(tmp_path: Path) -> None:
    plant(tmp_path, "cat/1.png")
    assert "one class only ('cat'), expected two or more" in helpers.refusal(build(tmp_path))


def test_the_folder_above_the_data(tmp_path: Path) -> None:
    plant(tmp_path, "pets/cat/1.png", "pets/dog/1.png")
    assert f"did you mean --data.root {tmp_path / 'pets'}?" in helpers.refusal(build(tmp_path))


def test_the_training_split_alone(tmp_path: Path) -> None:
    assert f"--data.root {tmp_path}" in helpers.refusal(build(two_splits(tmp_path) / "train"))


def test_an_empty_class_folder_is_named(tmp_path: Path) -> None:
    two_splits(tmp_path)
    (tmp_path / "train" / "emu").mkdir()
    (tmp_path / "train" / "fox").mkdir()
    (tmp_path / "train" / "fox" / "notes.txt").write_text("x")
    line = helpers.refusal(build(tmp_path))
    assert f"{tmp_path / 'train' / 'emu'}: no images in this class folder and 1 more" in line


def test_a_class_of_one_split_only(tmp_path: Path) -> None:
    two_splits(tmp_path)
    plant(tmp_path, "val/dgo/1.png")
    assert "the training split has no class 'dgo'; did you mean 'dog'?" in helpers.refusal(build(tmp_path))
    (tmp_path / "val/dgo/1.png").unlink()
    (tmp_path / "val/dgo").rmdir()
    plant(tmp_path, "train/emu/1.png")
    data = build(tmp_path)
    assert [data.val_dataset()[Draw(0, index)][1] for index in range(2)] == [0, 1]
    assert "1 of 3 classes have no validation images and are not judged: 'emu'" in data.summary()


def test_a_validation_folder_without_classes_or_a_training_one(tmp_path: Path) -> None:
    plant(tmp_path, "train/a/1.png", "train/b/1.png", "val/1.png")
    assert "no class folders in it, expected those of the training split ('a', ...)" in helpers.refusal(build(tmp_path))
    plant(tmp_path / "other", "val/a/1.png", "val/b/1.png")
    assert "no class folders in train/" in helpers.refusal(build(tmp_path / "other"))


@pytest.mark.parametrize(
    "change", [{"val_fraction": 0.0}, {"val_fraction": 1.0}, {"total_batch_size": 0}, {"device_batch_size": 0}]
)
def test_impossible_numbers_are_refused_at_once(change: dict[str, float]) -> None:
    with pytest.raises(UserError, match=f"data.{next(iter(change))}: got "):
        build(None, **change)


def test_too_few_images_for_the_total_batch() -> None:
    require_batch(1024, 1024, 1e-3)
    with pytest.raises(UserError) as caught:
        require_batch(300, 1024, 1e-3)
    line = str(caught.value)
    assert "300 training images, fewer than the total batch of 1024" in line
    assert "use --data.total_batch_size 256 (300 at most), whose learning rate is 0.001 " in line
    with pytest.raises(
        UserError, match=r"total_batch_size 1 \(1 at most\), with a learning rate for it \(--optim\.lr\)"
    ):
        require_batch(1, 2, None)
    with pytest.raises(
        UserError, match=r"use --recipe few, which is for so few \(total batch 32\), or --data\.total_b"
    ):
        require_batch(300, 1024, 1e-3, few=lambda: 32)
    with pytest.raises(UserError, match=r"use --data\.total_batch_size 16 "):
        require_batch(20, 1024, 1e-3, few=lambda: 32)


def test_setup_reads_once(tmp_path: Path) -> None:
    data = build(two_splits(tmp_path))
    data.setup()
    plant(tmp_path, "train/cat/late.png")
    data.setup()
    assert len(data.train_dataset(0)) == 3
