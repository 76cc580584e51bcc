"""ADE20K and other folders: how images are paired, read and batched."""

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
from maekit.segmentation.data.ade20k import ADE20K, NAMES
from maekit.segmentation.data.dataset import SegBatch, SegEvalBatch
from maekit.segmentation.data.folders import SegmentationFolders
from maekit.segmentation.data.labels.coding import Coding
from maekit.segmentation.data.labels.read import read_label
from maekit.segmentation.data.palette import spread_palette
from maekit.segmentation.data.transforms.transforms import SegEvalTransform
from tests.helpers_data import check
from tests.segmentation.data.helpers import NUMBERS, build, own, refusal


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


def test_made_scenes_are_used_where_there_is_no_root() -> None:
    data = build(None, synthetic="scenes", crop_size=128, resize=[512, 128])
    assert len(data.spec().class_names) == 11
    assert (len(data.train_dataset(0)), len(data.val_dataset())) == (2000, 60)
    assert data.train_dataset(0)[Draw(0, 0)].image.shape == (3, 128, 128)
