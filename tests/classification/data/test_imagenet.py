"""ImageNet's trees: raw validation images with each of their lists, Kaggle's names, and the wrong folders."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat  # type: ignore[import-untyped]

from maekit.classification.data.imagenet import ImageNet
from maekit.data.folders.listing import Listing, Names
from maekit.data.folders.text import readable_names
from maekit.errors import UserError

SYNSETS = ("n01440764", "n02119789", "n03000001")
KIT_ORDER = ("n02119789", "n03000001", "n01440764")
TRUTH = {1: "n03000001", 2: "n01440764", 3: "n02119789", 4: "n02119789", 5: "n03000001"}


def plant(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (4, 4)).save(path, "JPEG")


def tree(root: Path, numbers: tuple[int, ...] = tuple(TRUTH)) -> Path:
    for synset in SYNSETS:
        plant(root / "train" / synset / f"{synset}_1.JPEG")
    for number in numbers:
        plant(root / "val" / f"ILSVRC2012_val_{number:08}.JPEG")
    return root


def write_meta(folder: Path) -> None:
    kinds = [("ILSVRC2012_ID", float), ("WNID", object), ("words", object), ("gloss", object), ("num_children", float)]
    rows = [(i, synset, "word", "gloss", 0) for i, synset in enumerate(KIT_ORDER, start=1)]
    savemat(folder / "meta.mat", {"synsets": np.array([*rows, (4, "n00001740", "entity", "", 3)], dtype=kinds)})


def write_kit(folder: Path, name: str = "ILSVRC2012_validation_ground_truth.txt") -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text("".join(f"{KIT_ORDER.index(synset) + 1}\n" for synset in TRUTH.values()))


def labels(root: Path) -> dict[str, str]:
    val = ImageNet.read_tree(root)[1]
    assert val is not None
    return {name: val.classes[label] for name, label in zip(val.names, val.labels, strict=True)}


EXPECTED = {f"ILSVRC2012_val_{number:08}.JPEG": synset for number, synset in TRUTH.items()}


@pytest.mark.parametrize("place", ["", "val", "ILSVRC2012_devkit_t12/data", "../ILSVRC2012_devkit_t12/data"])
def test_raw_validation_with_the_kits_numbers(tmp_path: Path, place: str) -> None:
    root = tree(tmp_path / "data" / "imagenet")
    write_kit(root / place)
    write_meta(root / place)
    assert labels(root) == EXPECTED


def test_raw_validation_with_the_later_kit_in_kaggles_tree(tmp_path: Path) -> None:
    root = tree(tmp_path / "ILSVRC" / "Data" / "CLS-LOC")
    kit = tmp_path / "ILSVRC" / "devkit" / "data"
    write_kit(kit, "ILSVRC2015_clsloc_validation_ground_truth.txt")
    (kit / "map_clsloc.txt").write_text("".join(f"{s} {i} a_name\n" for i, s in enumerate(KIT_ORDER, start=1)))
    assert labels(root) == EXPECTED


def test_raw_validation_with_kaggles_list(tmp_path: Path) -> None:
    root = tree(tmp_path / "ILSVRC" / "Data" / "CLS-LOC")
    rows = [
        f"ILSVRC2012_val_{number:08},{TRUTH[number]} 85 1 499 272 {TRUTH[number]} 1 2 3 4" for number in (3, 1, 2, 5, 4)
    ]
    (tmp_path / "LOC_val_solution.csv").write_text("\n".join(["ImageId,PredictionString", *rows]) + "\n")
    assert labels(root) == EXPECTED


def test_raw_validation_with_synsets_and_some_images_missing(tmp_path: Path) -> None:
    root = tree(tmp_path / "a", numbers=(2, 5))
    (root / "imagenet_2012_validation_synset_labels.txt").write_text("\n".join(TRUTH.values()))
    assert labels(root) == {name: EXPECTED[name] for name in EXPECTED if name[-6] in "25"}


def refusal(root: Path) -> str:
    with pytest.raises(UserError) as caught:
        ImageNet.read_tree(root)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_raw_validation_without_its_list(tmp_path: Path) -> None:
    root = tree(tmp_path / "a" / "b" / "c" / "d")
    assert "put ILSVRC2012_validation_ground_truth.txt and meta.mat" in refusal(root)


def test_faulty_lists_are_one_line(tmp_path: Path) -> None:
    root = tree(tmp_path / "a" / "b" / "c" / "d")
    write_kit(root)
    assert "meta.mat, which says what they mean, is not beside it" in refusal(root)
    (root / "meta.mat").write_bytes(b"not MATLAB's")
    assert "meta.mat: cannot be read" in refusal(root)
    write_meta(root)
    truth = root / "ILSVRC2012_validation_ground_truth.txt"
    truth.write_text("1\n2\n9\n")
    assert "class number 9 is not in the kit's" in refusal(root)
    truth.write_text("1\n2\n")
    assert "no label for ILSVRC2012_val_00000003.JPEG" in refusal(root)
    truth.write_text("n01440764\n" * 4 + "n09999999\n")
    assert "is of class 'n09999999', which the training split lacks" in refusal(root)
    (root / "LOC_val_solution.csv").write_text("a,b\n1,2\n")
    assert "not Kaggle's list, expected lines of ImageId,PredictionString" in refusal(root)


def class_tree(root: Path) -> Path:
    for split in ("train", "val"):
        for synset in SYNSETS:
            plant(root / split / synset / "1.JPEG")
    return root


def test_class_folders_and_kaggles_names(tmp_path: Path) -> None:
    root = class_tree(tmp_path / "ILSVRC" / "Data" / "CLS-LOC")
    assert labels(root) == {f"{synset}/1.JPEG": synset for synset in SYNSETS}
    assert readable_names(root, SYNSETS) == SYNSETS
    lines = ["n01440764 tench, Tinca tinca", "n02119789 crane", "n03000001 crane", "n04000000 other"]
    (tmp_path / "LOC_synset_mapping.txt").write_text("\n".join(lines))
    assert readable_names(root, SYNSETS) == ("tench, Tinca tinca", "crane (n02119789)", "crane (n03000001)")
    assert readable_names(root, ("cat", "dog")) == ("cat", "dog")


@pytest.mark.parametrize("given", ["", "ILSVRC", "ILSVRC/Data"])
def test_a_folder_above_the_images(tmp_path: Path, given: str) -> None:
    right = class_tree(tmp_path / "ILSVRC" / "Data" / "CLS-LOC")
    assert f"use --data.root {right}" in refusal(tmp_path / given)


@pytest.mark.parametrize("given", ["", "train", "train/ILSVRC2014_train_0000"])
def test_the_detection_tree(tmp_path: Path, given: str) -> None:
    root = tmp_path / "ILSVRC" / "Data" / "DET"
    plant(root / "train" / "ILSVRC2013_train" / "n01440764" / "1.JPEG")
    plant(root / "train" / "ILSVRC2014_train_0000" / "1.JPEG")
    plant(root / "val" / "ILSVRC2012_val_00000001.JPEG")
    line = refusal(root / given)
    assert "detection data" in line
    assert str(tmp_path / "ILSVRC" / "Data" / "CLS-LOC") in line


def test_the_detection_tree_under_another_name(tmp_path: Path) -> None:
    plant(tmp_path / "mine" / "train" / "ILSVRC2013_train" / "n01440764" / "1.JPEG")
    assert "detection data" in refusal(tmp_path / "mine")


@pytest.mark.parametrize("split", ["train", "val"])
def test_one_split_alone(tmp_path: Path, split: str) -> None:
    root = class_tree(tmp_path / "imagenet")
    assert f"this is the {split} split alone; use --data.root {root}" in refusal(root / split)


def test_the_raw_validation_folder_alone(tmp_path: Path) -> None:
    root = tree(tmp_path / "imagenet")
    assert "these are the raw validation images alone" in refusal(root / "val")


def test_archives_still_packed(tmp_path: Path) -> None:
    (tmp_path / "train").mkdir()
    (tmp_path / "train" / "n01440764.tar").touch()
    assert "n01440764.tar is still packed" in refusal(tmp_path)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "ILSVRC2012_img_train.tar").touch()
    assert "ILSVRC2012_img_train.tar is still packed" in refusal(tmp_path / "other")


def test_other_classes_than_imagenets_work(tmp_path: Path) -> None:
    for name in ("cat", "dog"):
        plant(tmp_path / name / "1.jpg")
    train, val = ImageNet.read_tree(tmp_path)
    assert (train.classes, val) == (("cat", "dog"), None)


def test_published_facts_and_completeness(monkeypatch: pytest.MonkeyPatch) -> None:
    assert len(set(ImageNet.published.class_names)) == 1000
    assert ImageNet.published.image_size == (224, 224)
    synsets = tuple(f"n{i:08}" for i in range(1000))
    monkeypatch.setattr("maekit.classification.data.imagenet.NUM_TRAIN", 2000)

    def listing(count: int) -> Listing:
        return Listing(Path("x"), synsets, Names(["a"] * count), np.zeros(count, dtype=np.int32))

    assert ImageNet.missing(listing(2000), listing(50_000)) == []
    assert ImageNet.missing(listing(10), listing(50_000)) == [
        "10 training images, ImageNet-1K has 2,000; unpack its archive again"
    ]
    assert ImageNet.missing(Listing(Path("x"), ("cat", "dog"), Names(["a"]), np.zeros(1, dtype=np.int32)), None) == []
