"""A table that divides the images of a COCO or YOLO list: splits, groups, weights, folds, and what is refused."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from maekit.detection.data.coco.coco import COCO
from maekit.errors import UserError
from tests.detection.data.helpers import build

Row = dict[str, str]
NUM = 8


def yolo(root: Path) -> list[Row]:
    """Eight images of four patients in one list; every image has red, every second one blue, two of them green."""
    rows = []
    for part in ("images", "labels"):
        (root / part / "train").mkdir(parents=True)
    for index in range(NUM):
        Image.fromarray(np.full((40, 60, 3), 20 * index, np.uint8)).save(root / "images" / "train" / f"{index}.png")
        shapes = {0: True, 1: index % 2 == 1, 2: index in (2, 5)}
        lines = [f"{label} 0.1 0.1 0.5 0.1 0.5 0.{4 + label}" for label, there in shapes.items() if there]
        (root / "labels" / "train" / f"{index}.txt").write_text("\n".join(lines))
        split = "val" if index >= 6 else "train"
        rows.append({"file": f"images/train/{index}.png", "split": split, "patient": f"p{index // 2}"})
        rows[-1]["weight"] = str(index + 1)
    (root / "data.yaml").write_text("train: images/train\nnames: [red, blue, green]\n")
    return rows


def of_table(root: Path, rows: list[Row], **changes: Any) -> COCO:
    lines = [",".join(rows[0]), *(",".join(row.values()) for row in rows)]
    (root / "table.csv").write_text("\n".join(lines))
    return build(root, table=str(root / "table.csv"), **changes)


def without(column: str, rows: list[Row]) -> list[Row]:
    return [{name: value for name, value in row.items() if name != column} for row in rows]


def names(data: COCO) -> list[list[str]]:
    return [[Path(name).stem for name in file.names] for file in data.files]


@pytest.mark.parametrize("form", ["{}", "{}.png", "elsewhere/{}.png", "images\\train\\{}.png"])
def test_splits_are_those_of_the_table_however_its_paths_are_written(form: str, tmp_path: Path) -> None:
    rows = yolo(tmp_path)
    for index, row in enumerate(rows):
        row["file"] = form.format(index)
    data = of_table(tmp_path, rows[::-1])
    assert names(data) == [["0", "1", "2", "3", "4", "5"], ["6", "7"]]
    assert "8 rows of table.csv" in data.summary() and "splits as the table says" in data.summary()
    assert data.sample_weights() is None
    assert data.check().ok


def test_images_are_drawn_by_their_weights(tmp_path: Path) -> None:
    rows = yolo(tmp_path)
    (tmp_path / "labels/train/3.txt").write_text("")  # background, which training leaves out
    plain, weighted = (of_table(tmp_path, rows[::-1], weight_column=name) for name in (None, "weight"))
    np.testing.assert_array_equal(weighted.sample_weights(), [1, 2, 3, 5, 6])
    assert weighted.identity().splits["train"] != plain.identity().splits["train"]
    assert weighted.identity().splits["val"] == plain.identity().splits["val"]


def test_each_fold_holds_each_class_and_groups_stay_on_one_side(tmp_path: Path) -> None:
    rows = yolo(tmp_path)
    seen = []
    for fold in ("1/2", "2/2"):
        data = of_table(tmp_path, rows, fold=fold)
        assert data.files[1].present().sum(axis=0).tolist() == [4, 2, 1]
        seen += names(data)[1]
        grouped = names(of_table(tmp_path, rows, fold=fold, group_column="patient"))
        sides = [{int(name) // 2 for name in part} for part in grouped]
        assert not sides[0] & sides[1] and len(sides[1]) == 2
    assert sorted(seen) == [str(index) for index in range(NUM)]
    for row in rows[:2]:
        row["split"] = "test"
    data = of_table(tmp_path, rows[:-1])
    assert names(data) == [["2", "3", "4", "5"], ["6"]]
    assert "2 test rows set aside" in data.summary()
    assert "1 images of data.yaml are not in the table and are left out" in data.summary()


def changed(row: int, **values: str) -> Callable[[list[Row]], list[Row]]:
    return lambda rows: [{**one, **values} if at == row else one for at, one in enumerate(rows)]


@pytest.mark.parametrize(
    ("change", "flags", "expected"),
    [
        (
            changed(3, file="images/train/33.png"),
            {},
            r"1 of 8 paths are no image.*33\.png' \(row 5\)",
        ),
        (lambda rows: [*rows, rows[0]], {}, r"1 images are listed more than once.*rows 2, 10"),
        (lambda rows: [{"fil": row["file"]} for row in rows], {}, r"no column of the paths.*--data\.path_column"),
        (lambda rows: rows, {"group_column": "patint"}, r"no column 'patint'.*did you mean 'patient'"),
        (changed(6, patient="p0"), {"group_column": "patient"}, r"group 'p0' is in train and in val"),
        (changed(0, split="trian"), {}, "got 'trian' as a split"),
        (changed(0, weight="0"), {"weight_column": "weight"}, "expected a weight above 0"),
        (lambda rows: rows[:5], {"fold": "1/2"}, r"class 'green' is in one image, expected two or more"),
        (lambda rows: rows, {"fold": "1/5", "group_column": "patient"}, "4 groups to divide into 5 parts"),
        (lambda rows: rows, {"fold": "1/9"}, "8 images to divide into 9 parts"),
        (lambda rows: rows, {"fold": "6/5"}, r"data\.fold: got '6/5'"),
        (lambda rows: rows, {"group_column": "patient", "group_pattern": "^p"}, "expected one of them"),
        (lambda rows: rows[:6], {}, "no row is of validation"),
        (lambda rows: [{**row, "xmin": "3"} for row in rows], {}, r"a row for each box \(column 'xmin'\)"),
    ],
)
def test_a_wrong_table_is_one_line(
    tmp_path: Path, change: Callable[[list[Row]], list[Row]], flags: dict[str, Any], expected: str
) -> None:
    rows = yolo(tmp_path)
    with pytest.raises(UserError, match=expected) as caught:
        of_table(tmp_path, change(rows), **flags).setup()
    assert "\n" not in str(caught.value)


def test_a_class_in_one_image_stops_a_fold_and_two_lists_a_table(tmp_path: Path) -> None:
    rows = yolo(tmp_path)
    (tmp_path / "labels/train/5.txt").write_text("0 0.1 0.1 0.5 0.1 0.5 0.4\n")
    with pytest.raises(UserError, match="class 'green' is in one image"):
        build(tmp_path, fold="1/2").setup()
    (tmp_path / "data.yaml").write_text("train: images/train\nval: images/train\nnames: [red, blue, green]\n")
    with pytest.raises(UserError, match=r"data\.table: got .* is a validation split"):
        of_table(tmp_path, rows).setup()
