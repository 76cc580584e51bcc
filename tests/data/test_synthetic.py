"""The made digits: ImageNet's format, no digit in both splits, hard enough for a linear model, safe to make at once."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression

from maekit.base.spec import Draw
from maekit.classification.data.imagenet import ImageNet
from maekit.data.digits import digits_root, make_digits
from maekit.data.folders.listing import Listing
from maekit.data.folders.text import readable_names
from maekit.data.images.decode import read_image
from maekit.errors import UserError


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("made") / "digits"
    assert make_digits(root).startswith("wrote 1,397 training and 400 validation images")
    return root


def pixels(listing: Listing) -> np.ndarray:
    """Returns [images, 64] in 0..1: each 4 x 4 block's mean."""
    images = np.stack([np.asarray(read_image(listing.path(i)).convert("L")) for i in range(len(listing))])
    blocks: np.ndarray = images.reshape(-1, 8, 4, 8, 4).mean(axis=(2, 4))
    return blocks.reshape(-1, 64) / 255


def samples(listing: Listing) -> list[int]:
    return [int(re.split(r"[_.]", name)[-2]) for name in listing.names]


def test_format_is_imagenets(root: Path) -> None:
    train, val = ImageNet.read_tree(root)
    assert val is not None
    assert (len(train), len(val)) == (1397, 400)
    assert all(re.fullmatch(r"(n0000000\d)/\1_\d+\.JPEG", name) for name in train.names)
    assert all(re.fullmatch(r"n0000000\d/ILSVRC2012_val_\d{8}\.JPEG", name) for name in val.names)
    assert np.bincount(val.labels).tolist() == [40] * 10
    assert readable_names(root, train.classes)[3] == "three"
    image = read_image(train.path(0))
    assert (image.size, image.mode) == ((32, 32), "RGB")


def test_a_task_reads_them_where_no_root_is_given(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAEKIT_CACHE", str(tmp_path))
    (tmp_path / "digits-v1").symlink_to(root)
    data = ImageNet(
        root=None,
        synthetic="digits",
        total_batch_size=64,
        device_batch_size=None,
        image_size=32,
        crop_scale=[0.6, 1.0],
        crop_ratio=[0.75, 1.33],
        horizontal_flip=0.0,
        rand_augment=None,
        random_erasing=0.0,
        eval_crop_fraction=1.0,
        val_fraction=0.1,
        mean=[0.3, 0.3, 0.3],
        std=[0.4, 0.4, 0.4],
    )
    spec = data.spec()
    assert spec.class_names[:4] == ("zero", "one", "two", "three")
    assert spec.ids()[3] == "n00000003"
    assert (len(data.train_dataset(0)), len(data.val_dataset())) == (1397, 400)
    image, label, index = data.val_dataset()[Draw(0, 399)]
    expected = torch.from_numpy(np.array(read_image(data.val_dataset().listing.path(399)))).permute(2, 0, 1)
    torch.testing.assert_close(image, (expected / 255 - 0.3) / 0.4)
    assert (label, index) == (9, 399)


def test_splits_share_no_digit_and_hold_the_real_ones(root: Path) -> None:
    train, val = ImageNet.read_tree(root)
    assert val is not None
    assert sorted(samples(train) + samples(val)) == list(range(1797))
    real, labels = load_digits(return_X_y=True)
    for listing in (train, val):
        order = samples(listing)
        np.testing.assert_array_equal(listing.labels, labels[order])
        assert np.abs(pixels(listing) - real[order] / 16).max() < 0.35
        nearest = np.array([np.abs(real / 16 - row).sum(axis=1).argmin() for row in pixels(listing)[:100]])
        np.testing.assert_array_equal(nearest, order[:100])


def test_a_linear_model_leaves_room_above_it(root: Path) -> None:
    train, val = ImageNet.read_tree(root)
    assert val is not None
    model = LogisticRegression(max_iter=2000).fit(pixels(train), train.labels)
    assert 0.94 < model.score(pixels(val), val.labels) < 0.97


def test_an_existing_folder_is_kept(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(UserError, match="it exists and is not an empty folder"):
        make_digits(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_two_processes_may_make_them_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAEKIT_CACHE", str(tmp_path / "cache"))
    line = "from maekit.data.digits import digits_root; print(digits_root())"
    started = [subprocess.Popen([sys.executable, "-c", line], stdout=subprocess.PIPE, text=True) for _ in range(2)]
    printed = [process.communicate()[0].strip() for process in started]
    assert [process.returncode for process in started] == [0, 0]
    assert printed == [str(tmp_path / "cache" / "digits-v1")] * 2
    assert [path.name for path in (tmp_path / "cache").iterdir()] == ["digits-v1"]
    train, val = ImageNet.read_tree(digits_root())
    assert val is not None
    assert len(train) + len(val) == 1797


def test_the_second_of_two_writers_drops_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The other process finishes between this one's look and its rename."""
    folder = tmp_path / "digits-v1"
    monkeypatch.setenv("MAEKIT_CACHE", str(tmp_path))

    def write(part: Path) -> None:
        for place in (part, folder):
            place.mkdir(exist_ok=True)
            (place / "LOC_synset_mapping.txt").write_text(place.name)

    monkeypatch.setattr("maekit.data.digits.write_digits", write)
    assert digits_root() == folder
    assert [path.name for path in tmp_path.iterdir()] == ["digits-v1"]
    assert (folder / "LOC_synset_mapping.txt").read_text() == "digits-v1"


def test_a_cache_that_cannot_be_written_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("x")
    monkeypatch.setenv("MAEKIT_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(UserError, match=r"cannot be written.*MAEKIT_CACHE") as caught:
        digits_root()
    assert "\n" not in str(caught.value)


def test_a_full_disk_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(part: Path) -> None:
        (part / "half").write_text("x")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("maekit.data.digits.write_digits", full)
    with pytest.raises(UserError, match="No space left on device"):
        make_digits(tmp_path / "new")
    assert list(tmp_path.iterdir()) == []
