"""Where the annotation files and the images of a COCO data set are found."""

import gzip
import json
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from maekit.detection.data.coco.find_images import Disk, resolve
from tests.detection.data.helpers_exports import (
    Entry,
    export,
    refused,
    used,
)

NAMES: dict[str, Callable[[Path, str], str]] = {
    "absolute": lambda folder, name: f"{folder}/{name}",
    "absolute on another machine": lambda folder, name: f"/elsewhere/data/{folder.name}/{name}",
    "a drive of Windows": lambda folder, name: f"C:\\data\\{folder.name}\\{name}",
    "backslashes": lambda folder, name: f"{folder.name}\\{name}",
    "one folder too many": lambda folder, name: f"{folder.name}/{name}",
    "images before it": lambda folder, name: f"images/{name}",
    "a dot before it": lambda folder, name: f"./{name}",
    "two slashes": lambda folder, name: f".//{name}",
    "a slash before it": lambda folder, name: f"/{name}",
    "another case": lambda folder, name: name.upper(),
    "percent signs": lambda folder, name: name.replace(".", "%2E"),
    "an address": lambda folder, name: f"https://host.example/{folder.name}/{name}?x=1",
    "file address": lambda folder, name: f"file://{folder}/{name}",
    "label-studio's upload": lambda folder, name: f"/data/upload/1/ab12cd34-{name}",
    "label-studio's local files": lambda folder, name: f"/data/local-files/?d={folder.name}%2F{name}",
    "up and down again": lambda folder, name: f"../{folder.name}/{name}",
}


@pytest.mark.parametrize("write", NAMES.values(), ids=NAMES)
def test_images_are_found_however_the_file_writes_their_names(
    write: Callable[[Path, str], str], tmp_path: Path
) -> None:
    root = tmp_path / "d"
    folders = iter([root / "train"] * 8 + [root / "val"] * 4)
    export(root, list_image=lambda entry: {**entry, "file_name": write(next(folders), entry["file_name"])})
    data = used(root)
    file = data.val_dataset().file
    assert [Path(file.image(index)).resolve() for index in range(4)] == [root / f"val/{n}.png" for n in range(1, 5)]


@pytest.mark.parametrize(("listed", "there"), [("NFC", "NFD"), ("NFD", "NFC")])
def test_unicode_forms_are_alike(listed: Any, there: Any, tmp_path: Path) -> None:
    def rename(entry: Entry) -> Entry:
        return {**entry, "file_name": unicodedata.normalize(listed, f"Übung_é{entry['file_name']}")}

    root = export(tmp_path / "d", list_image=rename)
    for path in root.glob("*/*.png"):
        path.rename(path.with_name(unicodedata.normalize(there, f"Übung_é{path.name}")))
    assert "8 images have other names on disk" in used(root).summary()


def test_images_one_folder_down_or_with_only_an_address(tmp_path: Path) -> None:
    root = export(tmp_path / "d")
    for split in ("train", "val"):
        (root / split).rename(root / "keep")
        (root / split).mkdir()
        (root / "keep").rename(root / split / "photos")
    assert "8 images have other names on disk (the first: '1.png' as 'photos/1.png')" in used(root).summary()

    def address(entry: Entry) -> Entry:
        return {"id": entry["id"], "coco_url": f"http://images.host.example/x/{entry['file_name']}"}

    used(export(tmp_path / "lvis", list_image=address))


def test_a_name_that_fits_two_files_or_none_is_said(tmp_path: Path) -> None:
    for name in ("x.png", "y.PNG", "deep/z.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    found = resolve(["a/x.png", "b/x.png", "y.png", "z.png", "w.png"], tmp_path)
    assert (found.names[2:4], found.near.count) == (["y.PNG", "deep/z.png"], 2)
    assert found.absent == [0, 1, 4]
    assert f"{tmp_path}/x.png has the nearest name, but another listed image has it too" in found.hint
    assert resolve(["x.jpg"], tmp_path).hint.startswith("; did you mean 'x.png'?")
    assert resolve(["no\0thing.png", "/", "..", "x.png/"], tmp_path).absent == [0, 1, 2]


def test_a_missing_training_image_is_never_taken_from_the_validation_images(tmp_path: Path) -> None:
    root = export(tmp_path / "d")
    (root / "train/2.png").unlink()
    assert refused(root).startswith(f"{root}/train/2.png: listed in {root}/train.json but not there; add the image")


def test_each_folder_is_listed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    listed: list[str] = []
    real = Disk.names

    def counted(disk: Disk, folder: str) -> set[str]:
        listed.extend([] if folder in disk.listed else [folder])
        return real(disk, folder)

    monkeypatch.setattr(Disk, "names", counted)
    (tmp_path / "a").mkdir()
    names = [f"{number}.png" for number in range(50)]
    for name in names[:25]:
        (tmp_path / "a" / name).touch()
    assert len(resolve([f"a\\{name}" for name in names], tmp_path).absent) == 25
    assert len(listed) == len(set(listed)) <= 6


LAYOUTS: dict[str, dict[str, str]] = {
    "CVAT's subsets": {
        "train.json": "annotations/instances_Train.json", "val.json": "annotations/instances_Validation.json",
        "train": "images/Train", "val": "images/Validation",
    },
    "Roboflow": {
        "train.json": "train/_annotations.coco.json", "val.json": "valid/_annotations.coco.json",
        "train": "train", "val": "valid",
    },
    "upper case": {"train.json": "Train.json", "val.json": "Val.json", "train": "Train", "val": "Val"},
    "images in folders of one name": {
        "train.json": "train_annotations.json", "val.json": "val_annotations.json",
        "train": "Images/train", "val": "Images/val",
    },
    "JSON beside its images": {
        "train.json": "train/images/result.json", "val.json": "val/images/result.json",
        "train": "train/images", "val": "val/images",
    },
    "COCO 2014": {
        "train.json": "annotations/instances_train2014.json", "val.json": "annotations/instances_val2014.json",
        "train": "train2014", "val": "val2014",
    },
    "FiftyOne": {
        "train.json": "train/labels.json", "val.json": "validation/labels.json",
        "train": "train/data", "val": "validation/data",
    },
    "Supervisely": {
        "train.json": "train/annotations/instances.json", "val.json": "val/annotations/instances.json",
        "train": "train/img", "val": "val/img",
    },
    "two exports of CVAT": {
        "train.json": "training/annotations/instances_default.json",
        "val.json": "validation/annotations/instances_default.json",
        "train": "training/images/default", "val": "validation/images/default",
    },
    "packed": {"train.json": "train.json.gz", "val.json": "val.json.gz", "train": "train", "val": "val"},
}  # fmt: skip


def arrange(root: Path, names: dict[str, str]) -> None:
    old = root.with_name("old")
    root.rename(old)
    for name in sorted(names, key=lambda name: name.endswith(".json")):
        target = root / names[name]
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.suffix == ".gz":
            target.write_bytes(gzip.compress((old / name).read_bytes()))
        else:
            (old / name).rename(target)


@pytest.mark.parametrize("names", LAYOUTS.values(), ids=LAYOUTS)
def test_layouts_of_tools_are_found_without_a_flag(names: dict[str, str], tmp_path: Path) -> None:
    root = export(tmp_path / "d")
    arrange(root, names)
    file = used(root).val_dataset().file
    assert Path(file.image(0)) == root / names["val"] / "1.png"


def test_one_file_only_is_split_and_flags_for_two_work(tmp_path: Path) -> None:
    root = export(tmp_path / "d")
    arrange(root, {"train.json": "annotations/instances_default.json", "train": "images/default", "val": "images/more"})
    assert "no validation split: 0.1 of the images set aside" in used(root).summary()
    content = json.loads((root / "annotations/instances_default.json").read_text())
    for name, kept in (("one", range(1, 7)), ("two", (7, 8))):
        images = [entry for entry in content["images"] if entry["id"] in kept]
        notes = [entry for entry in content["annotations"] if entry["image_id"] in kept]
        (root / f"{name}.json").write_text(json.dumps({**content, "images": images, "annotations": notes}))
    flags = {"train_json": "one.json", "val_json": "two.json"}
    flags |= {"train_images": "images/default", "val_images": "images/default"}
    assert len(used(root, **flags).val_dataset()) == 2


def test_images_in_the_folders_of_splits_are_named_where_a_flag_hides_them(tmp_path: Path) -> None:
    root = export(tmp_path / "d")
    arrange(root, {"train.json": "train.json", "val.json": "val.json", "train": "images/Train", "val": "images/Val"})
    used(root)
    flags = {"train_images": "images", "val_images": "images/Val"}
    line = refused(root, **flags)
    assert f"it is in {root}/images/Train, give that folder by --data.train_images" in line
    used(root, **{**flags, "train_images": "images/Train"})


def test_a_root_inside_or_a_file_given_from_here_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = export(tmp_path / "d")
    monkeypatch.chdir(tmp_path)
    line = refused(root, val_json="d/val.json")
    assert line.endswith(f"; did you mean --data.val_json {root}/val.json?")
    used(root, val_json=f"{root}/val.json")
    assert refused(root / "train").endswith(f"; did you mean --data.root {root}?")
