"""The made scenes in COCO's form: tree, ids and exact masks, and that no digit is both trained and tested on."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from maekit.data.digits import DIGITS, Digit, digits
from maekit.detection.data.coco import scenes as coco_scenes
from maekit.detection.data.coco.coco import COCO
from maekit.detection.data.coco.outlines import filled, outlines
from maekit.detection.data.coco.scenes import CATEGORY_IDS, DIGIT_SIDES, MAX_HIDDEN, draw_objects, object_scenes_root
from maekit.errors import UserError
from tests.detection.data.helpers import read_coco
from tests.helpers_data import check


@pytest.fixture(scope="module")
def pool() -> list[Digit]:
    return [digit for digit in digits() if digit.in_val]


def few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coco_scenes, "NUM_TRAIN", 10)
    monkeypatch.setattr(coco_scenes, "NUM_VAL", 20)


def load(root: Path, split: str) -> Any:
    return json.loads((root / f"annotations/instances_{split}2017.json").read_text())


def test_the_form_is_cocos_and_made_twice_alike(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    few(monkeypatch)
    line = COCO.make(tmp_path / "a")
    assert line == f"wrote 10 training and 20 validation scenes of 10 classes to {tmp_path / 'a'}"
    COCO.make(tmp_path / "b")
    trees = [
        {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}
        for root in (tmp_path / "a", tmp_path / "b")
    ]
    assert trees[0] == trees[1]
    names = {f"train2017/{7 * i + 9:012}.jpg" for i in range(10)} | {f"val2017/{7 * i + 9:012}.jpg" for i in range(20)}
    assert set(trees[0]) == names | {f"annotations/instances_{split}2017.json" for split in ("train", "val")}
    found = check(COCO, tmp_path / "a", full=True)
    assert found.ok
    assert "validation: 1 of 20 images hold nothing" in found.facts
    with pytest.raises(UserError, match="it exists and is not an empty folder"):
        COCO.make(tmp_path / "a")


def test_annotations(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    coco_mask = pytest.importorskip("pycocotools.mask")
    few(monkeypatch)
    COCO.make(tmp_path / "a")
    assert list(CATEGORY_IDS) == sorted(CATEGORY_IDS)
    assert len(set(CATEGORY_IDS)) == 10 < CATEGORY_IDS[-1]
    forms: dict[str, int] = {"crowd": 0, "text": 0, "runs": 0, "polygons": 0}
    for split in ("train", "val"):
        values = load(tmp_path / "a", split)
        assert [(entry["id"], entry["name"]) for entry in values["categories"]] == list(
            zip(CATEGORY_IDS, DIGITS, strict=True)
        )
        owners = {entry["id"]: entry for entry in values["images"]}
        assert [entry["id"] for entry in values["annotations"]] == list(range(1, len(values["annotations"]) + 1))
        for entry in values["annotations"]:
            shape, side = entry["segmentation"], owners[entry["image_id"]]["height"]
            if isinstance(shape, list):
                runs = coco_mask.merge(coco_mask.frPyObjects(shape, side, side))
                forms["polygons"] += 1
            elif isinstance(shape["counts"], str):
                runs = shape
                forms["text"] += 1
            else:
                runs = coco_mask.frPyObjects(shape, side, side)
                forms["crowd" if entry["iscrowd"] else "runs"] += 1
            assert coco_mask.area(runs) == entry["area"] > 0
            np.testing.assert_array_equal(coco_mask.toBbox(runs), entry["bbox"])
            assert not (entry["iscrowd"] and split == "train")
    assert min(forms.values()) >= 3
    assert forms["polygons"] > sum(forms.values()) / 2


def test_splits_share_no_digit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    few(monkeypatch)
    pools: list[frozenset[int]] = []

    def record(pool: list[Digit], rng: Any, *, crowded: bool) -> Any:
        pools.append(frozenset(digit.sample for digit in pool))
        return draw_objects(pool, rng, crowded=crowded)

    monkeypatch.setattr(coco_scenes, "draw_objects", record)
    COCO.make(tmp_path / "a")
    train, val = set(pools[:10]), set(pools[10:]) - {frozenset()}
    assert (len(train), len(val)) == (1, 1)
    assert not train.pop() & val.pop()


def test_scenes_show_what_the_masks_say(pool: list[Digit]) -> None:
    counts = np.zeros(10, int)
    hidden = 0
    for seed in range(60):
        image, things = draw_objects(pool, np.random.RandomState(seed), crowded=False)
        assert image.dtype == np.uint8
        assert image.shape[2] == 3
        total = np.sum([thing.visible for thing in things], axis=0)
        assert total.max() == 1  # no pixel shows two
        assert image[total > 0].mean() > image[total == 0].mean() + 40
        for thing in things:
            counts[thing.label] += 1
            rows, columns = (np.flatnonzero(thing.visible.any(axis=axis)) for axis in (1, 0))
            assert max(np.ptp(rows), np.ptp(columns)) < DIGIT_SIDES[1]
            assert max(np.ptp(rows), np.ptp(columns)) > 0.6 * DIGIT_SIDES[0]
            hidden += (filled(thing.visible) != thing.visible).any()
        assert 1 <= len(things) <= 4
    assert counts.min() > 5
    assert MAX_HIDDEN < 0.5
    image, things = draw_objects([], np.random.RandomState(0), crowded=False)
    assert things == []
    _, things = draw_objects(pool, np.random.RandomState(1), crowded=True)
    assert [thing.crowd for thing in things] == [True] + [False] * (len(things) - 1)


def test_outlines_enclose_the_filled_bitmap() -> None:
    coco_mask = pytest.importorskip("pycocotools.mask")
    rng = np.random.default_rng(0)
    parts = 0
    for _ in range(150):
        height, width = rng.integers(1, 30, 2).tolist()
        bitmap = rng.random((height, width)) < rng.random()
        polygons = outlines(bitmap)
        parts += len(polygons)
        runs = coco_mask.merge(coco_mask.frPyObjects(polygons, height, width)) if polygons else None
        shown = coco_mask.decode(runs) > 0 if runs else np.zeros((height, width), bool)
        np.testing.assert_array_equal(shown & bitmap, bitmap)
        np.testing.assert_array_equal(shown, filled_by_rows(bitmap))
    assert parts > 1000


def filled_by_rows(bitmap: np.ndarray) -> np.ndarray:
    """The bitmap without its holes: what the background does not reach from outside, corner steps counted."""
    outside = np.pad(bitmap, 1) * 0 + 0
    outside[0] = outside[-1] = 1
    outside[:, 0] = outside[:, -1] = 1
    free = ~np.pad(bitmap, 1)
    while True:
        grown = outside.copy()
        for dy in (-1, 0, 1):
            for dx in (-1, 0, 1):
                grown |= np.roll(outside, (dy, dx), axis=(0, 1))
        grown &= free
        if (grown == outside).all():
            return np.asarray(outside[1:-1, 1:-1] == 0)
        outside = grown


def test_the_cache_is_used(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    few(monkeypatch)
    monkeypatch.setenv("MAEKIT_CACHE", str(tmp_path))
    root = object_scenes_root()
    assert root == tmp_path / "coco-scenes-v1"
    path = root / "val2017/000000000009.jpg"
    before = path.stat().st_mtime_ns
    assert object_scenes_root() == root
    assert path.stat().st_mtime_ns == before
    file = read_coco(root / "annotations/instances_val2017.json", root / "val2017")
    with Image.open(file.image(0)) as image:
        assert (image.height, image.width) == file.size(0)
