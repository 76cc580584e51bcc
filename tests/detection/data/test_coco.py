"""COCO's files: what is read of them, what is left out, and what is said of wrong ones."""

import copy
import json
import pickle
import random
from collections.abc import Callable
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
from maekit.detection.data.coco import check as coco_check
from maekit.detection.data.coco.coco import CATEGORIES, COCO
from maekit.detection.data.coco.file import CocoFile, read_coco
from maekit.detection.data.coco.rle import bitmap_of_counts, counts_of_bitmap, text_of_bitmap, whole_counts
from maekit.detection.data.transforms import DetEvalTransform
from maekit.errors import UserError
from tests.detection.data.helpers import (
    CATS,
    NUMBERS,
    RNG,
    SIZES,
    build,
    content,
    edit,
    mask,
    problems,
    refusal,
    ring,
    thing,
    write,
)
from tests.helpers_data import check


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder in COCO 2017's form, both splits alike."""
    root = tmp_path / "coco"
    for split in ("train", "val"):
        write(root / f"annotations/instances_{split}2017.json", content())
        (root / f"{split}2017").mkdir()
        for ident, (height, width) in SIZES.items():
            image = RNG.integers(0, 256, (height, width, 3), dtype=np.uint8)
            Image.fromarray(image).save(root / f"{split}2017/{ident:012}.jpg")
    return root


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


def test_shapes_are_pycocotools() -> None:
    coco_mask = pytest.importorskip("pycocotools.mask")
    for _ in range(200):
        height, width = RNG.integers(1, 90, 2).tolist()
        bitmap = RNG.random((height, width)) < RNG.random()
        theirs = coco_mask.encode(np.asfortranarray(bitmap.astype(np.uint8)))["counts"].decode()
        assert text_of_bitmap(bitmap) == theirs
        counts, size = whole_counts({"size": [height, width], "counts": theirs})
        assert (counts.tolist(), size) == (counts_of_bitmap(bitmap), (height, width))
        np.testing.assert_array_equal(bitmap_of_counts(counts, size), bitmap)
    large = np.zeros((3000, 5000), bool)
    large[2999, 4000:] = True
    text = coco_mask.encode(np.asfortranarray(large.astype(np.uint8)))["counts"].decode()
    np.testing.assert_array_equal(bitmap_of_counts(*whole_counts({"size": [3000, 5000], "counts": text})), large)


BAD_COUNTS: list[object] = [
    "é", "\x01", "o", "ooooooooo0", " 1", "", "P" * 5000, "~~~~", "ab\0c", [], [17],
    [-1, 17], [2**70], ["a"], [[16]], 3, None
]  # fmt: skip


@pytest.mark.parametrize("counts", BAD_COUNTS)
def test_run_lengths_of_no_sense(counts: object) -> None:
    with pytest.raises(ValueError):
        whole_counts({"size": [4, 4], "counts": counts})


@pytest.mark.parametrize("size", [None, [], [4], [-4, -4], [4, 4, 1], ["a", 4], [2**70, 4], [2**32, 2**32], 4])
def test_sizes_of_run_lengths_of_no_sense(size: object) -> None:
    for counts in ([16], text_of_bitmap(np.zeros((4, 4), bool))):
        with pytest.raises(ValueError):
            whole_counts({"size": size, "counts": counts})


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


def test_no_value_brings_it_down(tmp_path: Path) -> None:
    """Any value in place of any other is read, or refused in one line."""
    odd: list[Any] = [
        None,
        True,
        -1,
        0,
        1.5,
        2**70,
        "",
        "x",
        [],
        {},
        [[]],
        [None],
        [1, "2"],
        [[1, 2, 3, 4]],
        {"counts": 3},
        1e400,
    ]
    draws = random.Random(0)
    read = 0
    for _ in range(400):
        values = content()
        table = values[draws.choice(["images", "annotations", "categories"])]
        place = draws.randrange(len(table))
        if draws.random() < 0.1:
            table[place] = draws.choice(odd)
        else:
            key = draws.choice(sorted(table[place]))
            inner = table[place][key]
            if isinstance(inner, dict) and draws.random() < 0.7:
                inner[draws.choice(["size", "counts"])] = draws.choice(odd)
            elif isinstance(inner, list) and inner and draws.random() < 0.7:
                inner[draws.randrange(len(inner))] = draws.choice(odd)
            else:
                table[place][key] = draws.choice(odd)
        path = write(tmp_path / "odd.json", values)
        try:
            file = read_coco(path, tmp_path)
        except UserError as error:
            assert "\n" not in str(error)
            continue
        read += 1
        file.objects.covered()
        for index in range(len(file)):
            for entry in file.truth(index):
                json.dumps(entry, allow_nan=False)
                assert len(entry["bbox"]) == 4
    assert 80 < read < 350


CUTS: list[tuple[str, Callable[[dict[str, Any]], Any], str]] = [
    (
        "no list",
        lambda v: v.pop("annotations"),
        'not an annotation file (it has no list "annotations"); expected COCO\'s',
    ),
    ("no object", lambda v: v.update(images={}), 'it has no list "images"'),
    ("no images", lambda v: v.update(images=[]), '"images" is empty, expected at least one'),
    ("no categories", lambda v: v.update(categories=[]), '"categories" is empty'),
    ("no name", lambda v: v["images"][1].pop("file_name"), "images[1].file_name: got None, expected"),
    (
        "no size",
        lambda v: v["images"][2].update(height=-3),
        "images[2].height: got -3, expected 1 or more",
    ),
    ("text id", lambda v: v["images"][0].update(id="x9"), "images[0].id: got 'x9', expected a whole number"),
    (
        "image twice",
        lambda v: v["images"].append(v["images"][0]),
        'image id 42 stands more than once in "images"; give',
    ),
    (
        "category twice",
        lambda v: v["categories"].append(CATS[0]),
        "categories[3].id: got 7, which another category has",
    ),
    (
        "name twice",
        lambda v: v["categories"].append({"id": 1, "name": "cat"}),
        "categories 1 and 2 both have the name 'cat'",
    ),
    (
        "no category",
        lambda v: v["annotations"][1].pop("category_id"),
        "annotations[1]: Object missing required field `category_id`",
    ),
    (
        "unknown category",
        lambda v: [entry.update(category_id=3) for entry in v["annotations"][1:3]],
        'annotation 1002 of image 9 has category_id 3, which is not in "categories" (3 ids from 2 to 90) (2 such ann',
    ),
    (
        "other categories",
        lambda v: v["categories"][0].update(name="fox"),
        "category 7 is 'dog', in",
    ),
    (
        "crowds only",
        lambda v: [entry.update(iscrowd=1) for entry in v["annotations"]],
        'none of its 6 annotations has a shape to learn; give annotations with a "segmentation"',
    ),
    (
        "boxes only",
        lambda v: [entry.pop("segmentation") for entry in v["annotations"]],
        "none of its 6 annotations has a shape to learn",
    ),
]


@pytest.mark.parametrize(("change", "said"), [pytest.param(*case[1:], id=case[0]) for case in CUTS])
def test_what_cannot_be_used_is_said_before_training(root: Path, change: Any, said: str) -> None:
    edit(root, change)
    assert said in refusal(build(root))


def test_a_file_cut_in_half(root: Path) -> None:
    path = root / "annotations/instances_train2017.json"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    line = refusal(build(root))
    assert line.startswith(f"{path}: not whole or not JSON (")
    assert f"the file has {path.stat().st_size:,} bytes); download and unpack it again" in line
    path.write_bytes(b"\xff\xfe{}")
    assert "not text in UTF-8" in refusal(build(root))
    write(path, "[1, 2]")
    assert 'no list "images" and no "annotations" and no "categories"' in refusal(build(root))


def test_missing_files_and_folders(root: Path, tmp_path: Path) -> None:
    assert refusal(build(tmp_path / "coca")).startswith(f"{tmp_path / 'coca'}: no such folder")
    assert f"; did you mean --data.root {root}?" in refusal(build(tmp_path))
    assert f"; did you mean --data.root {root}?" in refusal(build(root / "train2017"))
    line = refusal(build(root, val_json="annotations/instances_val2014.json"))
    assert line.startswith(
        f"{root}/annotations/instances_val2014.json: no such annotation file; did you mean 'instances_v"
    )
    assert line.endswith(
        ", or a folder with "
        + "train2017, val2017 and annotations/instances_train2017.json, annotations/instances_val2017.json"
    )
    (root / "val2017").rename(root / "val")
    (root / "val").rename(root / "held_out")
    (root / "val2017.zip").touch()
    assert (
        refusal(build(root))
        == f"{root}/val2017: no such folder of images; val2017.zip is still packed, unpack it in {root}"
    )
    (root / "val2017.zip").unlink()
    assert refusal(build(root)) == f"{root}/val2017: no such folder of images; give --data.val_images DIR"
    (root / "annotations").rename(tmp_path / "notes")
    (root / "annotations_trainval2017.zip").touch()
    assert "; annotations_trainval2017.zip is still packed, unpack it in" in refusal(build(root))
    assert "no data given; add --data.root DIR with your images (train2017, val2017" in refusal(build(None))


def test_images_that_are_listed_but_absent(root: Path) -> None:
    (root / "train2017/000000000017.jpg").unlink()
    path = root / "train2017/000000000017.jpg"
    json_path = root / "annotations/instances_train2017.json"
    assert refusal(build(root)) == (
        f"{path}: listed in {json_path} but not there; add the image, or take it out of the list"
    )
    for ident in (42, 139):
        (root / f"train2017/{ident:012}.jpg").unlink()
    assert refusal(build(root)).startswith(f"{path} and 2 more: listed in {json_path} but not there; add the images")


def clumsy(values: dict[str, Any]) -> None:
    """What people's files hold: none of it may stop a run."""
    square = [[2.0, 3.0, 10.0, 3.0, 10.0, 12.0, 2.0, 12.0]]
    values["annotations"] += [
        thing(2001, 5, 2, [[1.0, 1.0, 5.0, 5.0]], [1.0, 1.0, 4.0, 4.0]),  # two points
        thing(2002, 5, 2, [[1.0, 1.0, 5.0, 5.0], *square], [1.0, 1.0, 9.0, 11.0]),  # and a polygon
        thing(2003, 5, 2, [[4.0, 1.0, 4.0, 9.0, 4.0, 12.0]], [4.0, 1.0, 0.0, 11.0], area=0.0),  # a line
        thing(2004, 9, 2, [[-9.0, -9.0, 90.0, -9.0, 90.0, 90.0, -9.0, 90.0]], [-9.0, -9.0, 99.0, 99.0]),
        thing(2005, 9, 2, [[50.0, 60.0, 70.0, 60.0, 70.0, 90.0]], [50.0, 60.0, 20.0, 30.0]),  # beyond the image
        thing(2006, 9, 2, mask(np.zeros((50, 20), bool), text=True), [0.0, 0.0, 0.0, 0.0], area=0.0),
        thing(2007, 9, 2, mask(np.ones((20, 50), bool), text=False), [0.0, 0.0, 20.0, 50.0]),  # another size
        thing(2008, 9, 2, {"size": [50, 20], "counts": "abc"}, [0.0, 0.0, 20.0, 50.0]),
        thing(2009, 777, 7, square, [2.0, 3.0, 8.0, 9.0]),  # an image that is not listed
        thing(2010, 42, 2, [], [2.0, 3.0, 8.0, 9.0]),
        thing(2010, 42, 2, square, ["a", None]),  # type: ignore[list-item]
    ]


def test_clumsy_annotations_stop_nothing(root: Path) -> None:
    for split in ("train", "val"):
        edit(root, clumsy, split)
    data = build(root, scale_range=[1.0, 1.0], horizontal_flip=0.0)
    for part in ("training leaves out", "evaluation counts"):
        assert f"; {part} 4 of 17 annotations that have a box and no shape" in data.summary()
    assert data.summary().count(".json: 1 annotations without an image, or without box and shape, are left out") == 2
    train = data.train_dataset(0)
    samples = [train[Draw(0, index)] for index in range(3)]
    assert [sample.labels.tolist() for sample in samples] == [[1, 0], [0, 0], [2, 0, 0]]
    shrink = np.array([30 / 64, 20 / 43] * 2)
    np.testing.assert_allclose(samples[0].boxes[1].numpy() * shrink, [2.0, 3.0, 10.0, 12.0], rtol=1e-6)
    assert samples[1].boxes[1].tolist() == [0.0, 0.0, *reversed(samples[1].size)]  # cut to the image
    truth = {entry["id"] for index in range(5) for entry in data.val_dataset()[Draw(0, index)].truth}
    assert truth == {*range(1, 18)} - {15}  # numbered anew: 2010 stands twice; 15 is of an image that is not listed
    boxed = [entry for index in range(5) for entry in data.val_dataset()[Draw(0, index)].truth]
    assert [(one["id"], one["bbox"], one["segmentation"]) for one in boxed if one["id"] in (7, 16)] == [
        (7, [1.0, 1.0, 4.0, 4.0], []), (16, [2.0, 3.0, 8.0, 9.0], [])
    ]  # fmt: skip


def test_check_names_everything_once(root: Path) -> None:
    path = edit(root, clumsy)
    lines = problems(root)
    assert all(line.startswith(f"{path}: ") for line in lines)
    rest = [line.removeprefix(f"{path}: ") for line in lines]
    beginnings = [
        'annotations of images that are not in "images": 1 (the first: annotation 2009 of image 777); they are',
        "annotation ids that are missing or not unique: 1 (the first: id 2010 stands 2 times); all are numbered anew",
        "polygons of fewer than three points or half a point: 2 (the first: annotation 2001 of image 5); they are left",
        "run lengths that do not add up to their image's size: 2 (the first: annotation 2008 of image 9); they are",
        "bboxes that are not four numbers: 1 (the first: annotation 2010 of image 42); the shape's box is used",
        "annotations without a shape that can be used: 4 (the first: annotation 2001 of image 5); training leaves",
        "boxes without width or height: 2 (the first: annotation 2003 of image 5); training uses the shape, evaluation",
        "boxes that reach beyond their image: 2 (the first: annotation 2004 of image 9); shapes are cut to the image",
        "shapes that lie outside their image: 1 (the first: annotation 2005 of image 9); training leaves them out",
        "shapes without any area: 2 (the first: annotation 2003 of image 5); training leaves them out",
    ]
    assert len(rest) == len(beginnings)
    for line, beginning in zip(rest, beginnings, strict=True):
        assert line.startswith(beginning), line


def test_check_of_good_data(root: Path) -> None:
    found = check(COCO, root, full=True)
    assert found.ok
    assert found.facts == [
        f"{root}/annotations/instances_train2017.json: 5 images, 6 objects of 3 classes",
        f"{root}/annotations/instances_val2017.json: 5 images, 6 objects of 3 classes",
        "training: 3 of 5 images hold something to learn",
        "validation: 1 of 5 images hold nothing",
        "training leaves out 2 of 6 annotations that are crowds (iscrowd 1)",
        "evaluation ignores 2 of 6 annotations that are crowds (iscrowd 1), and what is found on them",
        "files: 10 of 10 images read",
    ]
    assert "the head has 80 classes, the data 3" in check(COCO, root, classes=80).problems[0]


def test_images_of_another_size_or_broken(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = root / "val2017/000000000009.jpg"
    Image.new("RGB", (21, 50)).save(path)
    data = build(root)
    with pytest.raises(UserError) as caught:
        data.val_dataset()[Draw(0, 1)]
    line = f"{path}: 21 x 50 pixels, its annotation file says 20 x 50; annotate the image as it is, or restore the one "
    assert str(caught.value) == line + "that was annotated"
    other = root / "train2017/000000000042.jpg"
    other.write_bytes(other.read_bytes()[:-200])
    monkeypatch.setattr(coco_check, "FEW", 0)  # in other processes
    assert [line[:60] for line in problems(root)] == sorted(
        [str(caught.value)[:60], f"{other}: cannot be read as"[:60]]
    )


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
