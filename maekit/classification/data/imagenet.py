"""ImageNet-1K as it is found on disks: class folders, raw validation images, Kaggle's tree, and the wrong trees."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from maekit.base.spec import DataSpec
from maekit.classification.data.check import Released
from maekit.classification.data.folders import ClassFolders
from maekit.classification.data.raw_val import list_raw_val, raw_images
from maekit.data.folders.listing import Listing, sub_folders
from maekit.data.folders.splits import find_split
from maekit.errors import UserError

SYNSET = re.compile(r"n\d{8}")
NUM_CLASSES, NUM_TRAIN, NUM_VAL = 1000, 1_281_167, 50_000


@dataclass(kw_only=True, eq=False, repr=False)
class ImageNet(ClassFolders):
    """ImageNet-1K, or any folder of class folders: see `ClassFolders`.

    Labels are the places of the sorted synsets (`n01440764` is 0), as in torchvision's ImageFolder. The validation
    images may lie in class folders or as released in one folder, with their list of labels near them.
    """

    published: ClassVar[DataSpec] = DataSpec(tuple(f"class_{i:04}" for i in range(NUM_CLASSES)), (224, 224))
    published_counts: ClassVar[tuple[int, int] | None] = (NUM_TRAIN, NUM_VAL)

    @classmethod
    def read_tree(cls, root: Path) -> tuple[Listing, Listing | None]:
        """Lists the splits as `ClassFolders` does, after refusing the wrong folders of the ILSVRC tree."""
        mistake = wrong_tree(root)
        if mistake:
            raise UserError(f"{root}: {mistake}")
        return super().read_tree(root)

    def published_name(self, train: Listing) -> str:
        """Returns ImageNet-1K where the classes are its 1,000 synsets."""
        return "ImageNet-1K" if is_imagenet(train.classes) else ""

    @classmethod
    def list_val(cls, val: Path, classes: tuple[str, ...]) -> Listing:
        """Lists class folders, or the raw validation images with their ground truth."""
        raw = [] if sub_folders(val) else raw_images(val)
        return list_raw_val(val, raw, classes) if raw else super().list_val(val, classes)

    @classmethod
    def missing(cls, train: Listing, val: Listing | None) -> list[str]:
        """Returns one line for each split of ImageNet's 1,000 synsets that has not the released number of images."""
        released = Released("ImageNet-1K", NUM_CLASSES, NUM_TRAIN, NUM_VAL)
        return released.differences(train, val) if is_imagenet(train.classes) else []


def is_imagenet(classes: tuple[str, ...]) -> bool:
    """Says whether class folders are ImageNet-1K's 1,000 synsets."""
    return len(classes) == NUM_CLASSES and all(SYNSET.fullmatch(name) for name in classes)


def wrong_tree(root: Path) -> str | None:
    """Returns what is wrong and which folder to give instead, if `root` is another folder of the ILSVRC tree."""
    for inside in ("ILSVRC/Data/CLS-LOC", "Data/CLS-LOC", "CLS-LOC"):
        if (root / inside / "train").is_dir():
            return f"the images for classification lie deeper; use --data.root {root / inside}"
    for det in (root, *root.parents):
        if det.parts[-2:] == ("Data", "DET") or (det in (root, root.parent) and _detection(det / "train")):
            return f"this is ILSVRC's detection data, without one class an image; use {det.parent / 'CLS-LOC'}"
    return _packed(root) or _one_split(root)


def _detection(train: Path) -> bool:
    return train.is_dir() and any(
        name.startswith(("ILSVRC2013_train", "ILSVRC2014_train")) for name in sub_folders(train)
    )


def _packed(root: Path) -> str | None:
    for folder in (root, root / "train"):
        archive = next(folder.glob("*.tar"), None) if folder.is_dir() else None
        if archive and not sub_folders(folder):
            return f"{archive.name} is still packed; unpack it, each class's archive into a folder of its name"
    return None


def _one_split(root: Path) -> str | None:
    if not root.is_dir() or find_split(root, "train"):
        return None
    folders = sub_folders(root)
    if root.name in ("train", "val") and folders and all(SYNSET.fullmatch(name) for name in folders):
        return f"this is the {root.name} split alone; use --data.root {root.parent}"
    if not folders and raw_images(root):
        return f"these are the raw validation images alone; use the folder above, with train/ in it: {root.parent}"
    return None
