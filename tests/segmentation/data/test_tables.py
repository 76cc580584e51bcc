"""Images and label maps from a table: the same data as folders, folds that hold each class, and what is refused."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from maekit.errors import UserError
from maekit.segmentation.data.colours import ColourTable
from maekit.segmentation.data.folders import SegmentationFolders
from maekit.segmentation.data.labels.read import LabelMap, read_map
from tests.helpers_data import check
from tests.segmentation.data.helpers import build, save_label

Row = dict[str, str]
NAMES = ["sky", "sea", "sand"]


def folder(root: Path) -> list[Row]:
    """Twelve images of four patients; every label map has sky, every second one sea, three of them sand."""
    rows = []
    for number in range(12):
        split, name = "val" if number >= 9 else "train", f"p{number // 3}_{number:02}.png"
        for part in ("images", "masks"):
            (root / part / split).mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((32, 32, 3), 20 * number, np.uint8)).save(root / "images" / split / name)
        values = np.zeros((32, 32), np.uint8)
        values[:8] = number % 2
        values[-8:] = 2 * (number in (1, 4, 9))
        save_label(root / "masks" / split / name, values)
        paths = {"image": f"images/{split}/{name}", "mask": f"masks/{split}/{name}"}
        rows.append({**paths, "split": split, "patient": name[:2], "weight": str(number + 1)})
    (root / "classes.txt").write_text("\n".join(NAMES))
    return rows


def write(root: Path, rows: list[Row]) -> Path:
    lines = [",".join(rows[0]), *(",".join(row.values()) for row in rows)]
    (root / "table.csv").write_text("\n".join(lines))
    return root / "table.csv"


def of_table(root: Path, rows: list[Row], **changes: Any) -> SegmentationFolders:
    return build(None, SegmentationFolders, table=str(write(root, rows)), **changes)


def without(column: str) -> Callable[[list[Row]], list[Row]]:
    return lambda rows: [{name: value for name, value in row.items() if name != column} for row in rows]


def test_a_table_gives_the_samples_of_the_folders_in_any_order_of_rows(tmp_path: Path) -> None:
    rows = folder(tmp_path)
    plain, listed = build(tmp_path, SegmentationFolders), of_table(tmp_path, rows[::-1])
    for mine, theirs in (
        (listed.val_dataset(), plain.val_dataset()),
        (listed.train_dataset(0), plain.train_dataset(0)),
    ):
        assert len(mine) == len(theirs)
    found = [
        [*part.pairs.image_paths()]
        for data in (listed, plain)
        for part in (data.label_maps.tree.train, data.label_maps.tree.val)
    ]
    assert found[:2] == found[2:] and all(found)
    assert "12 rows of table.csv" in listed.summary() and "mask from 'mask'" in listed.summary()
    assert listed.sample_weights() is None
    assert listed.identity().folder == tmp_path
    weighted = of_table(tmp_path, rows[::-1], weight_column="weight")
    np.testing.assert_array_equal(weighted.sample_weights(), np.arange(1, 10, dtype=np.float32))
    assert weighted.identity().splits["train"] != listed.identity().splits["train"]
    assert not check(SegmentationFolders, tmp_path, table=str(tmp_path / "table.csv"), full=True).problems


def test_each_fold_holds_each_class_and_label_maps_are_read_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MAEKIT_CACHE", str(tmp_path / "cache"))
    rows, read = folder(tmp_path / "data"), list[str]()

    def noted(path: str, table: ColourTable | None) -> LabelMap:
        read.append(path)
        return read_map(path, table)

    monkeypatch.setattr("maekit.segmentation.data.labels.present.read_map", noted)
    seen: list[str] = []
    for number in (1, 2, 3):
        data = of_table(tmp_path / "data", rows, fold=f"{number}/3")
        pairs = data.label_maps.tree.val.pairs
        values = [np.unique(np.asarray(Image.open(pairs.label(index)))) for index in range(len(pairs))]
        assert sum(2 in found for found in values) == 1  # one of the three with sand
        assert sum(1 in found for found in values) == 2
        seen += pairs.image_names
        assert "fold" in data.summary()
    assert sorted(seen) == sorted(row["image"] for row in rows)
    assert len(read) == 12
    save_label(tmp_path / "data" / rows[0]["mask"], np.full((32, 32), 1, np.uint8))
    of_table(tmp_path / "data", rows, fold="1/3").setup()
    assert len(read) == 24  # a changed label map is seen


def test_groups_stay_on_one_side_and_test_rows_are_set_aside(tmp_path: Path) -> None:
    rows = folder(tmp_path)
    for row in rows[:3]:
        row["split"] = "test"
    for fold in (None, "1/3", "3/3"):
        given = rows if fold else without("split")(rows)
        tree = of_table(tmp_path, given, group_column="patient", fold=fold, allow_empty=True).label_maps.tree
        sides = [{name[-9:-7] for name in part.pairs.image_names} for part in (tree.train, tree.val)]
        assert not sides[0] & sides[1] and all(sides)
        assert sides[0] | sides[1] == ({"p1", "p2", "p3"} if fold else {"p0", "p1", "p2", "p3"})
    assert "3 test rows set aside" in of_table(tmp_path, rows).summary()


def changed(row: int, **values: str) -> Callable[[list[Row]], list[Row]]:
    return lambda rows: [{**one, **values} if at == row else one for at, one in enumerate(rows)]


@pytest.mark.parametrize(
    ("change", "flags", "expected"),
    [
        (changed(3, image="images/train/p1_30.png"), {}, r"1 of 12 paths are no file.*row 5.*did you mean"),
        (changed(3, mask="masks/train/none.png"), {}, r"1 of 12 paths are no file.*none\.png"),
        (lambda rows: [*rows, rows[0]], {}, r"1 images are listed more than once.*rows 2, 14"),
        (
            lambda rows: [{"image": r["image"], "msk": r["mask"]} for r in rows],
            {},
            r"no column of the masks.*did you mean 'msk'",
        ),
        (lambda rows: rows, {"mask_column": "masc"}, r"no column 'masc'.*did you mean 'mask'.*--data\.mask_column"),
        (lambda rows: rows, {"group_column": "patint"}, r"did you mean 'patient'"),
        (changed(9, patient="p0"), {"group_column": "patient"}, r"group 'p0' is in train and in val"),
        (changed(0, split="trian"), {}, "got 'trian' as a split"),
        (changed(0, weight="-1"), {"weight_column": "weight"}, "expected a weight above 0"),
        (lambda rows: rows[:4], {"fold": "1/2"}, r"class 'value 2' is in one image, expected two or more"),
        (lambda rows: rows, {"fold": "1/5", "group_column": "patient"}, "4 groups to divide into 5 parts"),
        (lambda rows: rows, {"fold": "1/20"}, "12 images to divide into 20 parts"),
        (lambda rows: rows, {"fold": "6/5"}, r"data\.fold: got '6/5'"),
        (lambda rows: rows, {"group_column": "patient", "group_pattern": "^p"}, "expected one of them"),
        (lambda rows: [row for row in rows if row["split"] == "train"], {}, "no row is of validation"),
    ],
)
def test_a_wrong_table_is_one_line(
    tmp_path: Path, change: Callable[[list[Row]], list[Row]], flags: dict[str, Any], expected: str
) -> None:
    rows = folder(tmp_path)
    with pytest.raises(UserError, match=expected) as caught:
        of_table(tmp_path, change(rows), **flags).setup()
    assert "\n" not in str(caught.value)


def test_a_label_map_of_several_images_is_told(tmp_path: Path) -> None:
    rows = folder(tmp_path)
    assert "of several images" not in of_table(tmp_path, rows).summary()
    shared = rows[0]["mask"]
    found = of_table(tmp_path, changed(3, mask=shared)(rows)).summary()
    assert f"1 label map of several images each, the first '{shared}' of 2" in found


def test_a_column_needs_a_table(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"got data\.mask_column without data\.table"):
        build(tmp_path, mask_column="mask")
    with pytest.raises(UserError, match="no such table"):
        build(None, SegmentationFolders, table=str(tmp_path / "nothere.csv")).setup()


def test_folders_are_divided_by_their_classes_too(tmp_path: Path) -> None:
    """Without a table; a class of one image stops the run before the first step."""
    folder(tmp_path)
    for part in ("images", "masks"):
        for path in (tmp_path / part / "val").iterdir():
            path.rename(tmp_path / part / "train" / path.name)
        (tmp_path / part / "val").rmdir()
    held = [build(tmp_path, SegmentationFolders, fold=f"{at}/3").label_maps.tree.val.pairs for at in (1, 2, 3)]
    assert [sum(name[3:5] in ("01", "04", "09") for name in pairs.image_names) for pairs in held] == [1, 1, 1]
    for number in (4, 9):
        path = next((tmp_path / "masks").glob(f"*/*_{number:02}.png"))
        save_label(path, np.where(np.asarray(Image.open(path)) == 2, 0, np.asarray(Image.open(path))).astype(np.uint8))
    with pytest.raises(UserError, match="class 'sand' is in one image"):
        build(tmp_path, SegmentationFolders, fold="1/3", reduce_zero_label=False).setup()
    build(tmp_path, SegmentationFolders, fold="1/3", reduce_zero_label=False, allow_empty=True).setup()
