"""COCO files that are refused, and what is wrong with single entries: in fit as in check."""

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from maekit.base.spec import Draw
from maekit.detection.data.coco import check as coco_check
from maekit.detection.data.coco.coco import COCO
from maekit.errors import UserError
from tests.detection.data.helpers import CATS, build, content, edit, mask, problems, read_coco, refusal, thing, write
from tests.helpers_data import check


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
]


@pytest.mark.parametrize(("change", "fact"), [pytest.param(*case[1:], id=case[0]) for case in CUTS])
def test_unusable_data_is_refused_before_training(root: Path, change: Any, fact: str) -> None:
    edit(root, change)
    assert fact in refusal(build(root))


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
