"""Intervals over images: a choice of images has the metrics that an evaluation of just these images gives."""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from maekit.base.evaluation import image_records
from maekit.base.evaluation.image_records import Counts, Floats, ImageRecords, as_csv, bootstrap, mean_of, within
from maekit.classification.chosen_metrics import METRICS, ChosenMetrics
from maekit.classification.metrics import ClassificationMetrics
from maekit.classification.targets.metrics import GradeMetrics, LabelMetrics, ValueMetrics, label_scores
from maekit.classification.targets.records import GradeRecords, LabelRecords, ValueRecords
from maekit.pretraining.metrics import PretrainingMetrics
from maekit.segmentation.metrics import SegmentationMetrics

IMAGES, CLASSES = 40, 4
CHOICES = 5


class Means(ImageRecords):
    """The simplest records: one number an image."""

    def __init__(self, values: Sequence[float]) -> None:
        self.places, self.values = np.arange(len(values)), np.array(values, dtype=np.float64)

    def columns(self) -> dict[str, Sequence[object]]:
        return {"value": self.values.tolist()}

    def resampled(self, counts: Counts) -> dict[str, Floats]:
        return {"mean": mean_of(counts, self.values)}


class Dear(Means):
    cost = 10_000_000


def choices() -> Counts:
    """How often each image is in each of some choices; the first has each image once."""
    drawn = np.random.default_rng(3).integers(IMAGES, size=(CHOICES - 1, IMAGES))
    return np.stack([np.ones(IMAGES, dtype=np.int64), *(np.bincount(row, minlength=IMAGES) for row in drawn)])


def repeated(counts: Any) -> Tensor:
    """The places of the images of one choice, each as often as it is in it."""
    return torch.arange(IMAGES).repeat_interleave(torch.tensor(counts))


def logits() -> tuple[Tensor, Tensor]:
    """Logits with ties among them, and classes of which the last is rare."""
    generator = torch.Generator().manual_seed(0)
    values = (2 * torch.randn(IMAGES, CLASSES, generator=generator)).round()
    labels = torch.randint(CLASSES - 1, (IMAGES,), generator=generator)
    labels[7] = CLASSES - 1
    return values, labels


def same(records: ImageRecords, evaluate: Any, names: Sequence[str], tolerance: float = 1e-9) -> None:
    """Compares each metric of each choice with the evaluation of the images in it."""
    counts = choices()
    found = records.resampled(counts)
    for row in range(CHOICES):
        expected: Mapping[str, Tensor] = evaluate(repeated(counts[row]))
        for name in names:
            want = pytest.approx(expected[name].item(), rel=tolerance, abs=tolerance, nan_ok=True)
            assert found[name][row] == want, (name, row)


@pytest.mark.numeric
def test_classes() -> None:
    values, labels = logits()
    names = [name for name in METRICS if name != "calibration_error"]

    def evaluate(chosen: Tensor) -> dict[str, Tensor]:
        metrics = ChosenMetrics(names)
        metrics.update(values[chosen], labels[chosen], torch.arange(len(chosen)))
        return metrics.compute()

    metrics = ChosenMetrics(names)
    order = torch.randperm(IMAGES, generator=torch.Generator().manual_seed(1))
    for part in torch.split(order, 7):  # batches in any order, with padding
        index = torch.cat([part, torch.tensor([-1])])
        metrics.update(values[index], labels[index], index)
    records = metrics.image_records()
    assert records.places.tolist() == list(range(IMAGES))
    same(records, evaluate, names, 1e-6)  # AUROC is torchmetrics', in fp32
    same(records, evaluate, ["loss", "top1", "top5"], 1e-6)
    usual = ClassificationMetrics()
    usual.update(values, labels, torch.arange(IMAGES))
    assert set(usual.image_records().resampled(choices())) == {"top1", "top5", "loss"}


def test_class_columns_are_those_of_the_images() -> None:
    values, labels = logits()
    metrics = ClassificationMetrics()
    metrics.update(values, labels, torch.arange(IMAGES))
    found = metrics.image_records().named(["crane", "heron", "crane", "stork"]).columns()
    names = ["crane (0)", "heron", "crane (2)", "stork"]
    shares = values.double().softmax(1)
    assert found["label"] == [names[label] for label in labels]
    assert found["predicted"] == [names[label] for label in values.topk(1).indices[:, 0]]
    assert found["probability"] == pytest.approx(shares.amax(1).tolist(), rel=1e-5)
    assert found["probability_of_label"] == pytest.approx(shares[torch.arange(IMAGES), labels].tolist(), rel=1e-5)


@pytest.mark.numeric
def test_values_grades_and_labels() -> None:
    generator = torch.Generator().manual_seed(5)
    truth = 100 + torch.randn(IMAGES, 2, generator=generator)
    predicted = truth + torch.randn(IMAGES, 2, generator=generator)

    def of(metrics: Any, given: Tensor, true: Tensor, chosen: Tensor) -> Any:
        metrics.update(given[chosen], true[chosen], torch.arange(len(chosen)))
        return metrics

    everything = torch.arange(IMAGES)
    values = of(ValueMetrics(("a", "b")), predicted, truth, everything)
    same(
        ValueRecords(values.of_all(), ("a", "b")),
        lambda chosen: of(ValueMetrics(("a", "b")), predicted, truth, chosen).compute(),
        ["r2", "mae", "rmse"],
    )
    grades, guess = (torch.randint(4, (IMAGES, 1), generator=generator).float() for _ in range(2))
    same(
        GradeRecords(of(GradeMetrics(), guess, grades, everything).of_all(), tuple("abcd")),
        lambda chosen: of(GradeMetrics(), guess, grades, chosen).compute(),
        ["kappa", "mae", "accuracy"],
    )
    labels = (torch.rand(IMAGES, 3, generator=generator) < torch.tensor([0.5, 0.2, 0.03])).float()
    shares = (0.3 * labels + torch.rand(IMAGES, 3, generator=generator)).div(1.3).mul(20).round().div(20)
    joined = of(LabelMetrics(0.5), shares, labels, everything).of_all()
    same(
        LabelRecords(joined, tuple("abc"), label_scores(joined.predicted, joined.truth, 0.5)),
        lambda chosen: of(LabelMetrics(0.5), shares, labels, chosen).compute(),
        ["map", "auroc", "f1_macro", "f1_micro"],
        1e-6,
    )


@pytest.mark.numeric
def test_pixels_and_reconstructions() -> None:
    generator = torch.Generator().manual_seed(5)
    maps = torch.randint(CLASSES, (IMAGES, 6, 5), generator=generator)
    maps[:, 0, 0] = 255
    found = torch.where(torch.rand(maps.shape, generator=generator) < 0.6, maps, 1).clamp(max=CLASSES - 1)

    def of(chosen: Tensor) -> SegmentationMetrics:
        metrics = SegmentationMetrics(CLASSES)
        for place, image in enumerate(chosen.tolist()):
            metrics.update(found[image], maps[image], place)
        return metrics

    metrics = of(torch.arange(IMAGES))
    metrics.update(torch.zeros(1, 1, dtype=torch.int64), torch.full((1, 1), 255))  # as padding is
    records = metrics.image_records(tuple("abcd"))
    same(records, lambda chosen: of(chosen).compute(), ["mIoU", "mAcc", "aAcc"], 1e-6)
    assert records.columns()["pixels"] == [29] * IMAGES
    assert records.images_with() == [int((maps == label).flatten(1).any(1).sum()) for label in range(CLASSES)]

    values = torch.rand(IMAGES, 2, generator=generator)

    def means(chosen: Tensor) -> dict[str, Tensor]:
        metrics = PretrainingMetrics()
        metrics.update(values[chosen, 0], values[chosen, 1], torch.arange(len(chosen)))
        return metrics.compute()

    reconstructed = PretrainingMetrics()
    reconstructed.update(values[:, 0], values[:, 1], torch.arange(IMAGES))
    same(reconstructed.image_records(), means, ["loss", "psnr"], 1e-6)


def test_an_interval_is_that_of_the_mean_and_the_same_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(1).normal(size=400)
    found = bootstrap(Means(values.tolist()))
    assert found is not None and (found.images, found.resamples, found.level) == (400, 1000, 0.95)
    low, high = found.values["mean"]
    error = 1.96 * values.std() / 20  # of the normal distribution, which a mean of 400 has
    assert low == pytest.approx(values.mean() - error, abs=0.15 * error)
    assert high == pytest.approx(values.mean() + error, abs=0.15 * error)
    monkeypatch.setattr(image_records, "AT_ONCE", 1)
    assert found.plain() == json.loads(json.dumps(found.plain())), "as a file has it"
    again = bootstrap(Means(values.tolist()))  # the number of choices at once changes nothing
    assert again is not None and again.values["mean"] == pytest.approx((low, high), rel=1e-12)


def test_no_interval_where_there_is_none() -> None:
    assert bootstrap(Means([1.0])) is None
    assert bootstrap(Dear([1.0, 2.0])) is None, "fewer than 100 choices are affordable"
    undefined = bootstrap(Means([np.nan, np.nan]))
    assert undefined is not None and undefined.values == {}


def test_the_table_has_paths_within_the_data() -> None:
    text = as_csv(Means([0.123456789, np.nan]), ["/data/set/a/1.jpg", "/elsewhere/2, b.jpg"], "/data/set")
    rows = list(csv.reader(io.StringIO(text)))
    assert rows == [["image", "file", "value"], ["0", "a/1.jpg", "0.123457"], ["1", "/elsewhere/2, b.jpg", ""]]
    assert within(["/data/val/1.jpg"], "/data/train") == ["val/1.jpg"]
    assert within(["/other/1.jpg"], "/data") == ["/other/1.jpg"]
    assert as_csv(Means([1.0]), [], "/data").splitlines() == ["image,file,value", "0,,1.0"]
