"""`maekit data check`: one line for each problem, with its fix."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from maekit.base.findings import Findings
from maekit.classification.data.folders import ClassFolders
from maekit.classification.data.imagenet import ImageNet
from maekit.data.folders import check as check_module
from tests.helpers_data import check

RNG = np.random.default_rng(0)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "pets"
    for split in ("train", "val"):
        for name in ("cat", "dog"):
            (root / split / name).mkdir(parents=True)
            for number in range(4):
                pixels = RNG.integers(0, 256, (20, 20, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(root / split / name / f"{number}.{'jpg' if number % 2 else 'png'}")
    return root


def test_a_sound_folder(root: Path) -> None:
    findings = check(ClassFolders, root, classes=2)
    assert findings.ok
    assert findings.lines() == [
        "training: 8 images of 2 classes",
        "validation: 8 images",
        "files: 16 of 16 read",
        "ok",
    ]


def test_a_fold_is_checked_as_it_would_be_read(root: Path) -> None:
    findings = check(ClassFolders, (root / "train").rename(root / "animals"), fold="1/2")
    assert findings.facts[:2] == ["training: 4 images of 2 classes", "validation: 4 images"]
    assert "division: fold 1 of 2, split_seed 0" in findings.facts


def test_a_table_beside_class_folders_is_said_not_to_be_read(root: Path) -> None:
    (root / "labels.csv").write_text("file,label\n")
    assert f"labels.csv in it is not read: --data.table {root / 'labels.csv'}" in check(ClassFolders, root).facts


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("decoded", [0, 2000])
def test_unreadable_files_are_all_found(root: Path, full: bool, decoded: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check_module, "MAX_QUICK_DECODED", decoded)
    whole = (root / "train/cat/1.jpg").read_bytes()
    bad = {
        "train/cat/0.png": b"",
        "train/dog/1.jpg": b"<html>",
        "val/cat/1.jpg": whole[:-30],
        "val/dog/0.png": whole[:90],
    }
    bad["train/dog/2.png"] = (root / "train/dog/0.png").read_bytes()[:-40]
    for name, data in bad.items():
        (root / name).write_bytes(data)
    (root / "train/cat/link.jpg").symlink_to(root / "nowhere.jpg")
    findings = check(ClassFolders, root, full=full)
    assert [line.split(": ")[0] for line in findings.problems] == sorted(
        str(root / name) for name in [*bad, "train/cat/link.jpg"]
    )
    assert all("\n" not in line for line in findings.problems)
    assert findings.lines()[-1] == "6 problems"


def test_a_flipped_bit_in_the_middle_needs_the_whole_file(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check_module, "MAX_QUICK_DECODED", 0)
    path = root / "train/cat/0.png"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(data)
    quick, full = check(ClassFolders, root), check(ClassFolders, root, full=True)
    assert quick.ok
    assert "files: 16 of 16 read, 0 of them whole; --full decodes all" in quick.facts
    assert [line.split(": ")[0] for line in full.problems] == [str(path)]


def test_trailing_bytes_do_no_harm(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check_module, "MAX_QUICK_DECODED", 0)
    with (root / "train/cat/1.jpg").open("ab") as file:
        file.write(bytes(500))
    assert check(ClassFolders, root).ok


def test_many_files_are_read_by_processes(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check_module, "FEW", 4)
    (root / "val/dog/3.jpg").write_bytes(b"")
    assert check(ClassFolders, root).problems == [
        f"{root}/val/dog/3.jpg: is an empty file; replace or remove it (`maekit data check` lists all such files)"
    ]


def test_a_large_tree_is_sampled(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check_module, "MAX_QUICK", 6)
    assert "files: 6 of 16 read, 6 of them whole; --full decodes all" in check(ClassFolders, root).facts
    assert "files: 16 of 16 read" in check(ClassFolders, root, full=True).facts


def test_the_head_must_have_the_datas_classes(root: Path) -> None:
    problems = check(ClassFolders, root, classes=1000).problems
    assert len(problems) == 1
    assert "the head has 1,000 classes, the data 2; use" in problems[0]


def test_classes_that_differ_in_case_only(root: Path) -> None:
    for shade, split in enumerate(("train", "val")):
        (root / split / "Cat ").mkdir()
        Image.new("RGB", (2, 2), (shade, 0, 0)).save(root / split / "Cat " / "1.png")
    assert check(ClassFolders, root).problems == [
        f"{root}/train: classes 'Cat ' and 'cat' differ only in case or spaces; make them one class, or rename one"
    ]
    for split in ("train", "val"):
        (root / split / "Cat ").rename(root / split / "Cat")
    findings = check(ClassFolders, root)
    assert findings.ok and "two classes each, though they differ in case alone: 'Cat' and 'cat'" in findings.facts


def test_copies_in_another_class_or_in_a_share_that_is_set_aside_are_told(root: Path) -> None:
    (root / "train/dog/copy.png").write_bytes((root / "train/cat/0.png").read_bytes())
    assert (
        "2 training images are in another class too, byte for byte "
        f"({root}/train/dog/copy.png is {root}/train/cat/0.png)" in check(ClassFolders, root).facts
    )
    for number in range(4):
        (root / f"train/cat/copy{number}.png").write_bytes((root / "train/cat/2.png").read_bytes())
    findings = check(ClassFolders, (root / "train").rename(root / "animals"), val_fraction=0.5)
    assert [fact for fact in findings.facts if "validation images are training images too" in fact]


def test_a_wrong_layout_is_one_finding(root: Path, tmp_path: Path) -> None:
    assert check(ClassFolders, tmp_path / "nothing").problems[0].startswith(f"{tmp_path / 'nothing'}: no such folder")
    (root / "train/emu").mkdir()
    assert "no images in this class folder" in check(ClassFolders, root).problems[0]
    det = tmp_path / "ILSVRC/Data/DET/train/ILSVRC2013_train"
    det.mkdir(parents=True)
    assert "detection data" in check(ImageNet, det.parents[1]).problems[0]


def test_data_without_validation_report_the_share_that_will_be_set_aside(root: Path) -> None:
    findings = check(ImageNet, root / "val")
    assert findings.ok
    assert findings.facts[1].startswith("validation: no folder val, validation or valid; data.val_fraction")


def test_imagenet_must_be_complete(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("maekit.classification.data.imagenet.NUM_CLASSES", 2)
    for split in ("train", "val"):
        for name in ("n00000001", "n00000002"):
            (tmp_path / split / name).mkdir(parents=True)
            Image.new("RGB", (2, 2)).save(tmp_path / split / name / "1.JPEG")
    assert check(ImageNet, tmp_path).problems == [
        "2 training images, ImageNet-1K has 1,281,167; unpack its archive again",
        "2 validation images, ImageNet-1K has 50,000; unpack its archive again",
    ]


def test_many_problems_are_cut_short() -> None:
    findings = Findings(["fact"], [f"problem {i}" for i in range(30)])
    lines = findings.lines()
    assert len(lines) == 1 + 20 + 1 + 1
    assert lines[-2:] == ["... and 10 more like these", "30 problems"]
