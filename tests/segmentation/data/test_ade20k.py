"""Images with label maps: how they are paired, read and batched, and what is said of wrong folders."""

import ast
import importlib.util
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from maekit.base.spec import Draw
from maekit.data.loader import make_loader
from maekit.data.sampler import EvalSampler, TrainSampler
from maekit.errors import UserError
from maekit.segmentation.data import ade20k
from maekit.segmentation.data import check as seg_check
from maekit.segmentation.data.ade20k import ADE20K, NAMES
from maekit.segmentation.data.dataset import SegBatch, SegEvalBatch
from maekit.segmentation.data.folders import SegmentationFolders
from maekit.segmentation.data.labels.coding import Coding
from maekit.segmentation.data.labels.read import read_label
from maekit.segmentation.data.palette import spread_palette
from maekit.segmentation.data.transforms.transforms import SegEvalTransform
from tests.helpers_data import check

RNG = np.random.default_rng(0)
SPLITS = {"training": ("ADE_train_", 6), "validation": ("ADE_val_", 3)}
NUMBERS: dict[str, Any] = {
    "total_batch_size": 4,
    "device_batch_size": None,
    "crop_size": 32,
    "resize": [128, 32],
    "resize_ratio": [0.5, 2.0],
    "cat_max_ratio": 0.75,
    "horizontal_flip": 0.5,
    "photometric": True,
    "mean": [0.485, 0.456, 0.406],
    "std": [0.229, 0.224, 0.225],
}


def save_label(path: Path, values: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values).save(path)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder in the benchmark's form with few images, each of another size; a label map holds 0 to 150 and 255."""
    root = tmp_path / "ADEChallengeData2016"
    for split, (stem, count) in SPLITS.items():
        (root / "images" / split).mkdir(parents=True)
        for number in range(1, count + 1):
            size = (30 + number, 40 + number)
            image = RNG.integers(0, 256, (*size, 3), dtype=np.uint8)
            Image.fromarray(image).save(root / "images" / split / f"{stem}{number:08}.jpg")
            values = np.resize(np.append(np.arange(151), 255), size).astype(np.uint8)
            save_label(root / "annotations" / split / f"{stem}{number:08}.png", values)
    return root


def own(root: Path, *, names: str = "sky\nsea\nsand\n") -> Path:
    """The same images as anyone's data: masks of 0, 1, 2 and 255, and three names."""
    (root / "annotations").rename(root / "masks")
    for part in ("images", "masks"):
        (root / part / "training").rename(root / part / "train")
        (root / part / "validation").rename(root / part / "val")
    for path in root.glob("masks/*/*.png"):
        save_label(path, np.resize(np.array([0, 1, 2, 255], np.uint8), np.asarray(Image.open(path)).shape))
    (root / "classes.txt").write_text(names)
    return root


def build(root: Path | None, kind: type[SegmentationFolders] = ADE20K, **changes: Any) -> SegmentationFolders:
    return kind(root=None if root is None else str(root), **{**NUMBERS, **changes})


def refusal(data: SegmentationFolders, draw: Draw | None = None) -> str:
    """The line on which training or evaluation ends; `data check` must say it too."""
    with pytest.raises(UserError) as caught:
        data.setup() if draw is None else data.train_dataset(0)[draw]
    line = str(caught.value)
    assert "\n" not in line
    if data.root:
        assert line in check(type(data), Path(data.root), full=True).problems
    return line


def quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets the few images pass as all of them."""
    monkeypatch.setattr(ade20k, "NUM_TRAIN", 6)
    monkeypatch.setattr(ade20k, "NUM_VAL", 3)


def test_the_published_classes() -> None:
    spec = ADE20K.published
    assert len(spec.class_names) == len(set(spec.class_names)) == len(spec.palette) == 150
    assert (spec.class_names[0], spec.class_names[12], spec.class_names[149]) == ("wall", "person", "flag")
    assert (spec.palette[0], spec.palette[2], spec.palette[149]) == ((120, 120, 120), (6, 230, 230), (92, 0, 255))
    assert spec.image_size == (512, 512)


def test_classes_and_palette_are_mmsegmentations() -> None:
    pytest.importorskip("mmseg")
    where = importlib.util.find_spec("mmseg")
    assert where and where.submodule_search_locations
    source = (Path(where.submodule_search_locations[0]) / "datasets/ade.py").read_text()
    calls = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]
    call = next(node for node in calls if {word.arg for word in node.keywords} == {"classes", "palette"})
    theirs = {str(word.arg): ast.literal_eval(word.value) for word in call.keywords}
    assert [name.strip() for name in theirs["classes"]] == list(NAMES)
    assert [tuple(colour) for colour in theirs["palette"]] == list(ADE20K.published.palette)


def test_what_is_found(root: Path) -> None:
    data = build(root)
    spec = data.spec()
    assert (spec.class_names, spec.image_size) == (NAMES, (32, 32))
    assert spec.palette == ADE20K.published.palette
    assert data.summary().startswith(f"6 training and 3 validation images of 150 classes in {root} (label maps: 0 unl")
    pairs = data.train_dataset(0).pairs
    assert [Path(pairs.image(i)).name for i in range(6)] == [f"ADE_train_{i:08}.jpg" for i in range(1, 7)]
    assert [Path(pairs.label(i)).name for i in range(6)] == [f"ADE_train_{i:08}.png" for i in range(1, 7)]
    assert data.input_transform() == {
        "resize": [128, 32], "min_side": 32, "divisor": None, "mean": NUMBERS["mean"], "std": NUMBERS["std"]
    }  # fmt: skip


def test_zero_is_ignored_and_the_others_move_down(root: Path) -> None:
    path = root / "annotations/validation/ADE_val_00000001.png"
    values = np.asarray(Image.open(path)).astype(int)
    expected = np.where((values == 0) | (values == 255), 255, values - 1)
    np.testing.assert_array_equal(read_label(path, Coding(150, True)), expected)
    sample = build(root).val_dataset()[Draw(0, 0)]
    assert torch.equal(sample.label, torch.from_numpy(expected))
    np.testing.assert_array_equal(read_label(path, Coding(151, False)), values)


def test_evaluation_keeps_labels_at_file_size(root: Path) -> None:
    data = build(root)
    for dataset, split, stem in (
        (data.val_dataset(), "validation", "ADE_val_"),
        (data.plain_train_dataset(), "training", "ADE_train_"),
    ):
        batch = data.collate([dataset[Draw(0, index)] for index in (1, 2, -1)])
        assert isinstance(batch, SegEvalBatch)
        assert batch.index.tolist() == [1, 2, -1]
        for number, image, label in zip((2, 3, 1), batch.images, batch.labels, strict=True):
            with Image.open(root / "images" / split / f"{stem}{number:08}.jpg") as opened:
                expected = SegEvalTransform(**data.input_transform())(opened.convert("RGB"))
                assert label.shape == opened.size[::-1]
            assert torch.equal(image, expected)
            assert label.dtype == torch.int64
            assert min(image.shape[1:]) == 32


def test_training_batches(root: Path) -> None:
    data = build(root)
    dataset = data.train_dataset(0)
    batch = data.collate([dataset[Draw(0, index)] for index in (4, 0)])
    assert isinstance(batch, SegBatch)
    assert (batch.image.shape, batch.image.dtype) == ((2, 3, 32, 32), torch.float32)
    assert (batch.label.shape, batch.label.dtype) == ((2, 32, 32), torch.int64)
    assert (batch.index.tolist(), batch.index.dtype) == ([4, 0], torch.int64)
    assert set(batch.label.flatten().tolist()) <= {*range(150), 255}


def test_workers_and_pickling_change_nothing(root: Path) -> None:
    data = build(root)
    dataset = data.train_dataset(7)
    alone, two = ([*epoch(data, dataset, workers)] for workers in (0, 2))
    again = [*epoch(data, pickle.loads(pickle.dumps(dataset)), 0)]
    assert len(alone) == 3
    for first, second, third in zip(alone, two, again, strict=True):
        assert all(torch.equal(a, b) and torch.equal(a, c) for a, b, c in zip(first, second, third, strict=True))
    assert not torch.equal(dataset[Draw(0, 1)].image, dataset[Draw(1, 1)].image)
    assert not torch.equal(dataset[Draw(0, 1)].image, data.train_dataset(8)[Draw(0, 1)].image)


def epoch(data: SegmentationFolders, dataset: Any, workers: int) -> Any:
    sampler = TrainSampler(len(dataset), total_batch=2, device_batch=2, rank=0, world=1, seed=1)
    return make_loader(dataset, sampler, 2, workers, False, data.collate)


def test_evaluation_through_workers(root: Path) -> None:
    data = build(root)
    loader = make_loader(data.val_dataset(), EvalSampler(3, 0, 1), 2, 2, False, data.collate)
    found = [pair for batch in loader for pair in zip(batch.index.tolist(), batch.labels, strict=True)]
    assert [index for index, _ in found] == [0, 1, 2]
    assert all(torch.equal(label, data.val_dataset()[Draw(0, index)].label) for index, label in found)


def test_anyones_folder(root: Path) -> None:
    data = build(own(root), SegmentationFolders)
    assert data.spec().class_names == ("sky", "sea", "sand")
    assert data.spec().palette == tuple(spread_palette(3))
    assert set(data.val_dataset()[Draw(0, 0)].label.flatten().tolist()) == {0, 1, 2, 255}
    assert check(SegmentationFolders, root, classes=3).lines() == [
        "training: 6 images of 3 classes",
        "validation: 3 images",
        "label maps: 0 to 2 the classes, 255 ignored; "
        "all 6 label maps for training hold 0 to 2, 255, and 3 classes are named",
        "files: 9 of 9 pairs read, the label maps whole; --full decodes all",
        "ok",
    ]
    one_less = build(root, SegmentationFolders, reduce_zero_label=True)
    assert set(one_less.val_dataset()[Draw(0, 0)].label.flatten().tolist()) == {0, 1, 255}


def test_palettes_are_spread() -> None:
    colours = spread_palette(254)
    assert colours[:20] == spread_palette(20)
    gaps = np.linalg.norm(np.array(colours)[:, None] - np.array(colours)[None], axis=2) + 999 * np.eye(254)
    assert gaps.min() >= 42
    assert gaps[:20, :20].min() > 100
    assert np.array(colours).min() >= 0 and np.array(colours).max() <= 255


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


LABEL = "annotations/training/ADE_train_00000001.png"


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (np.full((31, 41), 151, np.uint8), "label value 151, expected 0 unlabelled, 1 to 150 the classes, 255 ignored"),
        (np.zeros((31, 41, 3), np.uint8), "a label map of mode RGB, expected one channel of class numbers; convert"),
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


def test_the_full_data_set_is_another(tmp_path: Path) -> None:
    words = "this is the full ADE20K with thousands of classes"
    old = tmp_path / "ADE20K_2016_07_26"
    scene = old / "images/training/a/abbey"
    scene.mkdir(parents=True)
    (scene / "ADE_train_00000981.jpg").write_bytes(b"")
    (scene / "ADE_train_00000981_seg.png").write_bytes(b"")
    assert f"{words} (ADE_train_00000981_seg.png), not the benchmark; use ADEChallengeData2016" in refusal(build(old))
    (old / "index_ade20k.mat").write_bytes(b"")
    for wrong in (old, tmp_path, old / "images/training"):
        assert f"{words} (index_ade20k.mat), not the benchmark" in refusal(build(wrong))
    new = tmp_path / "new/ADE20K_2021_17_01"
    (new / "images/ADE/training/cultural/apse__indoor").mkdir(parents=True)
    (new / "images/ADE/training/cultural/apse__indoor/ADE_train_00000001_seg.png").write_bytes(b"")
    (old / "index_ade20k.mat").unlink()
    assert f"{words} (ADE_train_00000001_seg.png)" in refusal(build(new))
    (new / "index_ade20k.pkl").write_bytes(b"")
    assert f"{words} (index_ade20k.pkl)" in refusal(build(new))


def test_the_full_data_set_may_lie_beside_the_right_one(root: Path) -> None:
    (root.parent / "index_ade20k.pkl").write_bytes(b"")
    assert build(root).summary().startswith("6 training")
    assert refusal(build(root.parent)).endswith(f"did you mean --data.root {root}?")
    own(root)
    assert build(root, reduce_zero_label=False).summary().startswith("6 training")


def test_an_archive(tmp_path: Path) -> None:
    (tmp_path / "ADEChallengeData2016.zip").write_bytes(b"PK")
    assert "ADEChallengeData2016.zip is still packed; unpack it" in refusal(build(tmp_path))


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


def test_made_scenes_are_used_where_there_is_no_root() -> None:
    data = build(None, synthetic="scenes", crop_size=128, resize=[512, 128])
    assert len(data.spec().class_names) == 11
    assert (len(data.train_dataset(0)), len(data.val_dataset())) == (2000, 60)
    assert data.train_dataset(0)[Draw(0, 0)].image.shape == (3, 128, 128)
