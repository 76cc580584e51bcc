"""iNaturalist's annotation files: what is read from each year's, the made digits, and what the check finds."""

import json
import re
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
from maekit.errors import UserError
from maekit.recipes.settings import make_parser
from maekit.recipes.tasks import find_task
from tests.classification.data.helpers_inaturalist import (
    FOLDERS,
    TRAIN,
    VAL,
    Json,
    build,
    edit,
    plant,
    put,
    refusal,
)
from tests.helpers_data import check, missing_from


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return plant(tmp_path / "inat")


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


def test_of_several_years_one_must_be_given(root: Path) -> None:
    plant(root, 2019)
    assert not missing_from(refusal(root), "2018 and 2019", "--data.year")
    assert build(root, year=2018).spec().ids()[0] == "inaturalist2018/3"
    assert not missing_from(refusal(root, year=2017), "train2017.json", "2018 and 2019", "--data.year 2019")


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


def test_check_reports_counts_and_gaps(root: Path) -> None:
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
    gone, empty = check(INaturalist, root).problems
    names = "train_val2018/Aves/9/a.jpg, train_val2018/Insecta/3/c.jpg"
    assert not missing_from(gone, f"{root}/train2018.json: 2 of 4", names)
    assert empty.startswith(f"{root}/train_val2018/Amphibia/7/e.jpg: is an empty file")
    with pytest.raises(UserError, match=r"a\.jpg: cannot be opened \(No such file or directory\)"):
        build(root).train_dataset(0)[Draw(0, 0)]


def test_check_finds_classes_without_images_and_shared_images(root: Path) -> None:
    edit(root, put("images", 3, file_name="train_val2018/Aves/9/g.jpg"))
    edit(root, lambda data: [entry.update(category_id=9) for entry in data["annotations"] if entry["category_id"] == 3])
    shared, empty = check(INaturalist, root).problems
    assert not missing_from(shared, f"{root}/val2018.json: 1 ", "train2018.json", "train_val2018/Aves/9/g.jpg")
    assert not missing_from(empty, f"{root}/train2018.json: 1 classes", "Apis mellifera")


def test_check_counts_a_year_with_its_number_of_classes(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    released = {**inaturalist_release.RELEASED, 2018: Released("iNaturalist 2018", 3, 4, 24_426)}
    monkeypatch.setattr(inaturalist_release, "RELEASED", released)
    classes, images = check(INaturalist, root, classes=5).problems
    assert classes.startswith("the head has 5 classes, the data 3")
    assert not missing_from(images, f"{root}/val2018.json: 3 validation images", "24,426")


def test_flags_are_those_of_class_folders_less_their_split() -> None:
    def flags(task: str) -> set[str]:
        parser = make_parser(find_task(task).load(), training=False)
        return {key.partition(".")[2] for key in vars(parser.get_defaults().as_flat()) if key.startswith("data.")}

    of_tables = {f"{kind}_column" for kind in ("path", "label", "split", "group", "weight")} | {"table", "classes"}
    shared = flags("imagenet_finetune") - {"val_fraction", "split_seed", "fold", "sampling"} - of_tables
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
