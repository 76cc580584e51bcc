"""Images decoded at a reduced size: boxes, shapes and the geometry stay bit for bit, the pixels nearly."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_sample_images

from maekit.base.spec import Draw
from maekit.data.images.bands.pixels import size_of
from maekit.detection.data.coco.coco import COCO
from maekit.detection.data.coco.dataset import DetSample, read_sized
from maekit.errors import UserError
from maekit.system.size import HeightWidth

PHOTOGRAPH = Image.fromarray(load_sample_images().images[0])
STD = [0.2, 0.3, 0.4]


def data(root: Path, reduced_decode: str) -> COCO:
    return COCO(
        root=str(root), train_json="a.json", val_json="a.json", train_images=".", val_images=".", total_batch_size=1,
        device_batch_size=1, image_size=128, scale_range=[0.1, 2.0], horizontal_flip=0.5, mean=[0.5, 0.5, 0.5], std=STD,
        reduced_decode=reduced_decode,  # type: ignore[arg-type]
    )  # fmt: skip


def write(root: Path, turn: int) -> HeightWidth:
    """Writes a photograph of 1600 x 1200, as it is stored, with a polygon and a bitmap; returns its size as seen."""
    exif = Image.Exif()
    exif[0x0112] = turn
    PHOTOGRAPH.resize((1600, 1200), Image.Resampling.BICUBIC).save(root / "a.jpg", quality=95, exif=exif)
    size = HeightWidth(1600, 1200) if turn >= 5 else HeightWidth(1200, 1600)
    bar = np.zeros(size, dtype=int)
    bar[200:900, 500:600] = 1
    runs = np.diff(np.flatnonzero(np.diff(bar.T.ravel())), prepend=-1, append=bar.size - 1).tolist()
    shapes = [[[300, 200, 1000, 220, 900, 800, 310, 790]], {"size": list(size), "counts": runs}]
    notes = [
        {"id": n, "image_id": 1, "category_id": 1, "segmentation": shape, "bbox": [300, 200, 700, 600], "area": 9,
         "iscrowd": 0}
        for n, shape in enumerate(shapes, 1)
    ]  # fmt: skip
    image = {"id": 1, "file_name": "a.jpg", "width": size.width, "height": size.height}
    content = {"images": [image], "annotations": notes, "categories": [{"id": 1, "name": "a"}]}
    (root / "a.json").write_text(json.dumps(content))
    return size


@pytest.mark.parametrize("turn", [1, 8])
def test_views(turn: int, tmp_path: Path) -> None:
    size = write(tmp_path, turn)
    full, reduced = (data(tmp_path, how).train_dataset(0) for how in ("never", "train"))
    for epoch in range(4):
        expected, found = full[Draw(epoch, 0)], reduced[Draw(epoch, 0)]
        inside = (slice(None), slice(found.size.height), slice(found.size.width))
        levels = (found.image - expected.image)[inside].abs() * torch.tensor(STD).view(3, 1, 1) * 255
        assert 0 < levels.mean() <= 2  # 0: nothing was reduced
        assert same_objects(found, expected)
    widths = [size_of(read_sized(tmp_path / "a.jpg", size, ratio=ratio)).width for ratio in (2, 3, 6, 12)]
    assert widths == [size.width, size.width // 2, size.width // 4, size.width // 8]


def same_objects(one: DetSample, other: DetSample) -> bool:
    masks = zip(one.masks, other.masks, strict=True)
    return (
        torch.equal(one.boxes, other.boxes)
        and torch.equal(one.labels, other.labels)
        and one.size == other.size
        and all(same_mask(a, b) for a, b in masks)
    )


def same_mask(one: Any, other: Any) -> bool:
    if one.bitmap is not None or other.bitmap is not None:
        return np.array_equal(one.bitmap, other.bitmap)
    return len(one.polygons) == len(other.polygons) and all(map(np.array_equal, one.polygons, other.polygons))


def test_another_size_in_the_file_is_refused_as_ever(tmp_path: Path) -> None:
    write(tmp_path, 1)
    for size in (HeightWidth(600, 800), HeightWidth(1600, 1200), HeightWidth(300, 400)):
        messages = []
        for ratio in (1.0, 12.0):
            with pytest.raises(UserError) as caught:
                read_sized(tmp_path / "a.jpg", size, ratio=ratio)
            messages.append(str(caught.value))
        assert messages[0] == messages[1]
        assert "1600 x 1200" in messages[0]
