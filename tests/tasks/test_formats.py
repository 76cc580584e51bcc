"""The same digits in several formats give the same metrics, bit for bit: colour and index masks, YOLO, COCO, tables."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from maekit.data.digit_scenes import CLASS_NAMES, SIDE, draw_scene
from maekit.data.digits import digits
from maekit.detection.data.coco.outlines import outlines
from maekit.detection.data.coco.scenes import draw_objects
from maekit.segmentation.data.palette import spread_palette

SPLITS = {"train": 24, "val": 6}
FLAGS = "--trainer.max_steps 3 --trainer.precision 32-true --data.num_workers 0"


def folders(root: Path, split: str, *names: str) -> list[Path]:
    found = [root / name / split for name in names]
    for folder in found:
        folder.mkdir(parents=True)
    return found


def masks(root: Path, coloured: bool) -> None:
    palette = np.array(spread_palette(len(CLASS_NAMES)), np.uint8)
    for split, count in SPLITS.items():
        images, labels = folders(root, split, "images", "masks")
        pool = [digit for digit in digits() if digit.in_val == (split == "val")]
        for index in range(count):
            image, label = draw_scene(pool, np.random.RandomState(2 * index + (split == "val")))
            Image.fromarray(image).save(images / f"{index}.png")
            Image.fromarray(palette[label] if coloured else label).save(labels / f"{index}.png")
    rows = [",".join(map(str, (name, *colour))) for name, colour in zip(CLASS_NAMES, palette.tolist(), strict=True)]
    (root / ("class_dict.csv" if coloured else "classes.txt")).write_text("\n".join(rows if coloured else CLASS_NAMES))


def objects(root: Path, yolo: bool) -> None:
    categories = [{"id": number, "name": f"digit {number}"} for number in range(10)]
    for split, count in SPLITS.items():
        images, labels = folders(root, split, "images", "labels")
        pool = [digit for digit in digits() if digit.in_val == (split == "val")]
        content: dict[str, list[Any]] = {"images": [], "annotations": [], "categories": categories}
        for index in range(count):
            rng = np.random.RandomState(2 * index + (split == "val"))
            image, things = draw_objects(pool, rng, crowded=False)
            name, lines = f"{index:03}", []
            Image.fromarray(image).save(images / f"{name}.png")
            content["images"].append({"id": index + 1, "file_name": f"{name}.png", "width": SIDE, "height": SIDE})
            for thing in things:
                outline = max(outlines(thing.visible), key=len)
                x, y = outline[::2], outline[1::2]
                content["annotations"].append(
                    {
                        "id": len(content["annotations"]) + 1,
                        "image_id": index + 1,
                        "category_id": thing.label,
                        "bbox": [min(x), min(y), max(x) - min(x), max(y) - min(y)],
                        "segmentation": [outline],
                    }
                )
                lines.append(f"{thing.label} {' '.join(repr(value / SIDE) for value in outline)}\n")
            if yolo:
                (labels / f"{name}.txt").write_text("".join(lines))
        if not yolo:
            (root / f"{split}.json").write_text(json.dumps(content))
    if yolo:
        names = "".join(f"  {entry['id']}: {entry['name']}\n" for entry in categories)
        (root / "data.yaml").write_text(f"train: images/train\nval: images/val\nnames:\n{names}")


def listed_masks(root: Path) -> str:
    """The masks of class numbers, with a table that divides them, in an order of its own; returns its flags."""
    masks(root, coloured=False)
    rows = [f"images/{s}/{at}.png,masks/{s}/{at}.png,{s}" for s, count in SPLITS.items() for at in range(count)]
    (root / "table.csv").write_text("\n".join(["image,mask,split", *sorted(rows, key=lambda row: row[::-1])]))
    return f"--data.table {root}/table.csv"


def listed_objects(root: Path) -> str:
    """The objects of COCO's form in one list of both splits, which a table divides; returns its flags."""
    objects(root, yolo=False)
    train, val = (json.loads((root / f"{split}.json").read_text()) for split in SPLITS)
    for split, part, more in (("train", train, 0), ("val", val, 1_000)):
        for image in part["images"]:
            image |= {"id": image["id"] + more, "file_name": f"{split}/{image['file_name']}"}
        for one in part["annotations"]:
            one |= {"id": one["id"] + more, "image_id": one["image_id"] + more}
    whole = {key: train[key] + val[key] for key in ("images", "annotations")} | {"categories": train["categories"]}
    (root / "val.json").unlink()
    (root / "train.json").write_text(json.dumps(whole))
    rows = [f"images/{image['file_name']},{image['file_name'].split('/')[0]}" for image in whole["images"]]
    (root / "splits.csv").write_text("\n".join(["file,split", *reversed(rows)]))
    return f"--data.table {root}/splits.csv --data.train_json train.json --data.train_images images"


def metrics(task: str, root: Path, more: str = "") -> tuple[object, object]:
    command = f"fit --task {task} --recipe smoke --data.root {root} --run.folder {root}-runs {FLAGS} {more}"
    subprocess.run([sys.executable, "-m", "maekit", *command.split()], check=True, capture_output=True)
    found = json.loads(next(Path(f"{root}-runs").rglob("metrics.json")).read_text())
    return found["val"], found["best"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("task", "write", "listed"),
    [("ade20k_upernet", masks, listed_masks), ("coco_maskrcnn", objects, listed_objects)],
    ids=["masks", "objects"],
)
def test_other_forms_of_the_same_data_give_the_same_metrics(
    task: str, write: Callable[[Path, bool], None], listed: Callable[[Path], str], tmp_path: Path
) -> None:
    """Colours or YOLO's form, and a table of masks or of COCO's images."""
    found = []
    for other in (False, True):
        write(tmp_path / str(other), other)
        found.append(metrics(task, tmp_path / str(other)))
    flags = listed(tmp_path / "listed")
    assert found[0] == found[1] == metrics(task, tmp_path / "listed", flags)
