"""`confusion.json` and `per_class.json`: peers' numbers, under any split of the images, and those of the tables."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist
from sklearn.metrics import confusion_matrix
from torch import Tensor
from torch.multiprocessing.spawn import start_processes

from maekit.classification.metrics import ClassificationMetrics, Outcome, class_json, confusion_json
from maekit.detection.metrics.detection import DetectionMetrics
from maekit.detection.metrics.detection import class_json as detection_json
from maekit.segmentation import metrics as seg
from tests.detection.helpers_metrics import CATEGORIES, SIZE, filled, found_square, images, peer, peer_results, square
from tests.helpers_run import tiny

CLASSES, ABSENT = 8, 5
KEYS = ("name", "value", "more", "images", "taken_for", "taken")
NAMES = [f"class {label}" for label in range(CLASSES)]
Batch = tuple[Tensor, Tensor, Tensor]


def batch(count: int = 101, classes: int = CLASSES) -> Batch:
    """Logits, labels and index of images, right about half the time; one class is nobody's, but is predicted."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(classes, (count,), generator=generator)
    labels[labels == ABSENT] = 0
    logits = torch.randn(count, classes, generator=generator)
    logits[torch.arange(count), labels] += 1.5
    return logits, labels, torch.arange(count)


def padding(count: int) -> Batch:
    return torch.full((count, CLASSES), torch.nan), torch.zeros(count).long(), torch.full((count,), -1)


def outcomes(*batches: Batch) -> list[Outcome]:
    metrics = ClassificationMetrics()
    for one in batches:
        metrics.update(*one)
    return metrics.outcome_counts()


def parts(whole: Batch, sizes: list[int]) -> list[Batch]:
    return list(zip(*(torch.split(tensor, sizes) for tensor in whole), strict=True))


def test_the_matrix_is_sklearns() -> None:
    logits, labels, _ = batch()
    expected = confusion_matrix(labels, logits.argmax(1), labels=range(CLASSES))
    found = confusion_json(NAMES, outcomes(batch()))
    assert found == {"classes": NAMES, "counts": expected.tolist()}
    classes = class_json(NAMES, outcomes(batch()))
    assert (classes["metric"], classes["more"]) == ("top1", None)
    for label, row in enumerate(classes["classes"]):
        seen = int(expected[label].sum())
        value = 100 * int(expected[label, label]) / seen if seen else None
        wrong = np.where(np.arange(CLASSES) == label, 0, expected[label])
        taken = (NAMES[wrong.argmax()], 100 * wrong.max() / seen) if wrong.any() else (None, None)
        assert row == dict(zip(KEYS, (NAMES[label], value, None, seen, *taken), strict=True))
    assert classes["classes"][ABSENT]["value"] is None


@pytest.mark.parametrize("sizes", [[101], [1] * 101, [64, 0, 37]])
def test_any_split_gives_the_same(sizes: list[int]) -> None:
    assert outcomes(padding(3), *parts(batch(), sizes), padding(2)) == outcomes(batch())


def test_it_forgets_and_nothing_seen_is_no_count() -> None:
    metrics = ClassificationMetrics()
    metrics.update(*batch())
    assert sum(outcome.images for outcome in metrics.outcome_counts()) == 101
    metrics.reset()
    assert metrics.outcome_counts() == []
    assert outcomes(padding(2)) == []


def test_of_many_classes_the_most_frequent_mistakes_are_kept() -> None:
    """Of 101 classes; 300 images are right; the mistakes that are one as often as another are by class."""
    names = [str(label) for label in range(101)]
    many = [Outcome(7, 7, 300), *(Outcome(label, 100 - label, 1 + label % 3) for label in range(101) if label != 50)]
    many += [Outcome(label, 50, 1) for label in range(40)]
    found = confusion_json(names, many)
    assert set(found) == {"classes", "pairs"} and found["classes"] == names
    counts = [pair["count"] for pair in found["pairs"]]
    assert len(counts) == 100 and counts == sorted(counts, reverse=True)
    assert (counts.count(3), counts.count(2)) == (32, 34)
    assert found["pairs"][0] == {"true": 2, "predicted": 98, "count": 3}
    assert not [pair for pair in found["pairs"] if pair["true"] == pair["predicted"]]
    assert found["pairs"][-1] == {"true": 24, "predicted": 76, "count": 1}
    assert "counts" in confusion_json(names[:100], [])


SHARES = {"uneven": [[64, 5], [32]], "one process has only padding": [[101], [0]]}  # batches of each process


def rank(number: int, folder: str) -> None:
    """One of two processes with its share of the images: what it says of all goes to a file."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=number, world_size=2)
    said = {}
    for name, sizes in SHARES.items():
        metrics = ClassificationMetrics()
        for one in parts(parts(batch(), [sum(share) for share in sizes])[number], sizes[number]):
            metrics.update(*one)
            metrics.update(*padding(3))
        top1 = metrics.compute()["top1"].item()
        records = metrics.image_records()
        kept = [records.places.tolist(), records.named(NAMES).columns()]
        said[name] = [confusion_json(NAMES, metrics.outcome_counts()), len(metrics.outcomes), top1, kept]
    Path(folder, f"{number}.json").write_text(json.dumps(said))
    dist.destroy_process_group()


def test_two_processes_count_as_one(tmp_path: Path) -> None:
    start: Any = start_processes
    context = start(rank, args=(str(tmp_path),), nprocs=2, join=False, start_method="fork")
    try:
        assert context.join(timeout=60) or context.join(timeout=60), "the processes did not end"
    finally:
        for process in context.processes:
            process.kill()
    expected = confusion_json(NAMES, outcomes(batch()))
    alone = ClassificationMetrics()
    alone.update(*batch())
    right = sum(row[label] for label, row in enumerate(expected["counts"]))
    for number in range(2):
        for name, (found, own, top1, kept) in json.loads((tmp_path / f"{number}.json").read_text()).items():
            assert found == expected, name
            assert kept == [list(range(101)), alone.image_records().named(NAMES).columns()]
            assert own == 2 * len(SHARES[name][number]), "the joined state must not stay, or it counts twice"
            assert top1 == pytest.approx(100 * right / 101)


def test_a_segmenters_classes_are_those_of_its_table() -> None:
    """Two classes of three pixels each; the third is in no label and no prediction, the fourth only predicted."""
    metrics = seg.SegmentationMetrics(4)
    metrics.update(torch.tensor([[0, 0, 3, 1, 1, 0]]), torch.tensor([[0, 0, 0, 1, 1, 1]]), 0)
    third = pytest.approx(100 / 3)
    rows = [
        ("wall", 50.0, pytest.approx(200 / 3), 1, "bed", third),
        ("sky", pytest.approx(200 / 3), pytest.approx(200 / 3), 1, "wall", third),
        ("lamp", None, None, 0, None, None),
        ("bed", 0.0, None, 0, None, None),
    ]
    expected = [dict(zip(KEYS, row, strict=True)) for row in rows]
    found = seg.class_json(["wall", "sky", "lamp", "bed"], metrics)
    assert found == {"metric": "IoU", "more": "Acc", "classes": expected}


def test_a_detectors_classes_are_pycocotools() -> None:
    scenes = images(12)
    names = [f"class {label}" for label in range(len(CATEGORIES))]
    found = detection_json(names, filled(scenes))
    evaluations = peer(scenes, peer_results(scenes))
    assert (found["metric"], found["more"]) == ("box AP", "mask AP")
    categories = sorted(CATEGORIES)
    for label, row in enumerate(found["classes"]):
        for kind, value in (("box", row["value"]), ("mask", row["more"])):
            precision = evaluations[kind].eval["precision"][:, :, categories.index(CATEGORIES[label]), 0, -1]
            expected = None if (precision < 0).any() else pytest.approx(100 * precision.mean(), abs=1e-9)
            assert value == expected, (row, kind)
        notes = [[n for n in scene.truth if n["category_id"] == CATEGORIES[label]] for scene in scenes]
        assert row["images"] == sum(any(not n["iscrowd"] for n in one) for one in notes)
    assert any(row["value"] is None for row in found["classes"]) and len({r["images"] for r in found["classes"]}) > 2
    metrics = DetectionMetrics([4, 2])
    metrics.update(found_square(1), 1, SIZE, [square(2), square(2), square(4, iscrowd=1)])
    assert [row["images"] for row in detection_json(["cat", "dog"], metrics)["classes"]] == [0, 1]


def test_a_run_keeps_those_of_its_last_validation(tmp_path: Path) -> None:
    result = tiny(tmp_path, trainer__max_steps=2, trainer__limit_val_batches=1.0, trainer__val_check_interval=1).fit()
    run = Path(result["folder"])
    confusion, classes = (json.loads((run / name).read_text()) for name in ("confusion.json", "per_class.json"))
    assert confusion["classes"] == (run / "classes.txt").read_text().split()
    assert [sum(row) for row in confusion["counts"]] == [2] * 10, "20 images, each once"
    assert sum(row[label] for label, row in enumerate(confusion["counts"])) == round(result["val"]["top1"] / 5)
    values = [row["value"] for row in classes["classes"]]
    assert math.fsum(values) / 10 == pytest.approx(result["val"]["top1"])
    assert values == [50 * row[label] for label, row in enumerate(confusion["counts"])]
