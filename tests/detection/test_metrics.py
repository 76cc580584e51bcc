import json
import math
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pycocotools import mask as peer_mask  # type: ignore[import-untyped, unused-ignore]
from pycocotools.coco import COCO  # type: ignore[import-untyped, unused-ignore]

from maekit.detection.mask_rcnn.paste import paste_masks
from maekit.detection.mask_rcnn.types import Detections
from maekit.detection.metrics.coco_eval import NUMBERS, Scores, SeenImage, evaluate
from maekit.detection.metrics.coco_masks import CocoResults, coco_results, decode_masks, encode_masks, truth_rle
from maekit.detection.metrics.detection import DetectionMetrics, class_json
from maekit.detection.metrics.table import class_table, summary_table
from maekit.errors import UserError
from maekit.system.size import HeightWidth
from tests.detection.helpers_metrics import (
    CATEGORIES,
    NAMES,
    NOWHERE,
    ONLY_CROWD,
    ONLY_FOUND,
    SIZE,
    SceneImage,
    filled,
    found_square,
    images,
    nothing,
    peer,
    peer_results,
    square,
)


def test_values_equal_pycocotools(capfd: pytest.CaptureFixture[str]) -> None:
    scenes = images()
    values = filled(scenes).compute()
    assert capfd.readouterr() == ("", "")
    expected = peer(scenes, peer_results(scenes))
    assert list(values) == [f"{kind}_{number}" for kind in ("box", "mask") for number in NUMBERS]
    assert len({value.item() for value in values.values()}) == 24, "numbers that are all alike could hide a mix-up"
    for kind, evaluation in expected.items():
        assert 0.1 < evaluation.stats[0] < 0.9
        found = [values[f"{kind}_{number}"].item() / 100 for number in NUMBERS]
        assert found == pytest.approx(evaluation.stats.tolist(), abs=1e-6)


def test_each_class_equals_pycocotools() -> None:
    scenes = images()
    scores = filled(scenes).scores()
    places = {category: place for place, category in enumerate(sorted(CATEGORIES))}
    for kind, evaluation in peer(scenes, peer_results(scenes)).items():
        precision = evaluation.eval["precision"][:, :, :, 0, -1].mean((0, 1))
        for label, category in enumerate(CATEGORIES):
            expected = precision[places[category]]
            expected = math.nan if expected < 0 else 100 * expected
            assert scores.per_class[kind][label] == pytest.approx(expected, abs=1e-4, nan_ok=True)
    without = {label for label, ap in enumerate(scores.per_class["box"]) if math.isnan(ap)}
    assert without == {NOWHERE, ONLY_FOUND, ONLY_CROWD}
    notes = [note for scene in scenes for note in scene.truth if not note["iscrowd"]]
    assert scores.objects == [sum(note["category_id"] == c for note in notes) for c in CATEGORIES]


def test_the_written_results_are_cocos_own_and_give_the_same_numbers() -> None:
    scenes = images(12)
    metrics = filled(scenes)
    written = json.loads(json.dumps(metrics.results()))
    own = sorted(peer_results(scenes), key=lambda result: result["image_id"])
    for result, expected in zip(written, own, strict=True):
        assert set(result) == {"image_id", "category_id", "bbox", "score", "segmentation"}
        assert result["bbox"] == pytest.approx(expected["bbox"], abs=1e-9)
        assert {**result, "bbox": 0} == {**expected, "bbox": 0}
    values = metrics.compute()
    for kind, evaluation in peer(scenes, written).items():
        found = [values[f"{kind}_{number}"].item() / 100 for number in NUMBERS]
        assert found == pytest.approx(evaluation.stats.tolist(), abs=1e-6)


def test_the_order_of_the_images_and_a_second_sight_change_nothing() -> None:
    scenes = images(12)
    one, other = filled(scenes), filled([*scenes[::-1], *scenes[3:9]])
    torch.testing.assert_close(other.compute(), one.compute(), rtol=0, atol=0, equal_nan=True)


def test_nothing_is_evaluated_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def counted(images: Sequence[SeenImage], category_ids: Sequence[int], kinds: Sequence[str]) -> Scores:
        calls.append(len(images))
        return evaluate(images, category_ids, kinds)

    monkeypatch.setattr("maekit.detection.metrics.detection.evaluate", counted)
    scenes = images(8)
    metrics = filled(scenes[:6])
    first = metrics.compute()
    class_table(NAMES, metrics)
    metrics.results()
    metrics.compute()
    assert calls == [6]
    for scene in scenes[6:]:
        metrics.update(scene.given(), scene.image_id, scene.size, scene.truth)
    assert metrics.compute()["box_AP"] != first["box_AP"]
    assert calls == [6, 8]
    metrics.reset()
    assert metrics.results() == []
    assert all(value.isnan() for value in metrics.compute().values())


def test_boxes_alone_have_the_box_numbers_and_no_others() -> None:
    """With and without masks in the results; nothing says anything of masks."""
    scenes = images(6)
    whole, boxes, bare = filled(scenes), *(DetectionMetrics(CATEGORIES, masks=False) for _ in range(2))
    for scene in scenes:
        boxes.update(scene.given(), scene.image_id, scene.size, scene.truth)
        bare.update(scene.given()._replace(rles=None), scene.image_id, scene.size, scene.truth)
    expected = {name: value.item() for name, value in whole.compute().items() if name.startswith("box")}
    for metrics in (boxes, bare):
        assert {name: value.item() for name, value in metrics.compute().items()} == pytest.approx(expected, nan_ok=True)
        assert len(expected) == 12
        rows = metrics.results()
        assert rows == [{k: v for k, v in row.items() if k != "segmentation"} for row in whole.results()]
        assert not [line for line in (*class_table(NAMES, metrics), *summary_table(metrics)) if "mask" in line]
        found = class_json(NAMES, metrics)
        assert found["more"] is None
        for row, other in zip(found["classes"], class_json(NAMES, whole)["classes"], strict=True):
            assert row == other | {"more": None}
    with pytest.raises(UserError, match=r"got \[1, 1, 1, 0\] boxes, scores, labels and masks"):
        filled([]).update(found_square()._replace(rles=None), 1, SIZE, [])


def test_the_given_annotations_stay_as_they_were() -> None:
    scenes = images(6)
    before = json.dumps([scene.truth for scene in scenes])
    filled(scenes).compute()
    assert json.dumps([scene.truth for scene in scenes]) == before
    assert not filled(scenes).state_dict()


@pytest.mark.parametrize(("found", "value"), [(nothing(), 0.0), (found_square(), 100.0)])
def test_all_or_nothing(found: CocoResults, value: float) -> None:
    metrics = DetectionMetrics([1])
    metrics.update(found, 1, SIZE, [square()])
    values = metrics.compute()
    assert {values[key].item() for key in ("box_AP", "mask_AP", "box_APm", "mask_AR100")} == {value}
    assert values["box_APs"].isnan()
    assert values["mask_APl"].isnan()


def test_images_without_truth_or_of_other_categories_have_nothing_to_find() -> None:
    metrics = DetectionMetrics([1])
    metrics.update(found_square(), 1, SIZE, [])
    metrics.update(found_square(), 2, SIZE, [square(category=5)])
    assert all(value.isnan() for value in metrics.compute().values())


def test_a_found_box_and_its_mask_have_sizes_of_their_own() -> None:
    """A false frame, its box large, its mask small, scores above a small right square: only masks suffer by it."""
    frame = np.zeros((1, 60, 80), dtype=bool)
    frame[0, 5:55, 5:7] = frame[0, 5:7, 5:55] = True
    scene = CocoResults(
        np.array([[5.0, 5, 55, 55], [10, 10, 50, 50]]), np.array([0.9, 0.8]), np.array([0, 0]),
        encode_masks(frame) + (found_square().rles or []),
    )  # fmt: skip
    metrics = DetectionMetrics([1])
    metrics.update(scene, 1, SIZE, [square(area=400)])
    values = metrics.compute()
    assert [values[key].item() for key in ("box_APs", "mask_APs")] == [100, 50]


@pytest.mark.parametrize(
    "segmentation",
    [
        [[0.0, 0, 20, 0, 20, 10]],
        [[0.0, 0, 20, 0, 20, 10], [30, 30, 35, 30, 35, 39, 30, 39]],
        [[0.0, 0, 20, 0, 20, 10], [7, 7, 8, 8]],
        {"size": [40, 50], "counts": [0, 5, 35, 5, 1955]},
        {"size": [40, 50], "counts": peer_mask.encode(np.asfortranarray(np.eye(40, 50, dtype=np.uint8)))["counts"]},
    ],
)
def test_masks_of_any_form_are_pycocotools(segmentation: Any) -> None:
    truth = COCO()
    truth.imgs = {1: {"height": 40, "width": 50}}
    usable = segmentation if isinstance(segmentation, dict) else [part for part in segmentation if len(part) > 4]
    expected = truth.annToMask({"image_id": 1, "segmentation": usable})
    size = HeightWidth(40, 50)
    (mask,) = decode_masks([truth_rle(segmentation, size)], size)
    assert 0 < mask.sum() < mask.size
    assert (mask == expected).all()


@pytest.mark.parametrize(
    "segmentation",
    [
        [[]],
        [[1, 1, 5, 5]],
        [[1, 2, 3, 4, 5, 6, 7]],
        {"size": [9, 9], "counts": [0, 81]},
        {"size": [60, 80], "counts": [9, 9]},
        {"size": [60, 80], "counts": [5000, -200]},
        {"size": [60, 80], "counts": "garbage!"},
        {"size": [60, 80], "counts": "62304"},
        {"size": [60, 80], "counts": ""},
        {"size": [60, 80]},
        [[1e30, 1, 9, 9, 4, 5]],
        [[math.nan, 1, 9, 9, 4, 5]],
    ],
)
def test_what_is_no_mask_is_an_object_nothing_finds(segmentation: Any) -> None:
    metrics = DetectionMetrics([1])
    metrics.update(found_square(), 1, SIZE, [square(segmentation=segmentation)])
    values = metrics.compute()
    assert values["box_AP"] == 100
    assert values["mask_AP"] == 0


@pytest.mark.parametrize("segmentation", [None, [], {}])
def test_an_object_with_a_box_only_counts_for_boxes_and_is_ignored_for_masks(segmentation: Any) -> None:
    """The peer is pycocotools, with such objects as crowds of their boxes where masks are counted."""
    scenes = [SceneImage(number, np.random.default_rng(number)) for number in (2, 4, 9)]
    bare = [[place for place in range(0, len(scene.truth), 2) if not scene.truth[place]["iscrowd"]] for scene in scenes]
    metrics = DetectionMetrics(CATEGORIES)
    for scene, places in zip(scenes, bare, strict=True):
        notes = list(scene.truth)
        for place in places:
            notes[place] = {**notes[place], "segmentation": segmentation}
        metrics.update(scene.given(), scene.image_id, scene.size, notes)
    values = metrics.compute()
    whole = peer(scenes, peer_results(scenes))["box"].stats[0]
    for scene, places in zip(scenes, bare, strict=True):
        for place in places:
            x, y, width, height = scene.truth[place]["bbox"]
            box = [[x, y, x + width, y, x + width, y + height, x, y + height]]
            scene.truth[place] |= {"iscrowd": 1, "segmentation": box}
    ignored = peer(scenes, peer_results(scenes))["mask"].stats[0]
    assert values["box_AP"].item() == pytest.approx(100 * whole, abs=1e-4)
    assert values["mask_AP"].item() == pytest.approx(100 * ignored, abs=1e-4)
    assert sum(map(len, bare)) > 5
    assert metrics.scores().objects == [
        sum(note["category_id"] == category for seen in metrics.seen for note in seen.truth if not note["iscrowd"])
        for category in CATEGORIES
    ]


def test_an_annotation_without_area_has_its_masks() -> None:
    note = square()
    del note["area"], note["iscrowd"]
    metrics = DetectionMetrics([1])
    metrics.update(found_square(), 1, SIZE, [note])
    assert metrics.seen[0].truth[0]["area"] == 1600
    assert metrics.compute()["box_APm"] == 100


def test_run_lengths_are_pycocotools_and_come_back() -> None:
    masks = np.random.default_rng(0).random((5, 31, 17)) < 0.4
    masks[3], masks[4] = True, False
    rles = encode_masks(torch.from_numpy(masks))
    expected = [peer_mask.encode(np.asfortranarray(mask.astype(np.uint8))) for mask in masks]
    assert rles == [{"size": [31, 17], "counts": rle["counts"].decode()} for rle in expected]
    assert (decode_masks(rles, HeightWidth(31, 17)) == masks).all()
    assert encode_masks(masks[:0]) == []
    assert decode_masks([], HeightWidth(31, 17)).shape == (0, 31, 17)


def test_masks_are_pasted_a_few_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []

    def paste(masks: torch.Tensor, boxes: torch.Tensor, size: HeightWidth) -> torch.Tensor:
        sizes.append(len(masks))
        return paste_masks(masks, boxes, size)

    monkeypatch.setattr("maekit.detection.metrics.coco_masks.paste_masks", paste)
    boxes = torch.arange(8.0)[:, None] + torch.tensor([0.0, 1, 10, 5])
    eight = Detections(boxes, torch.linspace(1, 0, 8), torch.arange(8), torch.ones(8, 28, 28))
    results = coco_results(eight, HeightWidth(20, 30), pixels_at_once=3 * 20 * 30)
    assert sizes == [3, 3, 2]
    assert results.rles is not None
    masks = decode_masks(results.rles, HeightWidth(20, 30))
    for number, mask in enumerate(masks):
        assert mask.sum() == 40
        assert mask[number + 1 : number + 5, number : number + 10].all()
    assert (results.boxes == boxes.numpy()).all()
    assert (results.scores == eight.scores.numpy()).all()
    assert results.labels.tolist() == list(range(8))
    none = Detections(*(column[:0] for column in eight if column is not None))
    assert coco_results(none, HeightWidth(20, 30)).rles == []


@pytest.mark.parametrize(
    ("found", "message"),
    [
        (found_square(1), "got label 1, expected 0 to 0; check that data and model have the same classes"),
        (found_square(-1), "got label -1, expected 0 to 0"),
        (
            found_square()._replace(scores=np.zeros(2)),
            "got [1, 2, 1, 1] boxes, scores, labels and masks of an image, exp",
        ),
        (found_square()._replace(rles=[]), "got [1, 1, 1, 0] boxes, scores, labels and masks"),
        (
            found_square()._replace(rles=encode_masks(np.zeros((1, 80, 60), dtype=bool))),
            "got masks of (80, 60) pixels for an image of (60, 80); paste at the file's size",
        ),
    ],
)
def test_results_that_do_not_fit_are_refused(found: CocoResults, message: str) -> None:
    metrics = DetectionMetrics([1])
    with pytest.raises(UserError) as error:
        metrics.update(found, 1, SIZE, [square()])
    assert str(error.value).startswith(message)
    assert "\n" not in str(error.value)
    assert metrics.seen == []


def test_one_category_for_two_labels_is_refused() -> None:
    with pytest.raises(
        UserError, match=r"^got category ids \[1, 2, 1\], expected each once; mend the annotation file$"
    ):
        DetectionMetrics([1, 2, 1])


def test_the_table_names_the_worst_first_and_the_absent_last() -> None:
    metrics = DetectionMetrics([4, 2, 9, 7])
    metrics.update(found_square(1), 1, SIZE, [square(2), square(4), square(7, iscrowd=1)])
    assert class_table(["cat", "a dog", "bird", "crowd"], metrics) == [
        "label  class  box AP  mask AP    objects",
        "    0  cat      0.00     0.00          1",
        "    1  a dog  100.00   100.00          1",
        "without objects, so left out of the means: bird (2), crowd (3)",
    ]


SPLITS = {"uneven": (0, 7), "one has none": (0, 0)}


def rank(folder: Path, number: int) -> None:
    """One of two processes, with its share of the images: what it finds goes to a file."""
    from torch import distributed

    distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=number, world_size=2)
    scenes, reported = images(10), {}
    for name, (start, stop) in SPLITS.items():
        own = scenes[start:stop] if number == 0 else scenes[stop - 1 if stop else 0 :]  # one image on both
        metrics = filled(own)
        values = {key: value.item() for key, value in metrics.compute().items()}
        reported[name] = [values, class_table(NAMES, metrics), metrics.results(), len(metrics.seen)]
    (folder / f"{number}.json").write_text(json.dumps(reported))
    distributed.destroy_process_group()


def test_two_uneven_processes_give_what_one_gives(tmp_path: Path) -> None:
    command = f"import pathlib; from {__name__} import rank; rank(pathlib.Path({str(tmp_path)!r}), %d)"
    ranks = [
        subprocess.Popen(
            [sys.executable, "-W", "error::UserWarning", "-c", command % number],
            cwd=Path(__file__).resolve().parents[2], stderr=subprocess.PIPE, text=True,
        )
        for number in range(2)
    ]  # fmt: skip
    for process in ranks:
        _, error = process.communicate(timeout=120)
        assert process.returncode == 0, error[-3000:]
    one = filled(images(10))
    values = {key: value.item() for key, value in one.compute().items()}
    reported = [json.loads((tmp_path / f"{number}.json").read_text()) for number in range(2)]
    expected = json.loads(json.dumps([values, class_table(NAMES, one), one.results()]))
    for name, counts in (("uneven", (7, 4)), ("one has none", (0, 10))):
        for own, count in zip(reported, counts, strict=True):
            np.testing.assert_equal(own[name], [*expected, count])
