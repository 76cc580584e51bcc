"""iNaturalist's annotation files: what is read from each year's, the made digits, and every wrong form in one line."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from maekit.base.spec import Draw
from maekit.classification.data import labelled_images
from maekit.classification.data.check import Released
from maekit.classification.data.inaturalist import release as inaturalist_release
from maekit.classification.data.inaturalist.inaturalist import INaturalist
from maekit.cli import main
from maekit.data.augment.augment import clipped_crop_box, random_crop_box
from maekit.data.folders.layout import nearby_root
from maekit.errors import UserError
from maekit.recipes.settings import make_parser
from maekit.recipes.tasks import find_task
from tests.helpers_data import check

FOLDERS = {2017: "train_val_images", 2018: "train_val2018", 2019: "train_val2019"}
NAMES = {3: "Apis mellifera", 7: "Bufo bufo", 9: "Cyanistes caeruleus"}
# image id -> (category id, file below the year's folder); not in the order of the ids, as in the real files
TRAIN = {40: (9, "Aves/9/a.jpg"), 10: (3, "Insecta/3/b.jpg"), 20: (3, "Insecta/3/c.jpg"), 30: (7, "Amphibia/7/d.jpg")}
VAL = {60: (7, "Amphibia/7/e.jpg"), 50: (3, "Insecta/3/f.jpg"), 70: (9, "Aves/9/g.jpg")}

Json = dict[str, Any]


def content(year: int, images: dict[int, tuple[int, str]]) -> Json:
    return {
        "info": {"year": year},
        "images": [{"id": i, "file_name": f"{FOLDERS[year]}/{file}"} for i, (_, file) in images.items()],
        "annotations": [{"id": n, "image_id": i, "category_id": images[i][0]} for n, i in enumerate(sorted(images))],
        "categories": [{"id": i, "name": NAMES[i], "supercategory": "X"} for i in sorted(NAMES, reverse=True)],
    }


def plant(root: Path, year: int = 2018) -> Path:
    for split, images in (("train", TRAIN), ("val", VAL)):
        for number, (_, file) in images.items():
            path = root / FOLDERS[year] / file
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (4, 4), (number, 0, 0)).save(path, "JPEG")
        (root / f"{split}{year}.json").write_text(json.dumps(content(year, images)))
    return root


def build(root: Path | None, **changes: Any) -> INaturalist:
    arguments: dict[str, Any] = {
        "root": None if root is None else str(root),
        "total_batch_size": 2,
        "device_batch_size": None,
        "image_size": 4,
        "crop_scale": [0.08, 1.0],
        "crop_ratio": [0.75, 1.33],
        "horizontal_flip": 0.0,
        "rand_augment": None,
        "random_erasing": 0.0,
        "eval_crop_fraction": 1.0,
        "mean": [0.5, 0.5, 0.5],
        "std": [0.5, 0.5, 0.5],
    }
    return INaturalist(**{**arguments, **changes})


def refusal(root: Path | None, **changes: Any) -> str:
    with pytest.raises(UserError) as caught:
        build(root, **changes).setup()
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return plant(tmp_path / "inat")


def edit(root: Path, change: Callable[[Json], Any], file: str = "train2018.json") -> None:
    data = json.loads((root / file).read_text())
    change(data)
    (root / file).write_text(json.dumps(data))


@pytest.mark.parametrize("year", [2017, 2018, 2019])
@pytest.mark.parametrize("said", [True, False])
def test_each_year_is_read(tmp_path: Path, year: int, said: bool) -> None:
    data = build(plant(tmp_path, year), year=year if said else None)
    for dataset, images in ((data.train_dataset(0), TRAIN), (data.val_dataset(), VAL)):
        listing = dataset.listing
        found = [(listing.path(i), int(listing.labels[i])) for i in range(len(listing))]
        label = {3: 0, 7: 1, 9: 2}  # places of the sorted ids, which have gaps
        assert found == [(f"{tmp_path}/{FOLDERS[year]}/{file}", label[ident]) for ident, file in images.values()]
        assert listing.labels.dtype == np.int32
    spec = data.spec()
    assert spec.class_names == ("Apis mellifera", "Bufo bufo", "Cyanistes caeruleus")
    assert spec.ids() == (f"inaturalist{year}/3", f"inaturalist{year}/7", f"inaturalist{year}/9")
    assert data.train_dataset(0).listing.classes == data.val_dataset().listing.classes == spec.ids()
    assert data.summary() == f"4 training and 3 validation images of 3 classes in {tmp_path} (iNaturalist {year})"
    sample = data.val_dataset()[Draw(0, 2)]
    assert sample[1:] == (2, 2)


def test_of_several_years_one_must_be_said(root: Path) -> None:
    plant(root, 2019)
    assert "annotation files of 2018 and 2019; say which with --data.year 2019" in refusal(root)
    assert build(root, year=2018).spec().ids()[0] == "inaturalist2018/3"
    assert "no train2017.json, but those of 2018 and 2019; use --data.year 2019" in refusal(root, year=2017)


def test_names_for_people(root: Path) -> None:
    def withhold(data: Json) -> None:
        for entry, above in zip(data["categories"], ("Aves", "Amphibia", ""), strict=True):
            entry.update(name=str(entry["id"]), supercategory=above)

    for file in ("train2018.json", "val2018.json"):
        edit(root, withhold, file)
    assert build(root).spec().class_names == ("3", "Amphibia 7", "Aves 9")
    given = [{"id": i, "name": "Same", "supercategory": "X"} for i in (3, 7)]
    (root / "categories.json").write_text(json.dumps(given))
    assert build(root).spec().class_names == ("3", "Amphibia 7", "Aves 9")  # of other ids: not these names
    given.append({"id": 9, "name": "Cyanistes", "common_name": "Blue tit", "supercategory": "Aves"})
    (root / "categories.json").write_text(json.dumps(given))
    spec = build(root).spec()
    assert spec.class_names == ("Same (3)", "Same (7)", "Cyanistes (Blue tit)")
    assert spec.ids() == ("inaturalist2018/3", "inaturalist2018/7", "inaturalist2018/9")
    (root / "categories.json").write_text('{"3": "Apis"}')
    assert "expected a list of objects with" in refusal(root)


def test_made_digits_are_the_digits_in_the_form_of_2018(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = tmp_path / "made"
    assert main(["data", "make", "--task", "inaturalist_finetune", "--root", str(root)]) == 0
    assert f"wrote 1,397 training and 400 validation images of 10 classes to {root}" in capsys.readouterr().out
    pixels, labels = load_digits(return_X_y=True)
    seen: list[int] = []
    for split in ("train", "val"):
        data = json.loads((root / f"{split}2018.json").read_text())
        assert data.keys() == {"info", "images", "annotations", "licenses", "categories"}
        assert [entry["id"] for entry in data["categories"]] == list(range(10))
        category = {entry["image_id"]: entry["category_id"] for entry in data["annotations"]}
        assert len(category) == len(data["images"]) == {"train": 1397, "val": 400}[split]
        for image in data["images"]:
            label = labels[image["id"]]
            assert category[image["id"]] == label
            above = ("Even", "Odd")[label % 2]
            assert re.fullmatch(rf"train_val2018/{above}/{label}/[0-9a-f]{{32}}\.jpg", image["file_name"])
            shown = Image.open(root / image["file_name"])
            assert shown.size == (image["width"], image["height"]) == (32, 32)
            blocks = np.asarray(shown.convert("L")).reshape(8, 4, 8, 4).mean(axis=(1, 3))
            assert np.abs(blocks.ravel() / 255 - pixels[image["id"]] / 16).max() < 0.35
        seen += category
    assert sorted(seen) == list(range(1797))
    assert main(["data", "check", "--task", "inaturalist_finetune", "--root", str(root), "--classes", "10"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "form: iNaturalist 2018",
        "training: 1,397 images of 10 classes",
        "validation: 400 images",
        "files: 1,797 of 1,797 read",
        "ok",
    ]


def test_made_data_serves_where_no_root_is_given() -> None:
    data = build(None, synthetic="digits")
    assert data.spec().class_names[:3] == ("zero", "one", "two")
    assert Path(data.train_dataset(0).listing.root).name == "digits-inaturalist-v1"
    assert "--data.root DIR with your images (train<year>.json and val<year>.json" in refusal(None)


def test_a_file_that_is_not_whole_or_not_json(root: Path) -> None:
    file = root / "val2018.json"
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2])
    assert f"{file}: not whole or not JSON (" in refusal(root)
    assert f"the file has {len(whole) // 2:,} bytes); download and unpack it again" in refusal(root)
    file.write_bytes(b"\xff\xfe\xff")
    assert "val2018.json: not whole or not JSON" in refusal(root)


def drop(table: str, at: int) -> Callable[[Json], Any]:
    return lambda data: data[table].pop(at)


def double(table: str, at: int, **change: Any) -> Callable[[Json], Any]:
    return lambda data: data[table].append({**data[table][at], **change})


def put(table: str, at: int, **change: Any) -> Callable[[Json], Any]:
    return lambda data: data[table][at].update(change)


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
    line = f"{root}/val2018.json: it lacks category 4 of train2018.json (4 categories against 3); use both files"
    assert line in refusal(root)
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
    assert "its images lie in train_val2019/, the folder of iNaturalist 2019; use the file of 2018" in refusal(
        root, year=2018
    )
    edit(root, of_2017, "train2019.json")
    assert "lists 5,089 categories, as iNaturalist 2017 has, not 1,010; use the file of 2019" in refusal(
        root, year=2019
    )


@pytest.mark.parametrize("split", ["train", "val"])
def test_one_of_the_two_files_is_missing(root: Path, split: str) -> None:
    (root / f"{split}2018.json").unlink()
    other = {"train": "val", "val": "train"}[split]
    assert f"{root}/{split}2018.json: no such file beside {other}2018.json; download it" in refusal(root)
    (root / f"{split}2018.json.tar.gz").touch()
    assert f"unpack {split}2018.json.tar.gz" in refusal(root)


def test_the_wrong_folder_names_the_right_one(root: Path, tmp_path: Path) -> None:
    for wrong in (tmp_path, root / "train_val2018", root / "train_val2018" / "Aves" / "9"):
        assert refusal(wrong) == f"{wrong}: no annotation files of iNaturalist in it; use --data.root {root}"
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
    assert "no annotation files, and train_val2018.tar.gz is still packed; unpack it here" in refusal(tmp_path)


def test_the_folder_of_images_is_not_there(root: Path) -> None:
    (root / "train_val2018").rename(root / "images")
    line = f"{root}/train2018.json: its images lie in train_val2018/, and {root} has no such folder; "
    assert refusal(root).startswith(
        f"{line}unpack the images there, or link their folder: ln -s IMAGES {root}/train_val"
    )
    (root / "train_val2018.tar.gz").touch()
    assert refusal(root) == f"{line}train_val2018.tar.gz is still packed; unpack it here"
    (root / "train_val2018.tar.gz").unlink()
    (root / "images" / "Aves").rename(root / "Aves")
    assert refusal(root) == f"{line}its 'Aves' lies in {root} itself; move the images into a folder train_val2018"


def test_check_tells_facts_and_gaps(root: Path) -> None:
    assert check(INaturalist, root, classes=3).lines() == [
        "form: iNaturalist 2018",
        "category ids: 7 of 0 to 9 are missing (0, 1, 2, ...); labels count the others from 0",
        "training: 4 images of 3 classes",
        "validation: 3 images",
        "files: 7 of 7 read",
        "ok",
    ]
    plant(root, 2019)
    assert [fact for fact in check(INaturalist, root).facts if "form" in fact] == [
        "form: iNaturalist 2018",
        "form: iNaturalist 2019",
    ]
    assert check(INaturalist, root / "none").problems[0].endswith("give --data.root")


def test_check_finds_images_that_are_not_there(root: Path) -> None:
    (root / "train_val2018/Aves/9/a.jpg").unlink()
    (root / "train_val2018/Insecta/3/c.jpg").unlink()
    (root / "train_val2018/Insecta/3/c.jpg").symlink_to(root / "nowhere.jpg")
    (root / "train_val2018/Amphibia/7/e.jpg").write_bytes(b"")
    gone = "train_val2018/Aves/9/a.jpg, train_val2018/Insecta/3/c.jpg"
    assert check(INaturalist, root).problems == [
        f"{root}/train2018.json: 2 of 4 listed images are not in {root} ({gone}); "
        "unpack the images again, or list what there is",
        f"{root}/train_val2018/Amphibia/7/e.jpg: is an empty file; replace or remove it "
        "(`maekit data check` lists all such files)",
    ]
    with pytest.raises(UserError, match=r"a\.jpg: cannot be opened \(No such file or directory\)"):
        build(root).train_dataset(0)[Draw(0, 0)]


def test_check_finds_classes_without_images_and_shared_images(root: Path) -> None:
    edit(root, put("images", 3, file_name="train_val2018/Aves/9/g.jpg"))
    edit(root, lambda data: [entry.update(category_id=9) for entry in data["annotations"] if entry["category_id"] == 3])
    assert check(INaturalist, root).problems == [
        f"{root}/val2018.json: 1 validation images are also in train2018.json (the first: train_val2018/Aves/9/g.jpg); "
        "take them out of one list",
        f"{root}/train2018.json: 1 classes have no training images ('Apis mellifera'); add some, or remove the classes",
    ]


def test_check_counts_a_year_with_its_number_of_classes(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    released = {**inaturalist_release.RELEASED, 2018: Released("iNaturalist 2018", 3, 4, 24_426)}
    monkeypatch.setattr(inaturalist_release, "RELEASED", released)
    assert check(INaturalist, root, classes=5).problems == [
        "the head has 5 classes, the data 3; use this head's own data, or weights without a head "
        "(a new one is sized from the data)",
        f"{root}/val2018.json: 3 validation images, iNaturalist 2018 has 24,426; download the list again",
    ]


def test_flags_are_those_of_class_folders_less_their_split() -> None:
    def flags(task: str) -> set[str]:
        parser = make_parser(find_task(task).load(), training=False)
        return {key.partition(".")[2] for key in vars(parser.get_defaults().as_flat()) if key.startswith("data.")}

    shared = flags("imagenet_finetune") - {"val_fraction", "split_seed"}
    assert {"root", "synthetic", "total_batch_size", "crop_clip", "decoder", "std"} < shared
    assert flags("inaturalist_finetune") == shared | {"year"}
    assert flags("places_finetune") == shared | {"version", "images"}


@pytest.mark.parametrize("decoder", ["fast", "pillow"])
def test_decoder_and_crops_reach_the_images(root: Path, decoder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    kept: list[dict[str, Any]] = []
    monkeypatch.setattr(labelled_images, "FolderDataset", lambda *args, **kwargs: kept.append({"args": args, **kwargs}))
    data = build(root, decoder=decoder, crop_clip=decoder == "fast")
    data.train_dataset(3)
    assert kept[0]["decoder"] == decoder
    assert kept[0]["args"][0].path(0) == f"{root}/train_val2018/Aves/9/a.jpg"
    crop = kept[0]["args"][1].crop_box
    assert crop is (clipped_crop_box if decoder == "fast" else random_crop_box)
    assert kept[0]["args"][2] == 3


def test_published_numbers() -> None:
    assert len(set(INaturalist.published.class_names)) == 8142
    totals = {year: (r.num_classes, r.num_train + r.num_val) for year, r in inaturalist_release.RELEASED.items()}
    assert totals == {2017: (5089, 675_170), 2018: (8142, 461_939), 2019: (1010, 268_243), 2021: (10_000, 2_786_843)}


@pytest.mark.parametrize("name", ["train.json", "train_mini.json"])
def test_the_files_of_2021_have_no_year_in_their_names(root: Path, name: str) -> None:
    (root / "train_val2018").rename(root / "train")
    for old, new in (("train2018.json", name), ("val2018.json", "val.json")):
        (root / new).write_text((root / old).read_text().replace("train_val2018/", "train/"))
        (root / old).unlink()
    data = build(root)
    assert "iNaturalist 2021" in data.summary()
    assert check(INaturalist, root).ok
