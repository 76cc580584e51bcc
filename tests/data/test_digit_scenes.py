"""The made scenes: their form on disk, their exact labels, and that no digit is in both splits."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from maekit.data import digit_scenes
from maekit.data.digit_scenes import ADE_FORM, CLASS_NAMES, OWN_FORM, draw_scene, make_scenes, scenes_root
from maekit.data.digits import Digit, digits
from maekit.errors import UserError
from maekit.segmentation.data.ade20k import ADE20K
from maekit.segmentation.data.folders import SegmentationFolders
from tests.helpers_data import check


def files(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def test_the_form_is_the_benchmarks_and_made_twice_alike(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(digit_scenes, "NUM_TRAIN", 12)
    monkeypatch.setattr(digit_scenes, "NUM_VAL", 5)
    line = ADE20K.make(tmp_path / "a")
    assert line == f"wrote 12 training and 5 validation scenes of 11 classes to {tmp_path / 'a'}"
    make_scenes(tmp_path / "b", ADE_FORM)
    assert files(tmp_path / "a") == files(tmp_path / "b")
    numbers = [("training", f"ADE_train_{i:08}") for i in range(1, 13)]
    numbers += [("validation", f"ADE_val_{i:08}") for i in range(1, 6)]
    expected = {f"images/{split}/{name}.jpg" for split, name in numbers}
    expected |= {f"annotations/{split}/{name}.png" for split, name in numbers} | {"classes.txt"}
    assert set(files(tmp_path / "a")) == expected
    assert (tmp_path / "a/classes.txt").read_text().split() == [
        "background", "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"
    ]  # fmt: skip


def test_both_forms_hold_the_same_scenes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(digit_scenes, "NUM_TRAIN", 6)
    monkeypatch.setattr(digit_scenes, "NUM_VAL", 2)
    make_scenes(tmp_path / "ade", ADE_FORM)
    SegmentationFolders.make(tmp_path / "own")
    for number in range(1, 7):
        shifted = np.asarray(Image.open(tmp_path / f"ade/annotations/training/ADE_train_{number:08}.png"))
        plain = np.asarray(Image.open(tmp_path / f"own/masks/train/scene_{number:08}.png"))
        np.testing.assert_array_equal(shifted, plain + 1)
        assert shifted.shape == (128, 128)
        assert set(np.unique(shifted)) <= set(range(1, 12))
    assert check(SegmentationFolders, tmp_path / "own", reduce_zero_label=False, allow_empty=True).ok


def test_splits_share_no_digit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(digit_scenes, "NUM_TRAIN", 2)
    monkeypatch.setattr(digit_scenes, "NUM_VAL", 3)
    pools: list[frozenset[int]] = []

    def record(pool: list[Digit], rng: Any) -> Any:
        pools.append(frozenset(digit.sample for digit in pool))
        return draw_scene(pool, rng)

    monkeypatch.setattr(digit_scenes, "draw_scene", record)
    make_scenes(tmp_path / "a", OWN_FORM)
    truth = {in_val: frozenset(d.sample for d in digits() if d.in_val == in_val) for in_val in (False, True)}
    assert pools == [truth[False]] * 2 + [truth[True]] * 3


def test_labels_are_exact() -> None:
    """A digit without a hole is a square of one colour: its label is that square, and nothing else."""
    square = Digit(0, 6, False, np.full((8, 8), 255, np.uint8))
    counted = []
    for seed in range(20):
        image, label = draw_scene([square], np.random.RandomState(seed))
        assert set(np.unique(label)) == {0, 7}
        colours = np.unique(image[label == 7].reshape(-1, 3), axis=0)
        counted.append(len(colours))
        assert sum((label == 7)[np.all(image == colour, axis=2)].sum() for colour in colours) == (label == 7).sum()
        assert all(44**2 * 0.7 <= np.all(image == colour, axis=2)[label == 7].sum() <= 64**2 for colour in colours)
    assert set(counted) <= {1, 2, 3, 4} and len(set(counted)) > 1


def test_edges_are_blended_and_cut_at_one_half(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a flat background the share of a digit in a pixel can be read off its colour."""
    digit = next(d for d in digits() if d.label == 8)
    monkeypatch.setattr(digit_scenes, "NUM_DIGITS", (1, 1))
    monkeypatch.setattr(digit_scenes, "TEXTURES", (lambda rng: np.zeros((128, 128, 3)),))
    monkeypatch.setattr(digit_scenes, "INK", (250, 250))
    for seed in range(5):
        image, label = draw_scene([digit], np.random.RandomState(seed))
        np.testing.assert_array_equal(label, np.where(image[..., 0] >= 125, 9, 0))
        assert 0.02 < ((image > 0) & (image < 250)).mean() < 0.1
        assert 0.04 < (image == 250).mean() < 0.3


def test_the_smoke_data_are_cached_and_sound(own_cache: Path) -> None:
    root = scenes_root(ADE_FORM)
    assert root == own_cache / "scenes-v2"
    findings = check(ADE20K, root, classes=11)
    assert findings.lines() == [
        "training: 2,000 images of 11 classes",
        "validation: 60 images",
        "label maps: 0 unlabelled, 1 to 11 the classes, 255 ignored; "
        "the 1,000 label maps that were read for training hold 1 to 11, and 11 classes are named",
        "files: 1,060 of 2,060 pairs read, the label maps whole; --full decodes all",
        "ok",
    ]
    labels = [np.asarray(Image.open(path)) for path in (root / "annotations/training").iterdir()]
    counts = np.bincount(np.stack(labels).ravel(), minlength=12)
    assert counts[0] == 0
    assert 0.6 < counts[1] / counts.sum() < 0.9
    assert counts[2:].min() > 0.01 * counts.sum()
    assert len(CLASS_NAMES) == 11


def test_a_folder_in_use_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("x")
    with pytest.raises(UserError, match=r"it exists and is not an empty folder; give a new one or remove it$"):
        ADE20K.make(tmp_path)
    assert files(tmp_path) == {"mine.txt": b"x"}
