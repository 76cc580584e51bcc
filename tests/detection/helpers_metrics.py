"""Images with annotations and results as COCO's files have them, and pycocotools' evaluation of them."""

import contextlib
import io
import json
from collections.abc import Sequence
from typing import Any, cast

import numpy as np
from pycocotools import mask as peer_mask  # type: ignore[import-untyped, unused-ignore]
from pycocotools.coco import COCO  # type: ignore[import-untyped, unused-ignore]
from pycocotools.cocoeval import COCOeval  # type: ignore[import-untyped, unused-ignore]

from maekit.detection.data.annotation import Annotation
from maekit.detection.metrics.coco_masks import CocoResults, encode_masks
from maekit.detection.metrics.detection import DetectionMetrics
from maekit.system.size import HeightWidth

SIZE = HeightWidth(60, 80)
CATEGORIES = [90, 3, 17, 1, 44, 62, 8, 13, 70, 21]  # neither sorted nor without gaps

NOWHERE, ONLY_FOUND, ONLY_CROWD = 5, 6, 7  # labels without truth

NAMES = [f"class {label}" for label in range(len(CATEGORIES))]


class SceneImage:
    """Truth and results of an image as COCO's files have them, and the results as the model gives them."""

    def __init__(self, number: int, rng: np.random.Generator) -> None:
        self.image_id, self.size = 1000 - 7 * number, HeightWidth(*rng.integers(120, 360, 2).tolist())
        outlines = [
            self.outline(rng) for _ in range(0 if number % 7 == 0 else 40 if number == 3 else int(rng.integers(1, 12)))
        ]
        labels = [int(rng.choice([0, 1, 2, 3, 4, 8, 9][: 2 if number == 3 else 7])) for _ in outlines]
        self.truth = [
            self.annotation(place, *pair, rng) for place, pair in enumerate(zip(outlines, labels, strict=True))
        ]
        found = [] if number % 5 == 1 else [self.found(*pair, rng) for pair in zip(outlines, labels, strict=True)]
        many = 0 if number % 5 == 1 else 130 if number == 3 else int(rng.integers(0, 12))
        found += [self.found(self.outline(rng), int(rng.choice([0, 0, 0, 2, 3, ONLY_FOUND])), rng) for _ in range(many)]
        self.results = found

    def outline(self, rng: np.random.Generator) -> Any:
        """A wavy ellipse of 8 to 40 points, [2n], its middle in the image; small to large."""
        height, width = self.size
        turns = np.sort(rng.uniform(0, 2 * np.pi, int(rng.integers(8, 41))))
        reach = np.exp(rng.uniform(np.log(4), np.log(150))) * (1 + 0.3 * np.sin(3 * turns))
        x = np.clip(rng.uniform(0, width) + reach * np.cos(turns), 0, width)
        y = np.clip(rng.uniform(0, height) + rng.uniform(0.5, 1.5) * reach * np.sin(turns), 0, height)
        return np.stack([x, y], 1).ravel()

    def rle(self, outline: Any) -> Any:
        return peer_mask.merge(peer_mask.frPyObjects([outline.tolist()], *self.size))

    def annotation(self, place: int, outline: Any, label: int, rng: np.random.Generator) -> Annotation:
        """Polygons; every fourth a crowd's run lengths; areas that are neither the mask's nor the box's."""
        rle = self.rle(outline)
        crowd = place % 4 == 3
        category = CATEGORIES[ONLY_CROWD if crowd and place == 7 else label]
        segmentation: Any = [outline.tolist()]
        if crowd:
            flat = peer_mask.decode(rle).T.ravel()
            ends = np.flatnonzero(np.diff(flat)) + 1
            counts = np.diff(np.concatenate([[0], *([[0]] if flat[0] else []), ends, [flat.size]])).tolist()
            segmentation = {"size": list(self.size), "counts": counts}
        area = float(peer_mask.area(rle)) * rng.uniform(0.8, 1.2)
        if place == 5:
            area = 32.0**2  # small and medium at once
        bbox = peer_mask.toBbox(rle).tolist()
        if place == 6:
            bbox[2] = 0.0
        return Annotation(
            id=0, category_id=category, iscrowd=int(crowd), area=area, bbox=bbox, segmentation=segmentation
        )

    def found(self, outline: Any, label: int, rng: np.random.Generator) -> dict[str, Any]:
        """Near the outline; scores of twentieths, so that many are equal; now and then another class, a thin box."""
        moved = outline + np.tile(rng.normal(0, 2.5, 2), len(outline) // 2)
        rle = self.rle(np.clip(moved, 0, np.tile(self.size[::-1], len(outline) // 2)))
        box = peer_mask.toBbox(rle) + rng.normal(0, 1, 4) * (rng.random() < 0.7)
        box[2:] = box[2:].clip(0)
        if rng.random() < 0.05:
            box[2] = 0
        label = label if rng.random() < 0.85 else 2
        score = float(np.round(rng.random() * 20) / 20)
        segmentation = {"size": list(rle["size"]), "counts": rle["counts"].decode()}
        return {"category_id": CATEGORIES[label], "bbox": box.tolist(), "score": score, "segmentation": segmentation}

    def given(self) -> CocoResults:
        boxes = np.array([result["bbox"] for result in self.results]).reshape(-1, 4)
        boxes[:, 2:] += boxes[:, :2]
        labels = np.array([CATEGORIES.index(result["category_id"]) for result in self.results], dtype=np.int64)
        scores = np.array([result["score"] for result in self.results])
        return CocoResults(boxes, scores, labels, [result["segmentation"] for result in self.results])


def images(count: int = 30) -> list[SceneImage]:
    rng = np.random.default_rng(5)
    return [SceneImage(number, rng) for number in range(count)]


def filled(scenes: Sequence[SceneImage]) -> DetectionMetrics:
    metrics = DetectionMetrics(CATEGORIES)
    for scene in scenes:
        metrics.update(scene.given(), scene.image_id, scene.size, scene.truth)
    return metrics


def peer(scenes: Sequence[SceneImage], results: list[dict[str, Any]]) -> dict[str, Any]:
    """pycocotools' evaluation of boxes and masks: COCOeval by kind."""
    notes = [{**note, "image_id": scene.image_id} for scene in scenes for note in scene.truth]
    data = {
        "images": [{"id": scene.image_id, "height": scene.size[0], "width": scene.size[1]} for scene in scenes],
        "categories": [{"id": category} for category in CATEGORIES],
        "annotations": [{**note, "id": number} for number, note in enumerate(notes, 1)],
    }
    found = {}
    for name, kind, unused in (("box", "bbox", "segmentation"), ("mask", "segm", "bbox")):
        with contextlib.redirect_stdout(io.StringIO()):
            truth = COCO()
            truth.dataset = json.loads(json.dumps(data))
            truth.createIndex()
            own = [{key: value for key, value in result.items() if key != unused} for result in results]
            evaluation = COCOeval(truth, truth.loadRes(own), kind)
            evaluation.evaluate()
            evaluation.accumulate()
            evaluation.summarize()
        found[name] = evaluation
    return found


def peer_results(scenes: Sequence[SceneImage]) -> list[dict[str, Any]]:
    return [{**result, "image_id": scene.image_id} for scene in scenes for result in scene.results]


def nothing() -> CocoResults:
    return CocoResults(np.zeros((0, 4)), np.zeros(0), np.zeros(0, dtype=np.int64), [])


def square(category: int = 1, **more: Any) -> Annotation:
    outline = [[10.0, 10, 50, 10, 50, 50, 10, 50]]
    base = {"category_id": category, "bbox": [10, 10, 40, 40], "area": 1600, "iscrowd": 0, "segmentation": outline}
    return cast(Annotation, {**base, **more})


def found_square(label: int = 0) -> CocoResults:
    mask = np.zeros((1, 60, 80), dtype=bool)
    mask[0, 10:50, 10:50] = True
    return CocoResults(np.array([[10.0, 10, 50, 50]]), np.array([0.9]), np.array([label]), encode_masks(mask))
