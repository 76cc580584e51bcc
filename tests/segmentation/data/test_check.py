"""What `data check` and `fit` report of label maps, images and folders that cannot be used."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from maekit.base.spec import Draw
from maekit.errors import UserError
from maekit.segmentation.data import ade20k
from maekit.segmentation.data import check as seg_check
from maekit.segmentation.data.ade20k import ADE20K, NAMES
from maekit.segmentation.data.folders import SegmentationFolders
from maekit.segmentation.data.labels.coding import Coding
from maekit.segmentation.data.labels.read import read_label
from tests.helpers_data import check
from tests.segmentation.data.helpers import build, own, refusal, save_label

RNG = np.random.default_rng(0)
LABEL = "annotations/training/ADE_train_00000001.png"


def quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets the few images pass as all of them."""
    monkeypatch.setattr(ade20k, "NUM_TRAIN", 6)
    monkeypatch.setattr(ade20k, "NUM_VAL", 3)


def test_a_sound_check(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    quiet(monkeypatch)
    expected = [
        "training: 6 images of 150 classes",
        "validation: 3 images",
        "label maps: 0 unlabelled, 1 to 150 the classes, 255 ignored; as in the released ADE20K",
        "files: 9 of 9 pairs read",
        "ok",
    ]
    assert check(ADE20K, root, full=True).lines() == expected
    monkeypatch.setattr(seg_check, "FEW", 1)  # as with more files: in other processes
    assert check(ADE20K, root, full=True).lines() == expected


def test_wrong_counts_and_heads(root: Path) -> None:
    problems = check(ADE20K, root, classes=21).problems
    advice = "unpack its archive again"
    assert problems[:2] == [
        f"6 training images with a label map, ADEChallengeData2016 has 20,210; {advice}",
        f"3 validation images with a label map, ADEChallengeData2016 has 2,000; {advice}",
    ]
    assert problems[2].startswith("the head has 21 classes, the data 150; ")


def test_absent_classes_are_a_fact(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    quiet(monkeypatch)
    for path in (root / "annotations/validation").iterdir():
        values = np.array(Image.open(path))
        values[(values == 3) | (values > 144)] = 0
        save_label(path, values)
    findings = check(ADE20K, root)
    line = next(line for line in findings.facts if line.startswith("validation: no pixel"))
    assert line == (
        f"validation: no pixel of sky, {NAMES[144]}, {NAMES[145]}, {NAMES[146]}, {NAMES[147]} and 2 more "
        "in its 3 label maps"
    )
    assert findings.ok
    monkeypatch.setitem(seg_check.MAX_QUICK, "validation", 2)
    assert not any("no pixel" in line for line in check(ADE20K, root).facts)
    (root / "annotations/validation/ADE_val_00000003.png").write_bytes(b"")
    assert any("and 2 more in its 2 label maps" in line for line in check(ADE20K, root, full=True).facts)


def test_palette_images_are_read_by_index(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    quiet(monkeypatch)
    path = root / "annotations/validation/ADE_val_00000002.png"
    before = read_label(path, Coding(150, True))
    with Image.open(path) as image:
        coloured = image.convert("L")
    coloured.putpalette(RNG.integers(0, 256, 768, dtype=np.uint8).tobytes())
    coloured.save(path)
    with Image.open(path) as image:
        assert image.mode == "P"
    np.testing.assert_array_equal(read_label(path, Coding(150, True)), before)
    findings = check(ADE20K, root)
    assert "label maps: palette images among them; the index of a colour is read, not the colour" in findings.facts
    assert findings.ok


def test_sixteen_bits_are_read(root: Path) -> None:
    path = root / "annotations/validation/ADE_val_00000002.png"
    before = read_label(path, Coding(150, True))
    save_label(path, np.asarray(Image.open(path)).astype(np.uint16))
    np.testing.assert_array_equal(read_label(path, Coding(150, True)), before)
    save_label(path, np.full((32, 42), 700, np.uint16))
    with pytest.raises(UserError, match="label value 700, expected 0 unlabelled, 1 to 150 the classes, 255 ignored"):
        read_label(path, Coding(150, True))
    save_label(path.with_suffix(".tif"), np.full((2, 2), -1, np.int32))
    with pytest.raises(UserError, match="label value -1, expected 0 to 2 the classes"):
        read_label(path.with_suffix(".tif"), Coding(3, False))


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (np.full((31, 41), 151, np.uint8), "label value 151, expected 0 unlabelled, 1 to 150 the classes, 255 ignored"),
        (
            np.zeros((31, 41, 3), np.uint8),
            "a label map of mode RGB, expected one channel of class numbers; give the colours",
        ),
        (np.zeros((31, 40), np.uint8), "40 x 31 pixels, its image ADE_train_00000001.jpg has 41 x 31; make them equal"),
        (
            np.zeros((41, 31), np.uint8),
            "31 x 41 pixels, its image ADE_train_00000001.jpg has 41 x 31; one of them lies",
        ),
    ],
)
def test_wrong_label_maps(root: Path, values: np.ndarray, words: str) -> None:
    save_label(root / LABEL, values)
    assert refusal(build(root), Draw(0, 0)).startswith(f"{root / LABEL}: {words}")


def test_values_from_one_that_should_start_at_zero(root: Path) -> None:
    save_label(own(root) / "masks/train/ADE_train_00000001.png", np.full((31, 41), 3, np.uint8))
    data = build(root, SegmentationFolders, reduce_zero_label=False)
    with pytest.raises(UserError) as caught:
        data.train_dataset(0)[Draw(0, 0)]
    line = str(caught.value)
    assert "label value 3, expected 0 to 2 the classes, 255 ignored; mend the file, or add" in line
    assert "--data.reduce_zero_label true" in line
    assert line in check(SegmentationFolders, root, reduce_zero_label=False).problems


@pytest.mark.parametrize(("content", "words"), [(b"", "(empty)"), (b"<html>", "(cannot identify image file")])
def test_unreadable_label_maps(root: Path, content: bytes, words: str) -> None:
    (root / LABEL).write_bytes(content)
    line = refusal(build(root), Draw(0, 0))
    assert line.startswith(f"{root / LABEL}: cannot be read as a label map {words}")
    (root / LABEL).write_bytes((root / "annotations/training/ADE_train_00000002.png").read_bytes()[:-60])
    assert "cannot be read as a label map" in refusal(build(root), Draw(0, 0))


def test_a_damaged_image(root: Path) -> None:
    path = root / "images/training/ADE_train_00000001.jpg"
    path.write_bytes(path.read_bytes()[:-200])
    assert refusal(build(root), Draw(0, 0)).startswith(f"{path}: cannot be read as an image")
    assert any(str(path) in line for line in check(ADE20K, root).problems)


def test_files_that_stand_alone(root: Path) -> None:
    (root / "annotations/training/ADE_train_00000002.png").unlink()
    line = refusal(build(root))
    lone = root / "images/training/ADE_train_00000002.jpg"
    advice = f"expected {root / 'annotations/training/ADE_train_00000002.png'}; add it or remove this"
    assert line == f"{lone}: no label map for it, {advice}"
    for number in (1, 3):
        (root / f"images/validation/ADE_val_0000000{number}.jpg").unlink()
    problems = check(ADE20K, root).problems
    assert any(
        line.startswith(f"{root / 'annotations/validation/ADE_val_00000001.png'}: no image for it (and 1 more")
        for line in problems
    )


def test_label_maps_as_jpeg(root: Path) -> None:
    with Image.open(root / LABEL) as image:
        image.save(root / LABEL, format="JPEG")  # whose name still ends in .png
    assert f"{root / LABEL}: a label map as JPEG" in refusal(build(root), Draw(0, 0))
    (root / LABEL).rename((root / LABEL).with_suffix(".jpg"))
    assert "a label map as JPEG, which changes its values; save label maps as PNG" in refusal(build(root))


def test_no_label_maps_at_all(root: Path) -> None:
    (root / "annotations").rename(root / "elsewhere")
    assert "it has images but no folder annotations, masks, labels or similar" in refusal(build(root))


def test_no_validation_split(root: Path) -> None:
    (root / "images/validation").rename(root / "images/test")
    assert "annotations/validation: no folder" in refusal(build(root))
    (root / "annotations/validation").rename(root / "annotations/test")
    assert "no validation split in it, which ADEChallengeData2016 has" in refusal(build(root))


def test_an_empty_split(root: Path) -> None:
    for part in ("images", "annotations"):
        for path in (root / part / "validation").iterdir():
            path.unlink()
    assert refusal(build(root)).startswith(f"{root / 'images/validation'}: no images in it, expected image files")


def test_one_folder_too_high_or_too_deep(root: Path) -> None:
    lacking = {
        root.parent: "no folder of images in it",
        root / "images": "it has images but no folder annotations, masks, labels or similar with label maps",
        root / "images/training": "no folder of images in it",
    }
    for wrong, words in lacking.items():
        assert refusal(build(wrong)) == f"{wrong}: {words}; did you mean --data.root {root}?"


def test_no_such_folder(root: Path) -> None:
    line = refusal(build(root.parent / "ADEChallengeData2017"))
    assert "no such folder" in line
    assert "did you mean 'ADEChallengeData2016'?" in line


def test_no_root_shows_what_to_type() -> None:
    assert "add --data.root DIR" in refusal(build(None))


@pytest.mark.parametrize(
    ("names", "words"),
    [
        ("sky\n\nsand\n", "classes.txt:2: an empty line, expected one class name a line"),
        ("sky\nSky\n", "classes.txt:2: 'Sky' stands twice; give each class a name of its own"),
        ("sky\n", "classes.txt: 1 class names, expected 2 to 254, one a line"),
        ("".join(f"{i}\n" for i in range(255)), "classes.txt: 255 class names, expected 2 to 254, one a line"),
    ],
)
def test_wrong_lists_of_classes(root: Path, names: str, words: str) -> None:
    assert words in refusal(build(own(root, names=names), SegmentationFolders))


def test_no_list_of_classes(root: Path) -> None:
    (own(root) / "classes.txt").rename(root / "class.txt")
    line = refusal(build(root, SegmentationFolders))
    assert line.startswith(f"{root}: no classes.txt in it; did you mean 'class.txt'?; write one class name a line")
