"""COCO's files: what is read of them and what is left out."""

import copy
import json
import pickle
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from maekit.base.spec import Draw
from maekit.data.loader import make_loader
from maekit.data.sampler import EvalSampler, TrainSampler
from maekit.detection.data.batch import DetBatch, DetEvalBatch
from maekit.detection.data.coco.coco import CATEGORIES, COCO
from maekit.detection.data.coco.file import CocoFile
from maekit.detection.data.coco.rle import whole_counts
from maekit.detection.data.transforms import DetEvalTransform
from maekit.errors import UserError
from tests.detection.data.helpers import (
    NUMBERS,
    RNG,
    SIZES,
    build,
    content,
    edit,
    problems,
    read_coco,
    refusal,
    ring,
    write,
)
from tests.helpers_data import check


def test_the_published_categories() -> None:
    assert len(CATEGORIES) == len(set(CATEGORIES.values())) == 80
    assert list(CATEGORIES) == sorted(CATEGORIES)
    assert set(range(1, 91)) - set(CATEGORIES) == {12, 26, 29, 30, 45, 66, 68, 69, 71, 83}
    assert (CATEGORIES[1], CATEGORIES[13], CATEGORIES[64], CATEGORIES[90]) == (
        "person", "stop sign", "potted plant", "toothbrush"
    )  # fmt: skip
    assert COCO.published.class_names == tuple(CATEGORIES.values())
    assert COCO.published.class_ids == tuple(map(str, CATEGORIES))
    assert COCO.published.image_size == (1024, 1024)


def test_what_is_found(root: Path) -> None:
    data = build(root)
    spec = data.spec()
    assert (spec.class_names, spec.class_ids) == (("cat", "dog", "toothbrush"), ("2", "7", "90"))
    assert (spec.image_size, data.category_ids) == ((64, 64), (2, 7, 90))
    assert data.summary() == (
        f"3 of 5 training images with 4 objects, 5 validation images, 3 classes in {root / 'annotations'}; "
        "training leaves out 2 of 6 annotations that are crowds (iscrowd 1); "
        "evaluation ignores 2 of 6 annotations that are crowds (iscrowd 1), and what is found on them"
    )
    train = data.train_dataset(0)
    assert [train.file.names[row] for row in train.rows] == ["000000000005.jpg", "000000000009.jpg", "000000000042.jpg"]
    assert [data.val_dataset()[Draw(0, i)].image_id for i in range(5)] == [5, 9, 17, 42, 139]
    assert data.input_transform() == {"image_size": 64, "mean": NUMBERS["mean"], "std": NUMBERS["std"]}


def test_evaluation_has_every_image_with_the_files_own_annotations(root: Path) -> None:
    data = build(root)
    for dataset, split in ((data.val_dataset(), "val"), (data.plain_train_dataset(), "train")):
        batch = data.collate([dataset[Draw(0, index)] for index in (0, 1, 2, 3, 4, -1)])
        assert isinstance(batch, DetEvalBatch)
        assert batch.index.tolist() == [0, 1, 2, 3, 4, -1]
        assert batch.image_id.tolist() == [5, 9, 17, 42, 139, 5]
        assert batch.original.tolist() == [list(SIZES[ident]) for ident in batch.image_id.tolist()]
        for number, ident in enumerate(batch.image_id.tolist()):
            expected = [copy.deepcopy(entry) for entry in content()["annotations"] if entry["image_id"] == ident]
            for entry in expected:
                shape = entry["segmentation"]
                if isinstance(shape, dict) and isinstance(shape["counts"], str):
                    shape["counts"] = whole_counts(shape)[0].tolist()
            assert batch.truth[number] == expected
            with Image.open(root / f"{split}2017/{ident:012}.jpg") as image:
                picture, size = DetEvalTransform(**data.input_transform())(image.convert("RGB"))
            assert torch.equal(batch.image[number], picture)
            assert batch.size[number].tolist() == list(size)


def test_training_has_objects_and_no_crowds(root: Path) -> None:
    data = build(root, scale_range=[1.0, 1.0], horizontal_flip=0.0)
    train = data.train_dataset(0)
    batch = data.collate([train[Draw(0, index)] for index in range(3)])
    assert isinstance(batch, DetBatch)
    assert [labels.tolist() for labels in batch.labels] == [[1], [0], [2, 0]]
    assert batch.index.tolist() == [0, 1, 2]
    assert batch.size.tolist() == [[43, 64], [64, 26], [48, 64]]
    factor = 64 / 40
    expected = np.array([[2.5, 1.0, 30.5, 12.0], [2.5, 3.25, 10.0, 12.0]], np.float32) * np.float32(factor)
    np.testing.assert_allclose(batch.boxes[2].numpy(), expected, rtol=1e-6)
    assert [len(shape.polygons) for shape in batch.masks[2]] == [2, 1]
    np.testing.assert_allclose(
        batch.masks[2][0].polygons[1], np.array([20.0, 1.0, 30.5, 1.0, 25.0, 9.0]) * factor, rtol=1e-12
    )
    (shape,) = batch.masks[1]
    assert shape.polygons == ()
    assert shape.bitmap is not None
    rows, columns = ((np.arange(count) + 0.5) * before / count for count, before in ((64, 50), (26, 20)))
    expected_bitmap = np.zeros((64, 64), bool)
    expected_bitmap[:, :26] = ring(50, 20)[rows.astype(int)][:, columns.astype(int)]
    np.testing.assert_array_equal(shape.bitmap, expected_bitmap)


def equal(left: Any, right: Any) -> bool:
    same = torch.equal(left.image, right.image) and torch.equal(left.index, right.index)
    lists = [(left.boxes, right.boxes), (left.labels, right.labels)]
    same &= all(torch.equal(a, b) for ours, theirs in lists for a, b in zip(ours, theirs, strict=True))
    return same and pickle.dumps(left.masks) == pickle.dumps(right.masks)


def test_draws_depend_on_seed_epoch_and_index_alone(root: Path) -> None:
    data = build(root)
    train = data.train_dataset(3)
    views = {draw: data.collate([train[Draw(*draw)]]) for draw in ((0, 2), (1, 2), (0, 1))}
    random.seed(1)
    np.random.seed(1)
    again = data.collate([pickle.loads(pickle.dumps(train))[Draw(0, 2)]])
    assert isinstance(again, DetBatch)
    assert equal(again, views[0, 2])
    assert not torch.equal(views[0, 2].image, views[1, 2].image)
    assert not torch.equal(again.image, data.collate([data.train_dataset(4)[Draw(0, 2)]]).image)


def test_workers_change_nothing(root: Path) -> None:
    data = build(root)
    sampler = TrainSampler(3, total_batch=1, device_batch=1, rank=0, world=1, seed=0)
    alone, many = (
        list(make_loader(data.train_dataset(0), sampler, 1, workers, False, data.collate)) for workers in (0, 2)
    )
    assert len(alone) == 3
    assert all(equal(left, right) for left, right in zip(alone, many, strict=True))
    whole = list(make_loader(data.val_dataset(), EvalSampler(5, 0, 2), 2, 0, False, data.collate))
    assert [batch.index.tolist() for batch in whole] == [[0, 2], [4]]


def test_own_names_and_folders(root: Path, tmp_path: Path) -> None:
    own = tmp_path / "own"
    own.mkdir()
    (root / "train2017").rename(own / "pictures")
    write(own / "a.json", content())
    write(tmp_path / "elsewhere/b.json", content())
    flags = {"train_json": "a.json", "train_images": "pictures", "val_images": str(root / "val2017")}
    data = build(own, val_json=str(tmp_path / "elsewhere/b.json"), **flags)
    assert len(data.train_dataset(0)) == 3
    assert data.val_dataset().file.folder == root / "val2017"
    absolute = {"train_json": str(own / "a.json"), "train_images": str(own / "pictures")}
    data = build(None, val_json=str(own / "a.json"), val_images=str(root / "val2017"), **absolute)
    assert len(data.val_dataset()) == 5
    assert "no data given" in refusal(build(None, **absolute))


@pytest.mark.parametrize(
    ("json_form", "folder_form"),
    [("{}.json", "images/{}"), ("annotations/{}.json", "{}"), ("{}/_annotations.coco.json", "{}")],
)
def test_usual_names_are_found(root: Path, tmp_path: Path, json_form: str, folder_form: str) -> None:
    own = tmp_path / "own"
    for split, name in (("train", "train"), ("val", "valid")):
        (own / folder_form.format(name)).parent.mkdir(parents=True, exist_ok=True)
        (root / f"{split}2017").rename(own / folder_form.format(name))
        write(own / json_form.format(name), content())
    assert (len(build(own).train_dataset(0)), len(build(own).val_dataset())) == (3, 5)
    assert check(COCO, own).ok


def test_what_the_file_leaves_out_comes_from_the_shape(root: Path) -> None:
    def strip(values: dict[str, Any]) -> None:
        for entry in values["annotations"]:
            for key in ("area", "bbox", "iscrowd", "id"):
                del entry[key]

    edit(root, strip, "val")
    truth = build(root).val_dataset()[Draw(0, 3)].truth
    assert [entry["id"] for entry in truth] == [1, 3, 5]
    assert [entry["iscrowd"] for entry in truth] == [0, 0, 0]
    assert [entry["bbox"] for entry in truth] == [[2.5, 1.0, 28.0, 11.0], [4.0, 3.0, 11.0, 9.0], [2.5, 3.25, 7.5, 8.75]]
    assert [entry["area"] for entry in truth] == [65.625 + 42.0, 87.0, 65.625]


def test_reading_is_jsons(tmp_path: Path) -> None:
    for indent in (None, 0, 3):
        path = tmp_path / "a.json"
        path.write_text("\ufeff \n" + json.dumps(content(), indent=indent) + " \n", encoding="utf-8")
        file = read_coco(path, tmp_path)
        assert file.image_ids.tolist() == [5, 9, 17, 42, 139]
        assert file.objects.ids.tolist() == [1001, 1002, 1003, 1004, 1005, 1006]
        assert file.categories == {2: "cat", 7: "dog", 90: "toothbrush"}


def test_a_file_cut_anywhere_is_one_line(tmp_path: Path) -> None:
    text = json.dumps(content())
    for cut in range(0, len(text) - 1, 11):
        path = write(tmp_path / "cut.json", text[:cut])
        with pytest.raises(UserError, match=r"^[^\n]*cut.json: not whole or not JSON \([^\n]*bytes\); download[^\n]*$"):
            read_coco(path, tmp_path)
    for wrong in (text + "}", text + " x", text.replace(":", ";", 1), text.replace('"id"', "id", 1)):
        with pytest.raises(UserError, match="not whole or not JSON"):
            read_coco(write(tmp_path / "cut.json", wrong), tmp_path)


def test_an_image_turned_by_exif_is_the_annotated_one(root: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    height, width = SIZES[9]
    upright = RNG.integers(0, 256, (height, width, 3), dtype=np.uint8)
    path = root / "val2017/000000000009.jpg"
    stored = Image.fromarray(np.ascontiguousarray(np.rot90(upright)))
    stored.save(path, "PNG", exif=exif)
    data = build(root, image_size=50)
    mean, std = (torch.tensor(NUMBERS[key]).view(3, 1, 1) for key in ("mean", "std"))

    def pixels() -> np.ndarray:
        sample = data.val_dataset()[Draw(0, 1)]
        return np.asarray((sample.image[:, :50, :20] * std + mean).mul(255).round().permute(1, 2, 0))

    np.testing.assert_array_equal(pixels(), upright)
    Image.fromarray(upright).save(path, "PNG", exif=exif)  # annotated as stored
    np.testing.assert_array_equal(pixels(), upright)
    assert not problems(root)


def test_a_file_is_small_in_memory(tmp_path: Path) -> None:
    """Nothing is kept as Python objects, of which there would be one for each number."""
    values = content()
    values["annotations"] = [{**values["annotations"][0], "id": ident} for ident in range(1, 3001)]
    file: CocoFile = read_coco(write(tmp_path / "a.json", values), tmp_path)
    assert len(pickle.dumps(file)) < 3000 * (14 * 8 + 110) + 5000
