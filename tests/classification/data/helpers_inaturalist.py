"""A small tree in the form of the iNaturalist competitions."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import Image

from maekit.classification.data.inaturalist.inaturalist import INaturalist
from tests.classification.data import helpers

FOLDERS = {2017: "train_val_images", 2018: "train_val2018", 2019: "train_val2019"}
NAMES = {3: "Apis mellifera", 7: "Bufo bufo", 9: "Cyanistes caeruleus"}
# image id -> (category id, file below the year's folder); not in the order of the ids, as in the real files
TRAIN = {40: (9, "Aves/9/a.jpg"), 10: (3, "Insecta/3/b.jpg"), 20: (3, "Insecta/3/c.jpg"), 30: (7, "Amphibia/7/d.jpg")}
VAL = {60: (7, "Amphibia/7/e.jpg"), 50: (3, "Insecta/3/f.jpg"), 70: (9, "Aves/9/g.jpg")}

Json = dict[str, Any]


def content(year: int, images: dict[int, tuple[int, str]]) -> Json:
    return {
        "info": {"year": year},
        "images": [{"id": i, "file_name": f"{FOLDERS[year]}/{file}"} for i, (_, file) in images.items()],
        "annotations": [{"id": n, "image_id": i, "category_id": images[i][0]} for n, i in enumerate(sorted(images))],
        "categories": [{"id": i, "name": NAMES[i], "supercategory": "X"} for i in sorted(NAMES, reverse=True)],
    }


def plant(root: Path, year: int = 2018) -> Path:
    for split, images in (("train", TRAIN), ("val", VAL)):
        for number, (_, file) in images.items():
            path = root / FOLDERS[year] / file
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (4, 4), (number, 0, 0)).save(path, "JPEG")
        (root / f"{split}{year}.json").write_text(json.dumps(content(year, images)))
    return root


def build(root: Path | None, **changes: Any) -> INaturalist:
    """The data of a folder; see `helpers.build`."""
    return helpers.build(INaturalist, root, **changes)


def refusal(root: Path | None, **changes: Any) -> str:
    """The one line with which a folder is refused."""
    return helpers.refusal(build(root, **changes))


def edit(root: Path, change: Callable[[Json], Any], file: str = "train2018.json") -> None:
    data = json.loads((root / file).read_text())
    change(data)
    (root / file).write_text(json.dumps(data))


def drop(table: str, at: int) -> Callable[[Json], Any]:
    return lambda data: data[table].pop(at)


def double(table: str, at: int, **change: Any) -> Callable[[Json], Any]:
    return lambda data: data[table].append({**data[table][at], **change})


def put(table: str, at: int, **change: Any) -> Callable[[Json], Any]:
    return lambda data: data[table][at].update(change)
