"""Reading tables: which columns, which files, which folds."""

from pathlib import Path

import numpy as np
import pytest

from maekit.data.tables.columns import choose_columns
from maekit.data.tables.folds import fold_of_each
from maekit.data.tables.paths import find_files
from maekit.data.tables.read import column_names, read_columns
from maekit.errors import UserError
from maekit.system.folds import parse_fold

NOTHING: dict[str, str | None] = dict.fromkeys(("path", "label", "split", "group", "weight"))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", b"file,label\na.png,cat\n'b,c'.png,dog\n".replace(b"'", b'"').replace(b'"b,c".png', b'"b,c.png"')),
        ("a.csv", b"\xef\xbb\xbffile;label\r\na.png;cat\r\nb,c.png;dog\r\n\r\n"),
        ("a.tsv", b"file\tlabel\na.png\tcat\nb,c.png\tdog"),
        ("a.txt", "file|label\n a.png | cat \nb,c.png|dog\n".encode("utf-16")),
    ],
)
def test_text_is_read_whatever_its_delimiter_encoding_and_line_ends(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    assert column_names(tmp_path / name) == ["file", "label"]
    columns = read_columns(tmp_path / name, ["label", "file"])
    assert columns == {"label": ["cat", "dog"], "file": ["a.png", "b,c.png"]}


def test_parquet_is_read_as_text(tmp_path: Path) -> None:
    arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    table = arrow.table({"file": ["a.png", "b.png", None], "label": [1.0, 2.0, float("nan")], "n": [1, 2, 3]})
    parquet.write_table(table, tmp_path / "a.parquet")
    assert column_names(tmp_path / "a.parquet") == ["file", "label", "n"]
    assert read_columns(tmp_path / "a.parquet", ["file", "label", "n"]) == {
        "file": ["a.png", "b.png", ""], "label": ["1", "2", ""], "n": ["1", "2", "3"],
    }  # fmt: skip
    (tmp_path / "b.parquet").write_bytes((tmp_path / "a.parquet").read_bytes()[:-20])
    with pytest.raises(UserError, match="no whole Parquet file"):
        column_names(tmp_path / "b.parquet")


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "the table is empty"),
        (b"\n\n", "the table is empty"),
        (b"file,label\n", "no rows below its head"),
        (b"file,label\na.png\n", "row 2 has 1 values, its head names 2 columns"),
        (b'file,label\n"a.png,cat\n', "mend its quotes"),
        (b'\nfile,label\na.png,cat\n"b.png" ,cat\n', "line 4: .*mend its quotes"),
        (b"file,file\na.png,cat\n", "2 columns are named 'file'"),
        (b"file,label\n\xff.png,cat\n", "not text in UTF-8"),
    ],
)
def test_a_damaged_table_is_refused_in_one_line(tmp_path: Path, content: bytes, expected: str) -> None:
    (tmp_path / "a.csv").write_bytes(content)
    with pytest.raises(UserError, match=expected):
        read_columns(tmp_path / "a.csv", column_names(tmp_path / "a.csv"))


def test_columns_have_usual_names_or_are_given() -> None:
    found = choose_columns(Path("t.csv"), ["Image_ID", "Class Name", "Patient ID", "subset"], NOTHING)
    assert (found.path, found.labels, found.split, found.group) == ("Image_ID", ("Class Name",), "subset", None)
    assert "path from 'Image_ID', label from 'Class Name', split from 'subset'" in found.note
    assert "'Patient ID' is not used: --data.group_column Patient ID" in found.note
    folds = choose_columns(Path("t.csv"), ["file", "label", "is_valid"], NOTHING)
    assert "'is_valid' is not used for a split: it takes a column of words such as train and val" in folds.note
    given = NOTHING | {"path": "a", "label": "b", "group": "c"}
    chosen = choose_columns(Path("t.csv"), ["a", "b", "c", "file", "image"], given)
    assert (chosen.path, chosen.labels, chosen.group, chosen.note) == ("a", ("b",), "c", "")
    assert chosen.names() == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("names", "given", "expected"),
    [
        (
            ["file", "lable"],
            {},
            "no column of the labels among 'file', 'lable'",
        ),
        (["file", "label"], {"label": "labell"}, "no column 'labell'.*did you mean 'label'"),
        (["file", "image", "label"], {}, "columns 'file', 'image' may each be the path; say which: --data.path_column"),
        (["x", "label"], {}, "no column of the paths"),
    ],
)
def test_a_column_that_is_unclear_is_asked_for(names: list[str], given: dict[str, str | None], expected: str) -> None:
    with pytest.raises(UserError, match=expected):
        choose_columns(Path("t.csv"), names, NOTHING | given)


def files(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


@pytest.mark.parametrize(
    ("paths", "note"),
    [
        (["a/1.png", "b/2.JPG"], ""),
        (["./a//1.png", "b\\2.JPG"], ""),
        (["a/1", "b/2"], "2 paths without an ending"),
        (["a/1.PNG", "b/2.jpg"], "2 paths in another case or form of accents"),
    ],
)
def test_files_are_found_however_they_are_written(tmp_path: Path, paths: list[str], note: str) -> None:
    root = files(tmp_path / "images", "a/1.png", "b/2.JPG", "b/notes.txt")
    found = find_files(tmp_path / "t.csv", paths, [root, tmp_path])
    assert (found.root, found.names, found.note) == (root, ["a/1.png", "b/2.JPG"], note)
    above = find_files(tmp_path / "t.csv", [f"images/{path}" for path in paths], [root, tmp_path])
    assert (above.root, above.names) == (tmp_path, ["images/a/1.png", "images/b/2.JPG"])
    absolute = find_files(tmp_path / "t.csv", [f"{root}/{path}" for path in paths], [tmp_path])
    assert [f"/{name}" for name in absolute.names] == [f"{root}/a/1.png", f"{root}/b/2.JPG"]


def test_files_that_are_not_there_are_counted_and_the_nearest_named(tmp_path: Path) -> None:
    root = files(tmp_path, "a/img_001.png", "a/img_002.png")
    with pytest.raises(UserError, match=r"2 of 3 paths are no file in .*, the first 'a/img_01.png' \(row 3\).*img_0"):
        find_files(tmp_path / "t.csv", ["a/img_001.png", "a/img_01.png", "c/7.png"], [root])
    files(tmp_path, "a/x.png", "a/x.jpg")
    with pytest.raises(UserError, match="1 of 1 paths are no file"):  # which of the two is unclear
        find_files(tmp_path / "t.csv", ["a/x"], [root])


@pytest.mark.parametrize("grouped", [False, True])
def test_folds_are_even_whole_and_do_not_depend_on_the_order(grouped: bool) -> None:
    rng = np.random.default_rng(0)
    names = [f"{number}.png" for number in range(200)]
    labels = rng.choice(3, 200, p=[0.6, 0.3, 0.1])
    groups = [f"patient {number // 4}" for number in range(200)] if grouped else None
    folds = fold_of_each(names, labels, 5, 0, groups)
    for label in range(3):
        counts = np.bincount(folds[labels == label], minlength=5)
        assert counts.max() - counts.min() <= (10 if grouped else 1)
    if groups is not None:
        assert all(len({folds[row] for row in range(start, start + 4)}) == 1 for start in range(0, 200, 4))
    order = rng.permutation(200)
    again = fold_of_each([names[i] for i in order], labels[order], 5, 0, groups and [groups[i] for i in order])
    assert (again == folds[order]).all()
    assert (fold_of_each(names, labels, 5, 1, groups) != folds).any()


def test_a_fold_is_written_as_a_share() -> None:
    assert parse_fold(" 2/5 ") == (2, 5)
    for wrong in ("0/5", "6/5", "1/1", "2", "a/b", "2/5/7"):
        with pytest.raises(UserError, match=r"data\.fold: got"):
            parse_fold(wrong)
    with pytest.raises(UserError, match="got 2 groups for 3 folds"):
        fold_of_each("abcd", np.zeros(4, int), 3, 0, ["x", "x", "y", "y"])
    alone = fold_of_each("abcdef", np.array([0, 0, 1, 1, 2, 2]), 4, 0, list("uvwxyz"))
    assert sorted(np.bincount(alone)) == [1, 1, 2, 2]
    with pytest.raises(UserError, match=r"got 1 group for 2 folds, .*; one cannot be divided: say which"):
        fold_of_each("abcd", np.zeros(4, int), 2, 0, ["x"] * 4)
    with pytest.raises(UserError, match="got 2 images for 3 folds"):
        fold_of_each("ab", np.zeros(2, int), 3, 0)
