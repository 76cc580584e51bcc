"""Data in YOLO's form gives what the same objects give in COCO's form; what is wrong is one line with file and line."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from maekit.base.spec import Draw
from maekit.errors import UserError
from tests.detection.data.helpers import build

WIDTH, HEIGHT, NUM = 100, 60, 4
BOX = "0 0.5 0.5 0.2 0.2"


def polygon(index: int) -> list[float]:
    x, y = 10.3 + 3 * index, 7.9 + index
    return [x, y, x + 30.7, y + 1.1, x + 24.9, y + 33.3, x + 2.7, y + 20.1]


def write(root: Path, form: str) -> Path:
    for split, first in (("train", 0), ("val", NUM)):
        images = root / "images" / split
        images.mkdir(parents=True)
        content: dict[str, list[object]] = {"images": [], "annotations": [], "categories": []}
        content["categories"] = [{"id": ident, "name": name} for ident, name in enumerate(("red", "blue"))]
        (root / "labels" / split).mkdir(parents=True)
        for index in range(NUM):
            noise = np.random.default_rng(first + index).integers(0, 255, (HEIGHT, WIDTH, 3)).astype(np.uint8)
            Image.fromarray(noise).save(images / f"{index}.png")
            shape = polygon(index)
            shares = [value / (WIDTH, HEIGHT)[at % 2] for at, value in enumerate(shape)]
            text = f"{index % 2} {' '.join(map(repr, shares))}\n"
            if form == "yolo":
                (root / "labels" / split / f"{index}.txt").write_text(text, encoding="utf-8")
            x, y = shape[::2], shape[1::2]
            box = [min(x), min(y), max(x) - min(x), max(y) - min(y)]
            content["images"].append({"id": index + 1, "file_name": f"{index}.png", "width": WIDTH, "height": HEIGHT})
            one = {"id": index + 1, "image_id": index + 1, "category_id": index % 2, "bbox": box}
            content["annotations"].append({**one, "segmentation": [shape]})
        if form == "coco":
            (root / f"{split}.json").write_text(json.dumps(content), encoding="utf-8")
    if form == "yolo":
        text = "path: .\ntrain: images/train\nval: images/val\nnames:\n  0: red\n  1: blue\n"
        (root / "data.yaml").write_text(text, encoding="utf-8")
    return root


def test_yolo_and_coco_give_the_same_samples(tmp_path: Path) -> None:
    yolo, coco = (build(write(tmp_path / form, form)) for form in ("yolo", "coco"))
    assert yolo.spec() == coco.spec()
    for index in range(NUM):
        ours, theirs = (data.train_dataset(3)[Draw(index, 1)] for data in (yolo, coco))
        torch.testing.assert_close(ours.image, theirs.image, rtol=0, atol=0)
        torch.testing.assert_close(ours.boxes, theirs.boxes, rtol=0, atol=1e-5)
        torch.testing.assert_close(ours.labels, theirs.labels, rtol=0, atol=0)
        for one, other in zip(ours.masks, theirs.masks, strict=True):
            for left, right in zip(one.polygons, other.polygons, strict=True):
                np.testing.assert_allclose(left, right, rtol=0, atol=1e-9)
        found, expected = (data.files[1].truth(index) for data in (yolo, coco))
        np.testing.assert_allclose(found[0]["bbox"], expected[0]["bbox"], rtol=0, atol=1e-9)
        assert found[0]["area"] == pytest.approx(expected[0]["area"], abs=1e-6)
    assert build(tmp_path / "yolo").check().ok


def test_folders_without_yaml_and_background_images(tmp_path: Path) -> None:
    root = write(tmp_path / "data", "yolo")
    (root / "data.yaml").unlink()
    with pytest.raises(UserError, match="no class names"):
        build(root).setup()
    (root / "classes.txt").write_bytes(b"r\xf6t\nblue\n")
    with pytest.raises(UserError, match=r"classes\.txt: cannot be read \(not text in UTF-8"):
        build(root).setup()
    (root / "classes.txt").write_text("red\nblue\n", encoding="utf-16")
    (root / "labels/train/0.txt").unlink()
    (root / "labels/train/0.TXT").write_text("0 0.5 0.5 0.2 0.2\n")
    with pytest.raises(UserError, match=r"0\.TXT: got a label file that ends in \.TXT, expected \.txt"):
        build(root).setup()
    (root / "labels/train/0.TXT").rename(root / "labels/train/zero.txt")
    path = root / "labels/train/1.txt"
    path.write_text(path.read_text(encoding="utf-8") * 2, encoding="utf-8")
    data = build(root)
    assert len(data.files[0]) == NUM and len(data.files[0].trainable()) == NUM - 1
    assert "1 of 4 images have no label file" in data.summary()
    alone = f"1 label file without an image of that name, not used (the first: {root}/labels/train/zero.txt)"
    assert alone in data.summary() and "labels/val" not in data.summary()
    assert "1 lines repeat an object" in data.summary() and "1.txt:2" in data.summary()


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("0 0.5 0.5 0_2 0.2", "all numbers"),
        ("0 0.5 0.5 0.2", "3 numbers after the class"),
        ("0 0.5 0.5 0.2 0.2 0.9", "confidence"),
        ("2 0.5 0.5 0.2 0.2", "class 2"),
        ("0.5 0.5 0.5 0.2 0.2", "class 0.5"),
        ("red 0.5 0.5 0.2 0.2", "all numbers"),
        ("0 50 30 20 12", "these are pixels"),
        ("0 -0.2 0.5 0.2 0.2", "got -0.2"),
        ("0 nan 0.5 0.2 0.2", "got NaN"),
    ],
)
def test_a_wrong_line_is_named(tmp_path: Path, line: str, said: str) -> None:
    root = write(tmp_path / "data", "yolo")
    (root / "labels/train/2.txt").write_text(f"{BOX}\n{line}\n", encoding="utf-8")
    with pytest.raises(UserError, match=rf"2\.txt:2.*{said}"):
        build(root).setup()
    assert not build(root).check().ok


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("train: images/train", "train: images/nothing", "images/nothing is not there"),
        ("1: blue", "1: red", "both have the name"),
        ("names:", "nc: 3\nnames:", "nc is 3"),
        ("  0: red\n  1: blue\n", "", "expected names"),
        ("path: .", "path: ../datasets/elsewhere", None),
        ("path: .\n", "", None),
        ("0: red\n  1: blue", "0: no\n  1: 007", None),
        ("train: images/train", "train: ../images/train", None),
    ],
)
def test_data_yaml(tmp_path: Path, old: str, new: str, said: str | None) -> None:
    root = write(tmp_path / "data", "yolo")
    text = (root / "data.yaml").read_text(encoding="utf-8")
    assert old in text
    (root / "data.yaml").write_text(text.replace(old, new), encoding="utf-8")
    if said is None:
        assert len(build(root).files[0]) == NUM
        assert build(root).spec().class_names == (("no", "007") if "no" in new else ("red", "blue"))
        return
    with pytest.raises(UserError, match=said):
        build(root).setup()


def test_boxes_alone_are_learned(tmp_path: Path) -> None:
    root = write(tmp_path / "data", "yolo")
    for path in (root / "labels/train").iterdir():
        path.write_text(f"{BOX}\n", encoding="utf-8")
    data = build(root, horizontal_flip=0.0, scale_range=[1.0, 1.0], image_size=WIDTH)
    assert "no training object has a shape, so boxes alone are learned" in data.summary()
    sample = data.train_dataset(0)[Draw(0, 0)]
    assert (sample.boxes.tolist(), sample.masks) == ([[40.0, 24.0, 60.0, 36.0]], [])
    with pytest.raises(UserError, match="have a box only, and data"):
        build(root, masks=True).setup()


def test_one_list_is_split_by_groups_and_folds(tmp_path: Path) -> None:
    root = write(tmp_path / "data", "yolo")
    text = (root / "data.yaml").read_text(encoding="utf-8")
    (root / "data.yaml").write_text(text.replace("val: images/val\n", ""), encoding="utf-8")
    seen: list[str] = []
    for number in (1, 2):
        train, val = build(root, fold=f"{number}/2").files
        assert len(train) == len(val) == NUM // 2 and not set(train.names) & set(val.names)
        assert train.present().any(axis=0).all() and val.present().any(axis=0).all()  # stratified
        for index in range(len(val)):
            stem = int(Path(val.names[index]).stem)
            np.testing.assert_allclose(val.truth(index)[0]["bbox"][0], min(polygon(stem)[::2]), rtol=0, atol=1e-9)
        seen += val.names
    assert len(set(seen)) == NUM
    train, val = build(root, fold="1/2", group_pattern=r"([01]|[23])\.png").files
    assert "fold 1/2 set aside" in build(root, fold="1/2").summary()
    with pytest.raises(UserError, match="is not in the name"):
        build(root, group_pattern="patient").setup()
    with pytest.raises(UserError, match=r"data\.fold: got '3/2'"):
        build(root, fold="3/2")
    assert build(root, val_fraction=0.25).check().ok


def test_a_given_split_keeps_groups_apart(tmp_path: Path) -> None:
    root = write(tmp_path / "data", "coco")
    with pytest.raises(UserError, match="is in training and in validation"):
        build(root, group_pattern=r"(\d)\.png").setup()
    with pytest.raises(UserError, match=r"data\.fold"):
        build(root, fold="1/2").setup()
    (root / "val.json").unlink()
    train, val = build(root, val_fraction=0.25, train_images="images/train").files
    assert (len(train), len(val)) == (NUM - 1, 1)


def test_a_folder_with_both_forms_says_which_is_read(tmp_path: Path) -> None:
    root = write(tmp_path / "data", "yolo")
    coco = write(tmp_path / "coco", "coco")
    for name in ("train.json", "val.json"):
        (coco / name).rename(root / name)
    both, yolo = build(root), build(root, annotations="yolo")
    assert both.files[0].path.name == "train.json"
    assert "data.yaml has labels in YOLO's form too, which are not used: --data.annotations yolo does" in both.summary()
    assert yolo.files[0].path.name == "data.yaml" and "YOLO" not in yolo.summary()
    assert "YOLO" not in build(root, annotations="coco").summary()
    (root / "data.yaml").write_text("names: [red", encoding="utf-8")  # what is not used stops nothing
    assert build(root).files[0].path.name == "train.json"
    with pytest.raises(UserError, match="no labels in YOLO's form"):
        build(write(tmp_path / "other", "coco"), annotations="yolo").setup()
