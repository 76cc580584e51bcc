"""Small data of every form that the pages speak of: a handful of images each, copied from what maekit makes."""

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import tifffile
from PIL import Image

from maekit.data.digit_pairs import TABLE, pairs_root
from maekit.data.digit_scenes import OWN_FORM, scenes_root
from maekit.data.digits import DIGITS, digits_root
from maekit.detection.data.coco.scenes import object_scenes_root

COUNTS = {"train": 12, "val": 4}


def write_toys(folder: Path, names: tuple[str, ...]) -> None:
    """Writes the named toys into a folder; `photos=my_images` is the toy `my_images`, called `photos`."""
    for name in names:
        called, _, kind = name.partition("=")
        TOYS[kind or called](folder / called)


def photos(root: Path) -> None:
    """Pictures without labels, in two folders: `photos/monday/1.jpg`."""
    files = sorted((scenes_root(OWN_FORM) / "images" / "train").iterdir())
    for number, file in enumerate(files[:70]):
        _copy(file, root / ("monday" if number % 2 else "tuesday") / f"{number}.jpg")


def class_folders(root: Path) -> None:
    """Three classes: `train/three/4.jpg`, 12 training and 4 validation images of each."""
    for split, count in COUNTS.items():
        for folder in sorted((digits_root() / split).iterdir())[1:4]:
            for number, file in enumerate(sorted(folder.iterdir())[:count]):
                _copy(file, root / split / DIGITS[int(folder.name[1:])] / f"{number}.jpg")


def one_folder(root: Path) -> None:
    """Three classes without a validation split: `three/4.jpg`, 20 images of each."""
    for folder in sorted((digits_root() / "train").iterdir())[1:4]:
        for number, file in enumerate(sorted(folder.iterdir())[:20]):
            _copy(file, root / DIGITS[int(folder.name[1:])] / f"{number}.jpg")


def fields(root: Path) -> None:
    """Two classes of arrays with 13 channels of 16 bits: `train/wet/4.npy`, 16 and 4 of each."""
    random = np.random.default_rng(0)
    for split, count in (("train", 16), ("val", 4)):
        for label, name in enumerate(("dry", "wet")):
            (root / split / name).mkdir(parents=True)
            for number in range(count):
                pixels = random.normal(1000 + 500 * label, 200, (32, 32, 13)).clip(0)
                np.save(root / split / name / f"{number}.npy", pixels.astype(np.uint16))


def masks(root: Path) -> None:
    """Scenes and label maps: `images/train/scene_00000001.jpg`, `masks/train/scene_00000001.png`, `classes.txt`."""
    made = scenes_root(OWN_FORM)
    for split, count in (("train", 24), ("val", 6)):
        for kind in ("images", "masks"):
            for file in sorted((made / kind / split).iterdir())[:count]:
                _copy(file, root / kind / split / file.name)
    _copy(made / "classes.txt", root / "classes.txt")


def scene(path: Path) -> None:
    """One image of 1,024 x 1,024 pixels, as a tiled TIFF file."""
    files = sorted((scenes_root(OWN_FORM) / "images" / "train").iterdir())[:64]
    scenes = [np.asarray(Image.open(file).convert("RGB")) for file in files]
    rows = [np.concatenate(scenes[first : first + 8], axis=1) for first in range(0, 64, 8)]
    tifffile.imwrite(path, np.concatenate(rows), tile=(256, 256), photometric="rgb", compression="zlib")


def objects(root: Path) -> None:
    """COCO's form: `train/*.jpg`, `val/*.jpg` and `annotations/{train,val}.json`."""
    made = object_scenes_root()
    for split, count in (("train", 24), ("val", 6)):
        found = json.loads((made / "annotations" / f"instances_{split}2017.json").read_text())
        found["images"] = found["images"][:count]
        kept = {image["id"] for image in found["images"]}
        found["annotations"] = [row for row in found["annotations"] if row["image_id"] in kept]
        for image in found["images"]:
            _copy(made / f"{split}2017" / image["file_name"], root / split / image["file_name"])
        (root / "annotations").mkdir(exist_ok=True)
        (root / "annotations" / f"{split}.json").write_text(json.dumps(found))


def pairs(root: Path) -> None:
    """Images with a table: `labels.csv` with the columns file, split, labels, sum and grade."""
    made = pairs_root()
    with (made / TABLE).open(newline="", encoding="utf-8") as table:
        head, *rows = csv.reader(table)
    chosen = [
        row for split, count in (("train", 60), ("val", 24)) for row in [r for r in rows if r[1] == split][:count]
    ]
    for row in chosen:
        _copy(made / row[0], root / row[0])
    with (root / "labels.csv").open("w", newline="", encoding="utf-8") as table:
        csv.writer(table).writerows([head, *chosen])


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)


TOYS: dict[str, Callable[[Path], None]] = {
    "scene.tif": scene,
    "photos": photos, "my_images": class_folders, "my_masks": masks, "my_objects": objects, "my_table": pairs,
    "flowers": one_folder, "fields": fields,
}  # fmt: skip
