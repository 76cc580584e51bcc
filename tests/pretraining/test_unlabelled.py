"""Images without labels: any depth, any folder, and the labelled ones beside them."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from maekit.base.spec import Draw
from maekit.errors import UserError
from maekit.pretraining.unlabelled import AnyImages
from tests.conftest import few_digits
from tests.helpers_data import check

NUMBERS: dict[str, Any] = {
    "total_batch_size": 4,
    "device_batch_size": 4,
    "num_workers": 0,
    "image_size": 16,
    "crop_scale": [0.2, 1.0],
    "crop_ratio": [0.75, 1.33],
    "horizontal_flip": 0.5,
    "rand_augment": None,
    "random_erasing": 0.0,
    "eval_crop_fraction": 1.0,
    "val_fraction": 0.25,
    "mean": [0.5, 0.4, 0.3],
    "std": [0.2, 0.2, 0.1],
}


def data(root: Path | None, **changed: Any) -> AnyImages:
    return AnyImages(root=None if root is None else str(root), **{**NUMBERS, **changed})


def save(folder: Path, *names: str) -> Path:
    for number, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (20, 20), (number * 20, 0, 0)).save(path)
    return folder


def test_images_at_any_depth_are_taken_and_a_share_is_set_aside(tmp_path: Path) -> None:
    root = save(tmp_path, "a.png", "b/c.png", "b/d/e.png", "b/d/f.png", "g/h.png", "g/i.png", "g/j.png", "k.png")
    found = data(root)
    train, val = found.train_dataset(0), found.val_dataset()
    assert (len(train), len(val)) == (6, 2)
    names = {*train.listing.names, *val.listing.names}
    assert names == {"a.png", "b/c.png", "b/d/e.png", "b/d/f.png", "g/h.png", "g/i.png", "g/j.png", "k.png"}
    again = data(root)
    assert list(again.val_dataset().listing.names) == list(val.listing.names)
    assert "6 training and 2 validation images" in found.summary()
    assert "0.25 of the images set aside" in found.summary()


def test_a_val_folder_is_taken_as_it_is(tmp_path: Path) -> None:
    root = save(tmp_path, "train/x/a.png", "train/b.png", "validation/c.png")
    found = data(root)
    assert list(found.train_dataset(0).listing.names) == ["b.png", "x/a.png"]
    assert list(found.val_dataset().listing.names) == ["c.png"]


def test_spec_and_samples(tmp_path: Path) -> None:
    found = data(save(tmp_path, *(f"{i}.png" for i in range(8))))
    spec = found.spec()
    assert (spec.target, spec.class_names, spec.image_size) == ("none", (), (16, 16))
    assert (spec.mean, spec.std) == ((0.5, 0.4, 0.3), (0.2, 0.2, 0.1))
    image, label, index = found.train_dataset(3)[Draw(2, 1)]
    assert image.shape == (3, 16, 16)
    assert (label, index) == (0, 1)
    assert torch.equal(image, found.train_dataset(3)[Draw(2, 1)][0])


def test_labelled_images_for_the_check_of_features(tmp_path: Path) -> None:
    root = save(tmp_path, *(f"{i}.png" for i in range(8)))
    assert data(root).probe_datasets() is None
    splits = data(root, probe_root=str(few_digits()), probe_image_size=24).probe_datasets()
    assert splits is not None
    train, val = splits
    assert (len(train), len(val)) == (80, 20)
    assert train[Draw(0, 79)][0].shape == (3, 24, 24)
    assert train[Draw(0, 79)][1] == 9
    shutil.copytree(few_digits() / "train", tmp_path / "digits")
    whole = data(root, probe_root=str(tmp_path / "digits")).probe_datasets()
    assert whole is not None
    assert (len(whole[0]), len(whole[1])) == (60, 20), "a share of each class is set aside"


def test_digit_scenes_need_no_folder() -> None:
    found = data(None, synthetic="scenes", probe_root="digits")
    assert (len(found.train_dataset(0)), len(found.val_dataset())) == (2000, 60)
    assert "frozen features are judged on digits" in found.summary()


def test_check_counts_and_reads(tmp_path: Path) -> None:
    root = save(tmp_path, "a.png", "b.png")
    (root / "c.png").write_bytes(b"no image")
    findings = check(AnyImages, root)
    assert findings.facts[:2] == [
        "training: 3 images",
        "validation: no such folder; data.val_fraction will be set aside",
    ]
    assert len(findings.problems) == 1
    assert "c.png" in findings.problems[0]
    assert "no such folder" in check(AnyImages, root / "nowhere").problems[0]


@pytest.mark.parametrize(
    ("given", "line"),
    [
        ("empty", "empty: no images in it, expected .*; give --data.root"),
        ("nowhere", "nowhere: no such folder"),
        (None, "no data given; add --data.root DIR with your images"),
    ],
)
def test_a_folder_without_images_is_one_line(tmp_path: Path, given: str | None, line: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=line) as error:
        data(tmp_path / given if given else None).setup()
    assert "\n" not in str(error.value)


def test_a_missing_folder_for_the_probe_is_refused_before_the_run(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nothere: no such folder"):
        data(save(tmp_path, "a.png", "b.png"), probe_root=str(tmp_path / "nothere")).setup()
    with pytest.raises(UserError, match=r"data.val_fraction: got 1.0"):
        data(tmp_path, val_fraction=1.0)
