"""A small detector on the command line and its own data set."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from tests.detection.golden import detection_case as case

NORMS = ["LN", "BN"]
LOSSES = {"rpn_cls", "rpn_loc", "cls", "box_reg", "mask"}
STAGED = {f"{name}_stage{stage}" for name in ("cls", "box_reg") for stage in range(3)}
CATEGORIES = {4: "ring", 9: "bar"}

TRAIN = {
    "train_json": "notes/one.json", "val_json": "notes/two.json", "train_images": "pictures", "val_images": "pictures"
}  # fmt: skip

SMALL = (
    "--model.backbone=vit_test_patch8", "--model.weights=none", "--model.window=3", "--model.global_blocks=[1]",
    "--model.taps=[2]", "--model.pos_grid=[4,4]", "--model.pyramid_channels=16", "--model.mask_rcnn.head_channels=16",
    "--model.mask_rcnn.fc_channels=32", "--model.mask_rcnn.anchor_sizes=[20,24,28,32,36]",
    "--model.mask_rcnn.min_score=0", "--model.mask_rcnn.max_detections=40", "--optim.lr=1e-4", "--optim.warmup_steps=0",
    "--data.image_size=64", "--data.total_batch_size=2", "--data.num_workers=0", "--data.scale_range=[0.9,1.1]",
    "--trainer.accelerator=cpu", "--trainer.precision=32-true", "--trainer.log_every_n_steps=1",
    "--trainer.val_check_interval=2",
)  # fmt: skip

CASCADE = [f"--model.mask_rcnn.{key}={json.dumps(value).replace(' ', '')}" for key, value in case.CASCADE.items()]


def losses_of(detector: str) -> set[str]:
    """The names of the losses of `mask`, `boxes`, `cascade` or a `cascade of boxes`."""
    names = (LOSSES - {"cls", "box_reg"}) | STAGED if "cascade" in detector else LOSSES
    return names - {"mask"} if "boxes" in detector else names


def own_data(root: Path) -> list[str]:
    """Six training and five validation pictures of five sizes, and the flags; every second validation has a crowd."""
    (root / "notes").mkdir(parents=True)
    (root / "pictures").mkdir()
    for name, first, count in (("one", 0, 6), ("two", 6, 5)):
        content: dict[str, Any] = {"images": [], "annotations": []}
        content["categories"] = [{"id": ident, "name": word} for ident, word in CATEGORIES.items()]
        for number in range(first, first + count):
            size = (50 + 9 * (number % 3), 40 + 5 * (number % 5))
            draw_picture(size, number).save(root / "pictures" / f"{number}.png")
            content["images"].append(
                {"id": 100 + number, "file_name": f"{number}.png", "width": size[0], "height": size[1]}
            )
            if number % 5 != 4:  # one of each split has nothing
                content["annotations"] += notes(size, number, crowd=name == "two" and number % 2 == 0)
        (root / "notes" / f"{name}.json").write_text(json.dumps(content))
    return [f"--data.root={root}", *(f"--data.{key}={value}" for key, value in TRAIN.items())]


def draw_picture(size: tuple[int, int], number: int) -> Image.Image:
    rng = np.random.default_rng(number)
    image = Image.fromarray(rng.integers(0, 120, (size[1], size[0], 3), dtype=np.uint8), "RGB")
    draw = ImageDraw.Draw(image)
    draw.ellipse((2, 2, 27, 27), fill=(220, 60, 40))
    draw.rectangle((30, 5, 48, 34), fill=(60, 220, 40))
    return image


def notes(size: tuple[int, int], number: int, *, crowd: bool) -> list[dict[str, Any]]:
    """An octagon as a polygon, a bar as run lengths, and a crowd of rings where it is asked for."""
    octagon = [9, 2, 21, 2, 28, 9, 28, 21, 21, 28, 9, 28, 2, 21, 2, 9]
    bar = np.zeros(size[::-1], dtype=int)
    bar[5:35, 30:49] = 1
    runs = np.diff(np.flatnonzero(np.diff(bar.T.ravel())), prepend=-1, append=bar.size - 1).tolist()
    rle = {"size": list(size[::-1]), "counts": runs}
    found = [
        {"category_id": 4, "segmentation": [octagon], "bbox": [2, 2, 26, 26], "area": 578, "iscrowd": 0},
        {"category_id": 9, "segmentation": rle, "bbox": [30, 5, 19, 30], "area": 570, "iscrowd": 0},
    ]
    if crowd:
        found.append(found[1] | {"iscrowd": 1, "category_id": 4})
    return [note | {"id": 10 * number + at, "image_id": 100 + number} for at, note in enumerate(found, 1)]
