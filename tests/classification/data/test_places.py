"""The lists of Places365 and Places205: what is read, which copy of the images, the made digits, every wrong form."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from maekit.base.spec import Draw
from maekit.classification.data.check import Released
from maekit.classification.data.places import release as places_release
from maekit.classification.data.places.places import Places
from maekit.cli import main
from maekit.errors import UserError
from tests.classification.data import helpers
from tests.helpers_data import check, missing_from

CATEGORIES = ("a/apple_orchard", "a/apartment_building/outdoor", "b/bow_window/indoor")
NAMES = ("apple_orchard", "apartment_building/outdoor", "bow_window/indoor")
# label, number: not in the order of the labels
TRAIN = ((1, 3), (0, 1), (2, 2), (0, 7))
VAL = ((2, 4), (0, 5), (1, 6))
LISTS = ("places365_train_standard.txt", "places365_val.txt", "train_places205.csv", "val_places205.csv")


def plant(path: Path, red: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (4, 4), (red, 0, 0)).save(path, "JPEG", comment=str(path))  # no two alike


def places365(root: Path, *copies: str, train: str = "data_{}_standard", lists: str = "") -> Path:
    for copy in copies or ("256",):
        for label, number in TRAIN:
            plant(root / train.format(copy) / CATEGORIES[label] / f"{number:08}.jpg")
        for _, number in VAL:
            plant(root / f"val_{copy}" / f"Places365_val_{number:08}.jpg")
    (root / lists).mkdir(exist_ok=True)
    texts = (
        [f"/{CATEGORIES[label]}/{number:08}.jpg {label}" for label, number in TRAIN],
        [f"Places365_val_{number:08}.jpg {label}" for label, number in VAL],
        [f"/{name} {label}" for label, name in enumerate(CATEGORIES)],
    )
    for name, lines in zip((*LISTS[:2], "categories_places365.txt"), texts, strict=True):
        (root / lists / name).write_text("\n".join(lines) + "\n")
    return root


def places205(root: Path, images: str, *, lists: str = "trainvalsplit_places205", comma: str = " ") -> Path:
    (root / lists).mkdir(parents=True, exist_ok=True)
    for name, split in zip(LISTS[2:], (TRAIN, VAL), strict=True):
        for label, number in split:
            plant(root / images / CATEGORIES[label] / f"gsun_{number}.jpg")
        lines = [f"{CATEGORIES[label]}/gsun_{number}.jpg{comma}{label}\r\n" for label, number in split]
        (root / lists / name).write_text("".join(lines))
    return root


def build(root: Path | None, **changes: Any) -> Places:
    """The data of a folder; see `helpers.build`."""
    return helpers.build(Places, root, **changes)


def refusal(root: Path | None, **changes: Any) -> str:
    """The one line with which a folder is refused."""
    return helpers.refusal(build(root, **changes))


def found(data: Places) -> list[list[tuple[str, int]]]:
    """Path and label of every training and every validation image, each of which can be opened."""
    listings = [data.train_dataset(0).listing, data.val_dataset().listing]
    pairs = [[(part.path(i), int(part.labels[i])) for i in range(len(part))] for part in listings]
    assert all(Path(path).is_file() for split in pairs for path, _ in split)
    assert listings[0].classes == listings[1].classes
    return pairs


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return places365(tmp_path / "places")


@pytest.mark.parametrize("lists", ["", "filelist_places365-standard"])
@pytest.mark.parametrize("train", ["data_{}_standard", "data_{}"])
@pytest.mark.parametrize(("copy", "title"), [("large", "large"), ("256", "small")])
@pytest.mark.parametrize("said", [True, False])
def test_places365(tmp_path: Path, copy: str, title: str, train: str, lists: str, said: bool) -> None:
    places365(tmp_path, copy, train=train, lists=lists)
    data = build(tmp_path, version="places365", images=title) if said else build(tmp_path)
    assert found(data) == [
        [(f"{tmp_path}/{train.format(copy)}/{CATEGORIES[label]}/{n:08}.jpg", label) for label, n in TRAIN],
        [(f"{tmp_path}/val_{copy}/Places365_val_{n:08}.jpg", label) for label, n in VAL],
    ]
    assert data.spec().class_names == data.spec().ids() == NAMES
    counts = "4 training and 3 validation images of 3 classes"
    assert data.summary() == f"{counts} in {tmp_path} (Places365-standard, {title} images)"
    assert data.val_dataset()[Draw(0, 0)][1:] == (2, 0)


@pytest.mark.parametrize("images", ["data/vision/torralba/deeplearning/images256", "images256", ""])
@pytest.mark.parametrize(("lists", "comma"), [("trainvalsplit_places205", " "), ("", ","), ("", ", ")])
def test_places205(tmp_path: Path, images: str, lists: str, comma: str) -> None:
    data = build(places205(tmp_path, images, lists=lists, comma=comma))
    top = tmp_path / images
    assert found(data) == [
        [(f"{top}/{CATEGORIES[label]}/gsun_{n}.jpg", label) for label, n in split] for split in (TRAIN, VAL)
    ]
    assert data.spec().class_names == NAMES
    assert data.summary().endswith("(Places205, small images)")


def test_a_list_of_categories_decides_names_and_order(root: Path) -> None:
    (root / "categories_places365.txt").unlink()
    assert build(root).spec().class_names == NAMES  # from the folders in the training list
    for name in ("categories_places365.txt", "places365_train_standard.txt"):
        (root / name).write_text("")
    (root / "categories_places365.txt").write_text("/b/bow_window/indoor 0\n/a/alley 2\n/a/apple_orchard 1\n")
    (root / "places365_train_standard.txt").write_text("/b/bow_window/indoor/00000002.jpg 0\n")
    assert build(root).spec().class_names == ("bow_window/indoor", "apple_orchard", "alley")


def test_two_copies_or_two_versions_must_be_chosen_from(tmp_path: Path) -> None:
    root = places205(places365(tmp_path, "large", "256"), "images256")
    assert not missing_from(refusal(root), "places365", "places205", "--data.version")
    assert not missing_from(refusal(root, version="places365"), "large", "small", "--data.images")
    assert "(Places205, small images)" in build(root, version="places205", images="small").summary()
    assert not missing_from(refusal(root, version="places205", images="large"), "data.images", "Places205")
    for name, folder in (("large", "data_large_standard"), ("small", "data_256_standard")):
        assert found(build(root, version="places365", images=name))[0][0][0].startswith(f"{root}/{folder}/")


def test_a_version_or_copy_that_is_not_there(root: Path, tmp_path: Path) -> None:
    line = refusal(root, version="places205")
    assert not missing_from(line, "train_places205.csv", "--data.version places365")
    assert not missing_from(refusal(root, images="large"), f"{root}/data_large_standard: ", "--data.images small")
    (root / "val_256").rename(root / "gone")
    assert refusal(root).startswith(f"{root}/val_256: no such folder")
    (root / "val_256.tar").touch()
    assert not missing_from(refusal(root), f"{root}/val_256: ", "val_256.tar is still packed")
    (root / "data_256_standard").rename(root / "gone256")
    (root / "train_large_places365standard.tar").touch()
    (root / "val_256.tar").unlink()
    line = refusal(root)
    assert not missing_from(line, f"{root}/data_large_standard: ", "train_large_places365standard.tar is still packed")
    other = places205(tmp_path / "other", "elsewhere")
    assert not missing_from(refusal(other), other, "a/", "images256")
    (other / "imagesPlaces205_resize.tar.gz").touch()
    assert "imagesPlaces205_resize.tar.gz is still packed" in refusal(other)


@pytest.mark.parametrize("form", ["train", "places365_standard/train"])
def test_class_folders(tmp_path: Path, form: str) -> None:
    root = (tmp_path / form).parent
    for split in ("train", "val"):
        for name in ("alley", "airfield"):
            plant(root / split / name / f"{split}.jpg")
    data = build(root)
    assert found(data)[1] == [(f"{root}/val/airfield/val.jpg", 0), (f"{root}/val/alley/val.jpg", 1)]
    assert data.spec().class_names == data.spec().ids() == ("airfield", "alley")
    assert check(Places, root).ok
    assert not missing_from(refusal(root, images="small"), root, "--data.version", "--data.images")
    if root != tmp_path:
        assert refusal(tmp_path).endswith(f"use --data.root {root}")
    (root / "val").rename(root / "test")
    assert "class folders in train/ and no val/ beside it" in refusal(root)


def write(root: Path, name: str, change: Callable[[str], str]) -> None:
    (root / name).write_text(change((root / name).read_text()))


@pytest.mark.parametrize(
    ("name", "change", "line"),
    [
        (LISTS[0], lambda text: "", "places365_train_standard.txt: the list is empty; unpack it again"),
        (LISTS[1], lambda text: " \n\n", "places365_val.txt: the list is empty"),
        (LISTS[0], lambda text: text.replace(" 2", ""), "txt:3: got '/b/bow_window/indoor/00000002.jpg', expected a"),
        (LISTS[1], lambda text: text.replace(" 0", " no"), "val.txt:2: got 'Places365_val_00000005.jpg no', expected"),
        (LISTS[1], lambda text: text.replace("\n", "\n\n", 1), "val.txt:2: got '', expected a path and a label"),
        (LISTS[1], lambda text: text.replace(" 2", " -1"), "val.txt:1: got 'Places365_val_00000004.jpg -1', expected"),
        (
            LISTS[1],
            lambda text: text.replace(" 1", " 3"),
            "val.txt:3: label 3 of 'Places365_val_00000006.jpg', expected 0 t",
        ),
        (LISTS[0], lambda text: text.replace(" 1", " 999999999"), "standard.txt:1: label 999999999 of 'a/apartment_bu"),
        (
            LISTS[0],
            lambda text: text.replace(" 2", " 0"),
            "standard.txt:3: 'b/bow_window/indoor/00000002.jpg' has label 0,",
        ),
        (
            "categories_places365.txt",
            lambda text: text.replace(" 1", " 0"),
            "txt:2: label 0 is that of 'a/apple_orchard'",
        ),
        ("categories_places365.txt", lambda text: text.replace(" 2", " 3"), "label 3 is out of range, expected 0 to 2"),
    ],
)
def test_a_faulty_list_is_one_line(root: Path, name: str, change: Callable[[str], str], line: str) -> None:
    write(root, name, change)
    assert refusal(root).startswith(f"{root}/{name}:")
    assert line in refusal(root)
    assert check(Places, root).problems == [refusal(root)]


def test_faulty_lists_without_categories(tmp_path: Path) -> None:
    root = places205(tmp_path, "images256", lists="")
    write(root, LISTS[3], lambda text: text.replace("indoor/gsun_4.jpg 2", "indoor/gsun_4.jpg 1"))
    truth = "label 1 is 'a/apartment_building/outdoor' in train_places205.csv"
    assert f"val_places205.csv:1: 'b/bow_window/indoor/gsun_4.jpg' has label 1, but {truth}" in refusal(root)
    write(root, LISTS[2], lambda text: text.replace("gsun_3.jpg 1", "gsun_3.jpg 7"))
    assert "no image has label 1, but there are labels up to 7; number the classes from 0" in refusal(root)
    (root / LISTS[2]).write_bytes(b"\xff\xd8\xff")
    assert f"{root}/train_places205.csv: cannot be read (not text in UTF-8: byte 0)" in refusal(root)
    (root / LISTS[2]).unlink()
    assert f"{root}/train_places205.csv: no such list beside val_places205.csv; unpack" in refusal(root)


def test_the_wrong_folder_names_the_right_one(root: Path, tmp_path: Path) -> None:
    for wrong in (tmp_path, root / "data_256_standard", root / "data_256_standard" / "a" / "apple_orchard"):
        assert not missing_from(refusal(wrong), f"{wrong}: ", f"--data.root {root}")
    other = places205(tmp_path / "more" / "205", "images256")
    for wrong in (other / "trainvalsplit_places205", other / "images256" / "a"):
        assert refusal(wrong).endswith(f"use --data.root {other}")
    assert "did you mean 'places'?" in refusal(tmp_path / "place")
    empty = tmp_path / "more" / "empty"
    empty.mkdir()
    assert not missing_from(refusal(empty), empty, "places365_train_standard.txt", "places365_val.txt")
    (empty / "filelist_places365-standard.tar").touch()
    assert not missing_from(refusal(empty), empty, "filelist_places365-standard.tar is still packed")


def test_made_digits_are_the_digits_in_the_form_of_places365(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "made"
    assert main(["data", "make", "--task", "places_finetune", "--root", str(root)]) == 0
    assert f"wrote 1,397 training and 400 validation images of 10 classes to {root}" in capsys.readouterr().out
    pixels, labels = load_digits(return_X_y=True)
    names = dict(line.split()[::-1] for line in (root / "categories_places365.txt").read_text().splitlines())
    assert list(names) == [str(label) for label in range(10)]
    assert (names["0"], names["3"], names["9"]) == ("/z/zero", "/t/three", "/n/nine")
    seen = []
    for folder, file in (("data_256_standard", LISTS[0]), ("val_256", LISTS[1])):
        for line in (root / file).read_text().splitlines():
            path, label = line.split()
            start = "Places365_val_" if folder == "val_256" else f"{names[label]}/"
            match = re.fullmatch(rf"{start}(\d{{8}})\.jpg", path)
            assert match, line
            sample = int(match[1]) - 1
            assert labels[sample] == int(label)
            shown = np.asarray(Image.open(root / folder / path.lstrip("/")).convert("L"))
            assert np.abs(shown.reshape(8, 4, 8, 4).mean(axis=(1, 3)).ravel() / 255 - pixels[sample] / 16).max() < 0.35
            seen.append(sample)
    assert sorted(seen) == list(range(1797))
    assert len(seen[1397:]) == len(list((root / "val_256").iterdir())) == 400
    assert main(["data", "check", "--task", "places_finetune", "--root", str(root)]) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"form: Places365-standard, small images in {root}/data_256_standard",
        "training: 1,397 images of 10 classes",
        "validation: 400 images",
        "files: 1,797 of 1,797 read",
        "ok",
    ]


def test_made_data_serves_where_no_root_is_given() -> None:
    data = build(None, synthetic="digits")
    assert data.spec().class_names[:3] == ("zero", "one", "two")
    assert data.train_dataset(0).listing.root.parts[-2:] == ("digits-places-v1", "data_256_standard")
    assert "--data.root DIR with your images (places365_train_standard.txt and" in refusal(None)


def test_check_looks_at_every_version_and_copy(tmp_path: Path) -> None:
    root = places205(places365(tmp_path, "large", "256"), "images256")
    (root / "val_large" / "Places365_val_00000004.jpg").unlink()
    (root / "data_256_standard" / CATEGORIES[1] / "00000003.jpg").unlink()
    (root / "images256" / CATEGORIES[0] / "gsun_1.jpg").write_bytes(b"<html>")
    findings = check(Places, root)
    assert [fact for fact in findings.facts if "form" in fact] == [
        f"form: Places365-standard, large images in {root}/data_large_standard",
        f"form: Places365-standard, small images in {root}/data_256_standard",
        f"form: Places205, small images in {root}/images256",
    ]
    val, train, broken = findings.problems
    assert not missing_from(val, f"{root}/places365_val.txt: 1 of 3", f"{root}/val_large", "Places365_val_00000004.jpg")
    assert not missing_from(train, f"{root}/places365_train_standard.txt: 1 of 4", f"{CATEGORIES[1]}/00000003.jpg")
    assert broken.startswith(f"{root}/images256/{CATEGORIES[0]}/gsun_1.jpg: ")
    with pytest.raises(UserError, match=r"Places365_val_00000004\.jpg: cannot be opened \(No such file"):
        build(root, version="places365", images="large").val_dataset()[Draw(0, 0)]


def test_check_finds_missing_folders_and_classes_without_images(root: Path) -> None:
    write(root, LISTS[0], lambda text: "".join(line for line in text.splitlines(True) if " 2" not in line))
    (line,) = check(Places, root).problems
    assert not missing_from(line, f"{root}/places365_train_standard.txt: 1 classes", "bow_window/indoor")
    (root / "data_256_standard" / "a" / "apple_orchard").rename(root / "gone")
    assert "2 of 3 listed images are not in" in check(Places, root).problems[1]
    assert check(Places, root / "no").problems[0].endswith("give --data.root")


def test_check_counts_a_version_with_its_number_of_classes(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    released = Released("Places365-standard", 3, 1_803_460, 3)
    monkeypatch.setitem(
        places_release.FORMS, "places365", places_release.FORMS["places365"]._replace(released=released)
    )
    line = "4 training images, Places365-standard has 1,803,460; "
    assert check(Places, root).problems == [f"{root}/{LISTS[0]}: {line}download the list again"]
    for split, numbers in (("train", range(4)), ("val", range(1))):
        for name in ("a", "b", "c"):
            plant(root / "folders" / split / name / "1.jpg")
            for number in numbers:
                plant(root / "folders" / split / "a" / f"{number}.jpg")
    assert released.differences(*places_release.read_class_folders(root / "folders")) == [
        "6 training images, Places365-standard has 1,803,460; unpack its archive again",
        "4 validation images, Places365-standard has 3; unpack its archive again",
    ]


def test_published_numbers() -> None:
    assert len(set(Places.published.class_names)) == 365
    assert [form.released.num_val for form in places_release.FORMS.values()] == [365 * 100, 205 * 100]
