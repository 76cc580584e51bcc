"""The same digits in two formats give the same metrics, bit for bit: colour and index masks, YOLO and COCO."""

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


def metrics(task: str, root: Path) -> tuple[object, object]:
    command = f"fit --task {task} --recipe smoke --data.root {root} --run.folder {root}-runs {FLAGS}"
    subprocess.run([sys.executable, "-m", "maekit", *command.split()], check=True, capture_output=True)
    found = json.loads(next(Path(f"{root}-runs").rglob("metrics.json")).read_text())
    return found["val"], found["best"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("task", "write"), [("ade20k_upernet", masks), ("coco_maskrcnn", objects)], ids=["colour masks", "YOLO"]
)
def test_another_form_of_the_same_data_gives_the_same_metrics(
    task: str, write: Callable[[Path, bool], None], tmp_path: Path
) -> None:
    found = []
    for other in (False, True):
        write(tmp_path / str(other), other)
        found.append(metrics(task, tmp_path / str(other)))
    assert found[0] == found[1]
