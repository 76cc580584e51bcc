"""iNaturalist's annotation files and folders with every fault: each is one line."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from maekit.classification.data.inaturalist.inaturalist import INaturalist
from maekit.data.folders.layout import nearby_root
from tests.classification.data.helpers_inaturalist import Json, build, double, drop, edit, plant, put, refusal
from tests.helpers_data import check, missing_from


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return plant(tmp_path / "inat")


def test_a_file_that_is_not_whole_or_not_json(root: Path) -> None:
    file = root / "val2018.json"
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2])
    assert f"{file}: not whole or not JSON (" in refusal(root)
    assert f"the file has {len(whole) // 2:,} bytes); download and unpack it again" in refusal(root)
    file.write_bytes(b"\xff\xfe\xff")
    assert "val2018.json: not whole or not JSON" in refusal(root)


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (lambda data: data.pop("annotations"), "missing required field `annotations`; expected an object with the"),
        (lambda data: data.update(images={}), "expected `array`, got `object` - at `$.images`; expected an object"),
        (lambda data: data.update(images=[], annotations=[]), '"images" is empty, expected at least one'),
        (lambda data: data.update(images=[5]), "expected `object`, got `int` - at `$.images[0]`"),
        (put("images", 1, file_name=None), "expected `str`, got `null` - at `$.images[1].file_name`"),
        (lambda data: data["images"][2].pop("file_name"), "missing required field `file_name` - at `$.images[2]`"),
        (put("annotations", 3, category_id="3"), "expected `int`, got `str` - at `$.annotations[3].category_id`"),
        (put("categories", 1, name=[]), "expected `int | str`, got `array` - at `$.categories[1].name`"),
        (put("annotations", 0, category_id=8), 'category_id 8, which is not in "categories" (3 ids from 3 to 9)'),
        (drop("annotations", 1), "1 images without an annotation (the first: id 20, train_val2018/Insecta/3/c.jpg)"),
        (double("annotations", 1, category_id=9), "image 20 has more than one annotation; download"),
        (double("annotations", 1, image_id=99), 'annotations of images that are not in "images" (image_id 99)'),
        (double("images", 0), 'image id 40 stands more than once in "images"; download'),
        (double("categories", 0), 'category id 9 stands more than once in "categories"; download'),
        (lambda data: data.update(categories=data["categories"][:1]), '1 entries in "categories", expected two or'),
    ],
)
def test_a_faulty_file_is_one_line(root: Path, change: Callable[[Json], Any], line: str) -> None:
    edit(root, change)
    assert refusal(root).startswith(f"{root}/train2018.json: ")
    assert line in refusal(root)
    assert check(INaturalist, root).problems == [refusal(root)]


def test_a_list_is_no_annotation_file(root: Path) -> None:
    (root / "train2018.json").write_text("[1, 2]")
    assert 'expected an object with the lists "images", "annotations" and "categories"' in refusal(root)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_what_only_pythons_parser_reads_is_read(root: Path, encoding: str) -> None:
    edit(root, lambda data: data["images"][0].update(latitude=float("nan")))
    expected = build(root).spec()
    file = root / "train2018.json"
    file.write_text(file.read_text(), encoding=encoding)
    assert build(root).spec() == expected
    edit_in = file.read_text(encoding=encoding).replace('"file_name"', '"name"', 1)
    file.write_text(edit_in, encoding=encoding)
    assert "missing required field `file_name` - at `$.images[0]`" in refusal(root)


def test_splits_of_other_categories(root: Path) -> None:
    edit(root, lambda data: data["categories"].append({"id": 4, "name": "Danaus"}))
    assert not missing_from(
        refusal(root), f"{root}/val2018.json: ", "category 4", "train2018.json (4 categories against 3)"
    )
    edit(root, lambda data: data["categories"].pop())
    edit(root, put("categories", 0, name="Pica pica"), "val2018.json")
    assert "category 9 is 'Pica pica', in train2018.json 'Cyanistes caeruleus'" in refusal(root)
    edit(root, put("categories", 0, name="9"), "val2018.json")  # withheld
    build(root).setup()


def test_a_file_of_another_year(root: Path) -> None:
    def of_2017(data: Json) -> None:
        data["categories"] = [{"id": i, "name": f"n{i}"} for i in range(5089)]

    plant(root, 2019)
    (root / "train2018.json").write_bytes((root / "train2019.json").read_bytes())
    assert not missing_from(refusal(root, year=2018), "train2018.json: ", "train_val2019/", "the file of 2018")
    edit(root, of_2017, "train2019.json")
    assert not missing_from(refusal(root, year=2019), "5,089", "iNaturalist 2017", "1,010", "the file of 2019")


@pytest.mark.parametrize("split", ["train", "val"])
def test_one_of_the_two_files_is_missing(root: Path, split: str) -> None:
    (root / f"{split}2018.json").unlink()
    other = {"train": "val", "val": "train"}[split]
    assert not missing_from(refusal(root), f"{root}/{split}2018.json: no such file", f"{other}2018.json")
    (root / f"{split}2018.json.tar.gz").touch()
    assert f"unpack {split}2018.json.tar.gz" in refusal(root)


def test_the_wrong_folder_names_the_right_one(root: Path, tmp_path: Path) -> None:
    for wrong in (tmp_path, root / "train_val2018", root / "train_val2018" / "Aves" / "9"):
        assert not missing_from(refusal(wrong), f"{wrong}: ", f"--data.root {root}")
    (tmp_path / "file.zip").touch()
    assert "this is a file, expected a folder" in refusal(tmp_path / "file.zip")
    assert "did you mean 'inat'?" in refusal(tmp_path / "inatt")


def test_closed_folders_are_passed_over(tmp_path: Path) -> None:
    def holds(folder: Path) -> bool:
        if folder.name == "lost+found":
            raise PermissionError(13, "Permission denied")
        return folder.name == "right"

    for name in ("lost+found", "right"):
        (tmp_path / name).mkdir()
    assert nearby_root(tmp_path, holds) == tmp_path / "right"


def test_no_annotations_at_all(tmp_path: Path) -> None:
    assert "in it; expected train<year>.json and val<year>.json" in refusal(tmp_path)
    (tmp_path / "train_val2018.tar.gz").touch()
    assert not missing_from(refusal(tmp_path), tmp_path, "train_val2018.tar.gz is still packed")


def test_the_folder_of_images_is_not_there(root: Path) -> None:
    (root / "train_val2018").rename(root / "images")
    facts = (f"{root}/train2018.json: ", "train_val2018/", f"{root} has no such folder")
    assert not missing_from(refusal(root), *facts, f"ln -s IMAGES {root}/train_val2018")
    (root / "train_val2018.tar.gz").touch()
    assert not missing_from(refusal(root), *facts, "train_val2018.tar.gz is still packed")
    (root / "train_val2018.tar.gz").unlink()
    (root / "images" / "Aves").rename(root / "Aves")
    assert not missing_from(refusal(root), *facts, f"'Aves' lies in {root} itself")
