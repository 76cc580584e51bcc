"""Classes from a table: the same data as class folders, and what is refused."""

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from maekit.classification.data.folders import ClassFolders
from maekit.cli import main
from maekit.errors import UserError
from tests.conftest import few_digits
from tests.helpers_run import tiny

Row = dict[str, str]


def rows_of(root: Path) -> list[Row]:
    """The digits' class folders as the rows of a table, in an order of their own."""
    files = sorted(root.glob("*/*/*.JPEG"), key=lambda file: file.name[::-1])
    return [
        {"file": str(f.relative_to(root)), "label": f.parent.name, "split": f.relative_to(root).parts[0]} for f in files
    ]


def write(path: Path, rows: list[Row], delimiter: str = ",") -> Path:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), delimiter=delimiter)
        writer.writeheader()
        writer.writerows(rows)
    return path


def data(table: Path | None, **changed: Any) -> ClassFolders:
    values: dict[str, Any] = {
        "root": None, "table": table and str(table), "total_batch_size": 2, "val_fraction": 0.25, "image_size": 16,
        "crop_scale": [1, 1], "crop_ratio": [1, 1], "horizontal_flip": 0, "rand_augment": None, "random_erasing": 0,
        "eval_crop_fraction": 1, "mean": [0.5] * 3, "std": [0.25] * 3,
    }  # fmt: skip
    return ClassFolders(**(values | changed))


def made(folder: Path, change: Callable[[list[Row]], list[Row]] = lambda rows: rows) -> Path:
    """Twelve images of two classes, four patients and two splits, and the table of them that a change makes."""
    rows: list[Row] = []
    for number in range(12):
        name = f"{number:02}.png"
        Image.new("RGB", (16, 16), (20 * number,) * 3).save(folder / name)
        label, split = "cat" if number % 2 else "dog", "val" if number >= 9 else "train"
        rows.append({"file": name, "label": label, "split": split, "patient": f"p{number // 3}"})
    return write(folder / "labels.csv", change(rows))


def without(column: str) -> Callable[[list[Row]], list[Row]]:
    return lambda rows: [{name: value for name, value in row.items() if name != column} for row in rows]


def test_folders_and_tables_of_the_same_images_give_the_same_run(tmp_path: Path) -> None:
    root = few_digits()
    outcomes: list[tuple[dict[str, Any], str]] = []
    flags: list[dict[str, Any]] = [
        {"data.root": str(root)},
        {"data.root": str(root), "data.table": str(write(tmp_path / "a.csv", rows_of(root)))},
        {"data.root": str(root), "data.table": str(write(tmp_path / "a.tsv", rows_of(root), "\t"))},
    ]
    arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    parquet.write_table(arrow.Table.from_pylist(rows_of(root)), tmp_path / "a.parquet")
    flags.append({"data.root": str(root), "data.table": str(tmp_path / "a.parquet")})
    for number, given in enumerate(flags):
        keys = {key.replace(".", "__"): value for key, value in given.items()}
        folder = tiny(tmp_path / str(number), trainer__max_steps=3, **keys).fit()["folder"]
        outcomes.append(
            (json.loads((Path(folder) / "metrics.json").read_text())["val"], (Path(folder) / "val.csv").read_text())
        )
    assert outcomes == [outcomes[0]] * 4
    assert outcomes[0][0]["loss"] > 0


def test_splits_columns_and_test_rows_are_said(tmp_path: Path) -> None:
    def with_test(rows: list[Row]) -> list[Row]:
        return [row | {"split": "test"} if row["file"] == "00.png" else row for row in rows]

    found = data(made(tmp_path, with_test))
    found.setup()
    assert (len(found.train_dataset(0)), len(found.val_dataset())) == (8, 3)
    for said in ("12 rows of labels.csv", "path from 'file'", "splits as the table says, 1 test rows set aside"):
        assert said in found.summary()
    assert "'patient' is not used: --data.group_column patient" in found.summary()


def test_the_order_of_the_rows_changes_nothing(tmp_path: Path) -> None:
    first = data(made(tmp_path)).identity()
    assert data(made(tmp_path, lambda rows: rows[::-1])).identity() == first
    other = data(made(tmp_path, lambda rows: [{**rows[0], "label": "cat"}, *rows[1:]])).identity()
    assert other.splits["train"] != first.splits["train"]


def test_classes_are_in_the_order_of_their_list(tmp_path: Path) -> None:
    table = made(tmp_path)
    (tmp_path / "classes.txt").write_text("cat\ndog\n")
    for given in (["dog", "cat"], "dog, cat", str(tmp_path / "classes.txt")):
        train = data(table, classes=given).read_splits(tmp_path).train
        assert set(train.classes) == {"dog", "cat"}
        assert (train.classes[0] == "dog") == (given != str(tmp_path / "classes.txt"))
        names = [train.classes[label] for label in train.labels.tolist()]
        assert all((int(file[:2]) % 2 == 1) == (name == "cat") for file, name in zip(train.names, names, strict=True))


def test_groups_stay_on_one_side_of_a_share_and_of_each_fold(tmp_path: Path) -> None:
    table = made(tmp_path, without("split"))
    seen: list[str] = []
    for fold in (None, "1/4", "2/4", "3/4", "4/4"):
        found = data(table, group_column="patient", fold=fold)
        splits = found.read_splits(tmp_path)
        sides = [{int(name[:2]) // 3 for name in part.names} for part in (splits.train, splits.val)]
        assert not sides[0] & sides[1], fold
        seen += [] if fold is None else list(splits.val.names)
        assert "groups whole" in splits.origin
    assert sorted(seen) == [f"{number:02}.png" for number in range(12)]


def test_few_groups_make_a_larger_share(tmp_path: Path) -> None:
    found = data(made(tmp_path, without("split")), group_column="patient", val_fraction=0.1).read_splits(tmp_path)
    assert (len(found.train), len(found.val)) == (9, 3)
    assert "25 % of the images set aside" in found.origin


def test_a_table_that_is_not_there_is_told_from_its_neighbour(tmp_path: Path) -> None:
    made(tmp_path)
    with pytest.raises(UserError, match=r"labl\.csv: no such table.*labels\.csv"):
        data(tmp_path / "labl.csv").setup()


def test_a_weight_column_is_kept_with_its_images(tmp_path: Path) -> None:
    table = made(tmp_path, lambda rows: [row | {"w": str(1 + int(row["file"][:2]))} for row in rows])
    found = data(table, weight_column="w")
    train, weights = found.read_splits(tmp_path).train, found.sample_weights()
    assert weights is not None
    assert [weight - 1 for weight in weights] == [int(name[:2]) for name in train.names]
    assert "images are drawn by their weights" in found.summary()
    assert data(table, weight_column="w", sampling="uniform").sample_weights() is None


def test_balanced_sampling_draws_each_class_equally_often(tmp_path: Path) -> None:
    found = data(made(tmp_path, lambda rows: [r for r in rows if r["label"] == "dog" or r["file"] > "04"]))
    assert found.sample_weights() is None
    found = data(tmp_path / "labels.csv", sampling="balanced")
    labels, weights = found.read_splits(tmp_path).train.labels, found.sample_weights()
    assert weights is not None
    shares = [weights[labels == label].sum() for label in (0, 1)]
    assert shares[0] == pytest.approx(shares[1])
    assert (labels == 0).sum() != (labels == 1).sum()
    with pytest.raises(UserError, match=r"data\.sampling weighted without data\.weight_column"):
        data(tmp_path / "labels.csv", sampling="weighted")


def test_class_folders_have_folds_too(tmp_path: Path) -> None:
    for number in range(12):
        (tmp_path / f"class {number % 2}").mkdir(exist_ok=True)
        Image.new("RGB", (8, 8)).save(tmp_path / f"class {number % 2}/{number}.png")
    seen = []
    for fold in ("1/3", "2/3", "3/3"):
        splits = data(None, root=str(tmp_path), fold=fold).read_splits(tmp_path)
        assert (len(splits.train), len(splits.val)) == (8, 4)
        seen += list(splits.val.names)
    assert len(set(seen)) == 12
    Image.new("RGB", (8, 8)).save(tmp_path / "class 2.png")
    (tmp_path / "class 2").mkdir()
    (tmp_path / "class 2.png").rename(tmp_path / "class 2/0.png")
    with pytest.raises(UserError, match="class 'class 2' has one image, expected two or more"):
        data(None, root=str(tmp_path), fold="1/3").setup()
    with pytest.raises(UserError, match="have their own validation split"):
        data(None, root=str(few_digits()), fold="1/3").read_splits(few_digits())


def relabelled(label: str, *, at: int = 3) -> Callable[[list[Row]], list[Row]]:
    return lambda rows: [row | {"label": label} if number == at else row for number, row in enumerate(rows)]


REFUSED: list[tuple[Callable[[list[Row]], list[Row]], dict[str, Any], str]] = [
    (lambda rows: [row | {"file": f"x/{row['file']}"} for row in rows], {}, "12 of 12 paths are no file in"),
    (lambda rows: [*rows, rows[4]], {}, "1 images are listed more than once, the first '04.png' in rows 6, 14"),
    (lambda rows: [*rows, rows[4] | {"label": "cat"}], {}, "with the labels cat, dog"),
    (without("label"), {}, "no column of the labels"),
    (relabelled("nan"), {}, r"1 rows have no label, the first is row 5 \('nan'\)"),
    (relabelled(""), {}, "1 rows have no label"),
    (relabelled("cow"), {"classes": ["dog", "cat"]}, "row 5 has label 'cow', expected one of the 2 classes"),
    (lambda rows: [row | {"label": "cat"} for row in rows], {}, r"one class only \('cat'\)"),
    (lambda rows: [row | {"split": "vall"} for row in rows], {}, "got 'vall' as a split, expected one of train"),
    (lambda rows: [row | {"split": "train"} for row in rows], {}, "no row is of validation"),
    (
        lambda rows: [row | {"split": "test"} if row["split"] == "val" else row for row in rows], {},
        "of training and test, none of validation",
    ),
    (lambda rows: [*rows[:8], rows[8] | {"split": "val"}, *rows[9:]], {"group_column": "patient"}, "group 'p2' is in"),
    (lambda rows: relabelled("cow")(without("split")(rows)), {}, "class 'cow' has one image, expected two or more"),
    (lambda rows: rows, {"fold": "1/5", "group_column": "patient"}, "got 4 groups for 5 folds"),
    (lambda rows: [row | {"w": "-1"} for row in rows], {"weight_column": "w"}, "row 2 has '-1' in 'w', expected"),
    (lambda rows: [row | {"w": "1_0"} for row in rows], {"weight_column": "w"}, "row 2 has '1_0' in 'w', expected"),
    (relabelled("cow", at=11), {}, "class 'cow' has no training image"),
    (lambda rows: rows, {"classes": ["a", "a"]}, "got a, a, expected two names or more, each once"),
    (
        lambda rows: [r | {"label": "0" * (at // 2 % 2) + str(at % 2)} for at, r in enumerate(rows)], {},
        "'0' and '00' are",
    ),
    (lambda rows: [r | {"label": ("1", "2", "1.0")[at % 3]} for at, r in enumerate(rows)], {}, "'1' and '1.0' are the"),
    (
        lambda rows: [r | {"label": ("\xe9", "e\u0301", "x")[at % 3]} for at, r in enumerate(rows)], {},
        "print alike, but",
    ),
    (lambda rows: [r | {"label": ("a  b", "A b")[at % 2]} for at, r in enumerate(rows)], {}, "only in case or spaces"),
    (
        lambda rows: [row | {"patient": ("7", "007")[at > 8]} for at, row in enumerate(rows)],
        {"group_column": "patient"}, "group '7' is in",
    ),
    (
        lambda rows: [row | {"patient": "" if at == 3 else "p"} for at, row in enumerate(rows)],
        {"group_column": "patient"}, r"1 row without a group in 'patient', the first is row 5 \(''\)",
    ),
    (lambda rows: rows, {"classes": "dog"}, "got dog, expected two names or more, each once"),
]  # fmt: skip


@pytest.mark.parametrize(("change", "flags", "expected"), REFUSED, ids=[case[2][:40] for case in REFUSED])
def test_what_a_table_cannot_mean_is_refused_in_one_line(
    tmp_path: Path, change: Callable[[list[Row]], list[Row]], flags: dict[str, Any], expected: str
) -> None:
    with pytest.raises(UserError, match=expected) as error:
        data(made(tmp_path, change), **flags).setup()
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ({"label_column": "x"}, "got data.label_column without data.table"),
        ({"fold": "7/5"}, r"data\.fold: got '7/5'"),
    ],
)
def test_flags_that_contradict_are_refused_before_anything_is_read(flags: dict[str, Any], expected: str) -> None:
    with pytest.raises(UserError, match=expected):
        data(None if "label_column" in flags else Path("nowhere.csv"), **flags)


def test_the_check_reads_the_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["data", "check", "--task", "imagenet_finetune", "--root", str(tmp_path), "--data.table"]
    assert main([*words, str(made(tmp_path))]) == 0
    said = capsys.readouterr().out
    assert "training: 9 images of 2 classes" in said
    assert "path from 'file', label from 'label', split from 'split', 'patient' is not used" in said
    assert main([*words, str(made(tmp_path, relabelled("")))]) == 1
    assert "1 rows have no label" in capsys.readouterr().out
