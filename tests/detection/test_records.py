"""Records of single images: the AP of any choice of images is COCO's, and confusions are those counted by hand."""

import json

import numpy as np
import pytest

from maekit.detection.data.annotation import Annotation
from maekit.detection.metrics.coco_masks import CocoResults
from maekit.detection.metrics.curves import curves_json
from maekit.detection.metrics.detection import DetectionMetrics, class_json
from maekit.system.size import HeightWidth

CATEGORIES = [3, 1, 7]
IMAGES = 25
Scene = tuple[CocoResults, list[Annotation]]


def scene(generator: np.random.Generator) -> Scene:
    """Objects, some of them crowds, and boxes near them, some of another class."""
    count, found = generator.integers(1, 6), generator.integers(0, 12)
    corners = generator.uniform(0, 60, (count, 2))
    sides, labels = generator.uniform(8, 40, (count, 2)), generator.integers(0, 3, count)
    truth: list[Annotation] = [
        {
            "category_id": CATEGORIES[label],
            "bbox": [*corner, *side],
            "iscrowd": int(generator.random() < 0.15),
            "area": float(side.prod()),
        }
        for corner, side, label in zip(corners.tolist(), sides, labels.tolist(), strict=True)
    ]
    near = generator.integers(0, count, found)
    boxes = np.concatenate([corners, corners + sides], axis=1)[near] + generator.normal(0, 3, (found, 4))
    boxes[:, 2:] = np.maximum(boxes[:, 2:], boxes[:, :2] + 1)
    other = generator.integers(0, 3, found)
    guess = np.where(generator.random(found) < 0.8, labels[near], other)
    return CocoResults(boxes, generator.random(found), guess, None), truth


def filled(scenes: list[Scene]) -> DetectionMetrics:
    metrics = DetectionMetrics(CATEGORIES, masks=False)
    for place, (found, truth) in enumerate(scenes):
        metrics.update(found, 1000 + place, HeightWidth(100, 100), truth, place)
    return metrics


@pytest.mark.numeric
def test_the_ap_of_any_choice_is_that_of_cocos_evaluation() -> None:
    generator = np.random.default_rng(2)
    scenes = [scene(generator) for _ in range(IMAGES)]
    records = filled(scenes).image_records(0.3)
    assert records.places.tolist() == list(range(IMAGES))
    drawn = [np.bincount(row, minlength=IMAGES) for row in generator.integers(IMAGES, size=(4, IMAGES))]
    few = np.eye(IMAGES, dtype=np.int64)[:2].sum(0)  # two images, so that a class may be in none
    counts = np.stack([np.ones(IMAGES, dtype=np.int64), few, *drawn])
    found = records.resampled(counts)
    for row, often in enumerate(counts):
        expected = filled([one for one, times in zip(scenes, often, strict=True) for _ in range(times)]).compute()
        for name in ("box_AP", "box_AP50"):
            assert found[name][row] == pytest.approx(expected[name].item(), abs=1e-5), (name, row)


def boxes(*rows: tuple[float, int, float]) -> CocoResults:
    """Squares of side 10 from their left edge, label and score."""
    corners = np.array([[left, 0, left + 10, 10] for left, _, _ in rows], dtype=np.float64)
    return CocoResults(
        corners, np.array([score for *_, score in rows]), np.array([label for _, label, _ in rows]), None
    )


def objects(*rows: tuple[float, int]) -> list[Annotation]:
    return [{"category_id": CATEGORIES[label], "bbox": [left, 0.0, 10.0, 10.0], "area": 100.0} for left, label in rows]


def test_confusions_counted_by_hand() -> None:
    """Found right; as another class; missed; spurious; below the score; a second box on one object."""
    truth = objects((0, 0), (20, 0), (40, 1), (60, 2))
    found = boxes((1, 0, 0.9), (2, 0, 0.8), (20, 1, 0.7), (80, 2, 0.6), (40, 1, 0.2))
    metrics = filled([(found, truth)])
    counts = metrics.confusion(0.3)
    assert counts == [[1, 1, 0, 0], [0, 0, 0, 1], [0, 0, 0, 1], [1, 0, 1, 0]]
    assert metrics.confusion(0.1)[1] == [0, 1, 0, 0]
    columns = metrics.image_records(0.3).columns()
    names = ("objects", "found", "right", "wrong_class", "missed", "spurious")
    assert [columns[name][0] for name in names] == [4, 4, 1, 1, 2, 2]
    rows = class_json(["a", "b", "c"], metrics, counts)["classes"]
    assert [(row["taken_for"], row["taken"]) for row in rows] == [("b", 50.0), (None, None), (None, None)]


def test_a_right_class_goes_before_a_higher_overlap() -> None:
    """A box of the object's own class is right even where one of another class lies on it exactly."""
    metrics = filled([(boxes((0, 1, 0.9), (2, 0, 0.5)), objects((0, 0)))])
    assert metrics.confusion(0.3) == [[1, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0], [0, 1, 0, 0]]


def test_curves_of_two_boxes() -> None:
    """One right box, then a wrong one, then another right one, of two objects; the third class has no object."""
    found = boxes((0, 0, 0.9), (50, 0, 0.8), (20, 0, 0.7), (40, 1, 0.4))
    scores = filled([(found, objects((0, 0), (20, 0), (40, 1)))]).scores()
    curves = json.loads(json.dumps(curves_json(["a", "b", "c"], scores.objects, scores.curves["box"])))
    first, second = curves["classes"]
    assert (first["name"], first["objects"], second["name"]) == ("a", 2, "b")
    assert first["precision"] == pytest.approx([1.0] * 51 + [2 / 3] * 50, abs=1e-4)
    assert (first["best_f1"], first["at_score"]) == (pytest.approx(0.8, abs=1e-4), 0.7)
    assert curves["precision"] == pytest.approx([1.0] * 51 + [5 / 6] * 50, abs=1e-4)
    assert curves["recall"] == pytest.approx([at / 100 for at in range(101)])
