"""Names of splits, names of files, and which files a listing takes."""

import os
from pathlib import Path

import pytest

from maekit.data.folders.file_names import IMAGE_SUFFIXES, LeftOut
from maekit.data.folders.listing import scan_images, sub_folders
from maekit.data.folders.splits import find_split, split_of, splits_among
from maekit.errors import UserError


@pytest.mark.parametrize(
    ("name", "split"),
    [
        *((name, "train") for name in ("train", "Train", "TRAINING", "seg_train", "train_set", "Training Set")),
        *((name, "train") for name in ("trn", "train2017", "train_images", "images_train", "trainset")),
        *((name, "val") for name in ("val", "Val", "validation", "valid", "dev", "eval", "val2017", "valid-set")),
        *((name, "test") for name in ("test", "Testing", "seg_test", "testset", "test_images")),
        *((name, None) for name in ("trains", "test_tube", "validated", "data", "images", "cat", "2017", "")),
    ],
)
def test_the_split_of_a_folder_name(name: str, split: str | None) -> None:
    assert split_of(name) == split


def test_published_names_go_first_and_case_is_no_hurdle(tmp_path: Path) -> None:
    assert splits_among(["validation", "Val", "val", "x"], "val") == ["val", "Val", "validation"]
    assert splits_among(["train", "training"], "train", ("training",)) == ["training", "train"]
    (tmp_path / "Test").mkdir()
    (tmp_path / "TRAIN").mkdir()
    assert find_split(tmp_path, "train") == tmp_path / "TRAIN"
    assert find_split(tmp_path, "val") is None


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def test_what_systems_leave_is_in_no_listing(tmp_path: Path) -> None:
    touch(tmp_path, "a.jpg", "@eaDir/a.jpg/SYNOPHOTO_THUMB_M.jpg", "__MACOSX/._a.jpg", ".ipynb_checkpoints/a.jpg")
    touch(tmp_path, "#recycle/b.jpg", "$RECYCLE.BIN/c.jpg", "System Volume Information/d.png", "lost+found/e.png")
    touch(tmp_path, "._a.jpg", "Thumbs.db", "desktop.ini", ".Trashes/1.jpg", "deep/@eaDir/x.jpg")
    assert scan_images(tmp_path) == (["a.jpg"], LeftOut())
    assert sub_folders(tmp_path) == ("deep",)


def test_every_other_file_is_counted_by_its_suffix(tmp_path: Path) -> None:
    touch(tmp_path, "a.JPG", "b.jfif", "c.jpe", "d/e.TIFF", "f.dcm", "g.DCM", "h.txt", "noend", "d/i.tar.gz")
    names, left_out = scan_images(tmp_path)
    assert names == ["a.JPG", "b.jfif", "c.jpe", "d/e.TIFF"]
    assert left_out.words().startswith("left out: 2 .dcm, ")
    assert sorted(left_out.words().split(", ")[1:]) == ["1 .gz", "1 .txt", "1 without a suffix"]
    assert ("d/i.tar.gz", "its name ends in .gz") in left_out.reasons()
    assert {".jp2", ".webp", ".mpo"} <= set(IMAGE_SUFFIXES)


def test_heic_names_its_extra() -> None:
    assert "3 .heic (read with pip install 'maekit[heic]')" in LeftOut(["1.heic", "2.HEIC", "a/3.heic"]).words()


def test_a_link_to_a_folder_above_is_left_out(tmp_path: Path) -> None:
    touch(tmp_path, "a/1.jpg", "b/2.jpg")
    (tmp_path / "a/again").symlink_to("..")
    (tmp_path / "a/self").symlink_to("self")
    (tmp_path / "b/other").symlink_to("../a")
    names, left_out = scan_images(tmp_path)
    assert names == ["a/1.jpg", "b/2.jpg", "b/other/1.jpg"]
    assert sorted(left_out.links) == ["a/again", "b/other/again"]


def test_two_folders_that_link_to_each_other(tmp_path: Path) -> None:
    touch(tmp_path, "a/1.jpg", "b/2.jpg")
    (tmp_path / "a/x").symlink_to("../b")
    (tmp_path / "b/y").symlink_to("../a")
    names, left_out = scan_images(tmp_path)
    assert names == ["a/1.jpg", "a/x/2.jpg", "b/2.jpg", "b/y/1.jpg"]
    assert len(left_out.links) == 2


@pytest.mark.skipif(os.geteuid() == 0, reason="root may list everything")
def test_a_closed_folder_is_one_line(tmp_path: Path) -> None:
    touch(tmp_path, "a/1.jpg")
    (tmp_path / "a").chmod(0)
    try:
        with pytest.raises(UserError, match="a: cannot be listed"):
            scan_images(tmp_path)
    finally:
        (tmp_path / "a").chmod(0o700)


def test_a_pipe_named_as_an_image_is_left_out(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.jpg")
    touch(tmp_path, "b.jpg")
    assert scan_images(tmp_path)[0] == ["b.jpg"]


def test_a_dead_link_is_still_listed(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").symlink_to("nowhere.jpg")
    assert scan_images(tmp_path)[0] == ["a.jpg"]
