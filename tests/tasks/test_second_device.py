"""Every task on a device that is not the CPU (tests/stand_in.py): nothing mixes devices, and the numbers are the CPU's.

`WAITS` has how often a batch makes the device wait; `benchmarks/host_reads.py` prints the whole table.
"""

import copy
import csv
import json
import math
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from lightning.fabric.utilities import move_data_to_device
from PIL import Image
from torch import Tensor, nn

import maekit
from maekit.base.data import TransferData
from maekit.base.model import TransferModel
from maekit.base.predict_options import PredictOptions
from maekit.base.spec import Draw
from maekit.classification.cached_features import cache_features
from maekit.features.attention_maps import PatchColours
from maekit.features.neighbours.knn import knn_scores, top_k_accuracy
from maekit.pretraining.model import Pretrainer
from maekit.recipes.tasks import shipped_tasks
from maekit.segmentation.windows import predict_labels
from maekit.system.size import HeightWidth
from tests.stand_in import DEVICE, Waits, stand_in, to_device, to_host

ALL = [task.name for task in shipped_tasks()]
TRAINED = [task.name for task in shipped_tasks() if not task.load().Model.evaluates_only]
DETECTION = "coco_maskrcnn"
# Waits of a device: training losses of a batch and their gradients; the metrics of a batch of two images; the metrics'
# `compute`. What is not named has none. Of detection's only the copies of each image's masks grow with the batch: see
# tests/detection/test_host_reads.py.
WAITS: dict[str, dict[str, dict[str, int]]] = {
    "train": {"coco_maskrcnn": {"nonzero": 1, "to_cpu": 1}},
    "update": {"coco_maskrcnn": {"nonzero": 3, "to_cpu": 4}},
    "compute": {
        "ade20k_linear": {"to_cpu": 1},
        "ade20k_upernet": {"to_cpu": 1},
        "imagenet_robustness": {"to_cpu": 1, "to_device": 1},
        "multilabel_finetune": {"to_cpu": 2},
        "regression_finetune": {"to_cpu": 2},
        "ordinal_finetune": {"to_cpu": 2},
    },
}


class Built(NamedTuple):
    """A task at smoke size, with random weights, on the CPU."""

    model: TransferModel
    data: TransferData


@cache
def built(task: str) -> Built:
    given = {"model.weights": "none", "data.num_workers": 0, "model.backbone": "vit_smoke_patch8"}
    session = maekit.build(task, "smoke", given)
    if isinstance(session.model, Pretrainer):
        session.model.probe_images = 60
    return Built(session.model, session.data)


def evaluated(task: str) -> Any:
    """The first two validation images, the second of them as padding where the task allows for it."""
    data, images = built(task).data, built(task).data.val_dataset()
    return data.collate([images[Draw(0, 0)], images[Draw(0, 1)], images[Draw(0, -1)]])


def moved(model: TransferModel, batch: Any) -> Any:
    """A batch as `TransferModule` gives it to the model."""
    kept = {name: getattr(batch, name) for name in model.on_host if name in batch._fields}
    return to_device(batch)._replace(**kept)


def on_device(task: str) -> TransferModel:
    return to_device(copy.deepcopy(built(task).model))


def step(model: TransferModel, batch: Any) -> tuple[dict[str, Tensor], list[Tensor]]:
    """Losses and gradients of a batch."""
    torch.manual_seed(0)
    model.train().zero_grad()
    losses = model.training_losses(model.drawn(batch))
    losses["loss"].backward()  # type: ignore[no-untyped-call]
    return {name: loss.detach() for name, loss in losses.items()}, [
        p.grad for p in model.parameters() if p.grad is not None
    ]


@pytest.mark.parametrize("task", TRAINED)
def test_training_losses_and_gradients(task: str) -> None:
    data = built(task).data
    images = data.train_dataset(0)
    batch = data.collate([images[Draw(0, index)] for index in range(2)])
    losses, expected = step(copy.deepcopy(built(task).model), batch)
    with stand_in(lines=True) as waits:
        model, there = on_device(task), moved(built(task).model, batch)
        waits.reset()
        found, got = step(model, there)
        assert dict(waits.counts) == WAITS["train"].get(task, {}), waits.lines
        found, got = to_host(found), to_host(got)
    if task == DETECTION:  # which draws other regions there; tests/detection/test_host_reads.py compares the same ones
        assert all(value.isfinite().all() for value in (*found.values(), *got))
        return
    torch.testing.assert_close(found, losses, rtol=1e-4, atol=1e-5)
    largest = max(float(one.abs().max()) for one in expected)  # gradients that are zero but for rounding differ
    for one, other in zip(got, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4 * largest)


@pytest.mark.parametrize("task", ALL)
def test_evaluation(task: str) -> None:
    batch, model = evaluated(task), built(task).model.eval()
    with torch.no_grad():
        metrics = measure(model, batch)
        values, table, results = metrics.compute(), model.table(metrics), model.results(metrics)
        with stand_in(lines=True) as waits:
            there, batch = on_device(task), moved(model, batch)
            found: Any = to_device(there.new_metrics())
            waits.reset()
            there.update_metrics(found, batch)
            check_waits(waits, "update", task)
            computed = found.compute()
            check_waits(waits, "compute", task)
            shown = there.table(found), there.results(found)
            assert waits.total <= 4, waits.lines
            computed = to_host(computed)
    torch.testing.assert_close(computed, values, rtol=1e-4, atol=1e-4, equal_nan=True)
    if task != DETECTION:
        assert shown[0] == table
        assert json.dumps(shown[1]) == json.dumps(results)


def check_waits(waits: Waits, what: str, task: str) -> None:
    assert dict(waits.counts) == WAITS[what].get(task, {}), waits.lines
    waits.reset()


def measure(model: TransferModel, batch: Any) -> Any:
    metrics = model.new_metrics()
    model.update_metrics(metrics, batch)
    return metrics


@pytest.mark.parametrize("task", ALL)
def test_what_is_shown(task: str, tmp_path: Path) -> None:
    """Scores of images, pictures and the files of `maekit predict`."""
    batch, model, data = evaluated(task), built(task).model.eval(), built(task).data
    with torch.no_grad():
        expected, judged = list(drawn(model, data)), scores(model, batch)
        written = predicted(model, data, tmp_path / "cpu", torch.device("cpu"))
        with stand_in():
            there = on_device(task)
            found, scored = list(drawn(there, data)), scores(there, moved(model, batch))
            files = predicted(there, data, tmp_path / "device", DEVICE)
    np.testing.assert_allclose(scored, judged, rtol=1e-3, atol=1e-3)
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        assert_alike(one, other)
    assert files.keys() == written.keys()
    for name, file in files.items():
        if file.suffix == ".png":
            assert_alike(Image.open(file), Image.open(written[name]))
        elif file.suffix == ".csv":
            assert_same_rows(file, written[name])


def drawn(model: TransferModel, data: TransferData) -> Iterator[Image.Image]:
    shown = model.shown()
    picture = shown.picture(data)
    if picture is not None:
        yield picture
    if shown.score is not None:
        yield shown.example_picture(data, 0)


def scores(model: TransferModel, batch: Any) -> list[float]:
    shown = model.shown()
    return [one.score for one in shown.judge(batch)] if shown.score is not None else []


def predicted(model: TransferModel, data: TransferData, folder: Path, device: torch.device) -> dict[str, Path]:
    """What `maekit predict` writes of two images, by name."""
    folder.mkdir()
    shown = model.shown()
    predictor, writer = shown.predictor(data.input_transform()), shown.prediction_writer(folder, PredictOptions())
    noise = np.random.default_rng(0).integers(0, 255, (2, 40, 50, 3), dtype=np.uint8)
    samples = [predictor.prepare(Image.fromarray(image)) for image in noise]
    for name, sample, found in zip("ab", samples, predictor.predict(samples, device), strict=True):
        writer.write(Path(f"/images/{name}.jpg"), sample.picture, found)
    writer.close()
    return {str(file.relative_to(folder)): file for file in folder.rglob("*") if file.is_file()}


def assert_alike(one: Image.Image, other: Image.Image) -> None:
    """Asserts that pictures are the same but for rounding: one pixel in a hundred may differ."""
    a, b = (np.asarray(image.convert("RGB")).astype(int) for image in (one, other))
    assert a.shape == b.shape
    assert (abs(a - b) > 2).mean() < 0.01


def assert_same_rows(file: Path, other: Path) -> None:
    for row, expected in zip(*(csv.reader(path.read_text().splitlines()) for path in (file, other)), strict=True):
        for cell, wanted in zip(row, expected, strict=True):
            assert cell == wanted or math.isclose(float(cell), float(wanted), rel_tol=1e-3, abs_tol=1e-3)


def test_the_probe_beside_a_pre_training() -> None:
    model, data = built("mae_pretrain")
    expected = model.eval().side_metrics(data)
    with stand_in() as waits:
        found = on_device("mae_pretrain").eval().side_metrics(data)
        assert waits.counts.keys() == {"to_cpu"}
        assert waits.total == 2  # a batch of training images, one of validation images
    assert found == pytest.approx(expected, abs=2)


def test_cached_features_of_a_linear_probe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, data = built("imagenet_linprobe")
    backbone = copy.deepcopy(model.backbone).eval()

    def pool(images: Tensor) -> Tensor:
        return backbone.pool(backbone(images).tokens, "class")

    monkeypatch.setattr(type(data), "plain_train_dataset", type(data).val_dataset)
    found = {}
    for place in (torch.device("cpu"), DEVICE):
        monkeypatch.setenv("MAEKIT_CACHE", str(tmp_path / place.type))
        with stand_in():
            found[place] = cache_features(backbone, pool, data, place, width=backbone.embed_dim).val_dataset().features
    first, second = found.values()
    np.testing.assert_allclose(first, second, rtol=1e-4, atol=1e-4)


def test_sliding_windows_at_scales_and_mirrored() -> None:
    generator = torch.Generator().manual_seed(0)
    image, weight = torch.randn(3, 70, 50, generator=generator), torch.randn(4, 3, 3, 3, generator=generator)
    numbers: dict[str, Any] = {"size": HeightWidth(90, 65), "num_classes": 4, "batch": 2, "strip_values": 5000}
    numbers |= {"window": HeightWidth(32, 32), "stride": HeightWidth(20, 20), "scales": (0.75, 1.0), "flip": True}

    def labels(image: Tensor, weight: Tensor) -> Tensor:
        return predict_labels(lambda x: nn.functional.conv2d(x, weight, padding=1), image, **numbers)

    expected = labels(image, weight)
    with stand_in(lines=True) as waits:
        found = labels(*to_device((image, weight)))
        assert waits.total == 0, waits.lines
        assert (to_host(found) == expected).float().mean() > 0.999


def test_neighbours_and_patch_colours() -> None:
    features, labels = torch.randn(40, 8, generator=torch.Generator().manual_seed(0)), torch.arange(40) % 5
    expected = knn_scores(features, features, labels, num_classes=5, neighbours=3, exclude_self=True, batch=16)
    with stand_in(lines=True) as waits:
        there = to_device(features)
        found = knn_scores(there, features, labels, num_classes=5, neighbours=3, exclude_self=True, batch=16)
        assert waits.counts == {"scalar": 2, "to_device": 1}, waits.lines  # finite? twice; the labels
        assert top_k_accuracy(found, labels, 1) == pytest.approx(top_k_accuracy(expected, labels, 1))
        colours = PatchColours()
        colours.add(there)
        assert colours.colours(there).device == DEVICE
        torch.testing.assert_close(to_host(found), expected)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("task", [task for task in ALL if task != DETECTION])
def test_a_gpu_is_not_waited_for(task: str) -> None:
    """The second time: the first one loads kernels."""
    cuda, (model, data) = torch.device("cuda"), built(task)
    there = copy.deepcopy(model).to(cuda)
    metrics: Any = there.new_metrics().to(cuda)
    images = None if model.evaluates_only else data.train_dataset(0)
    try:
        for mode in ("default", "error"):
            torch.cuda.set_sync_debug_mode("default")
            batch, val = (on_gpu(model, data, found) for found in (images or data.val_dataset(), data.val_dataset()))
            torch.cuda.set_sync_debug_mode(mode)
            if images is not None:
                step(there, batch)
            with torch.no_grad():
                there.eval().update_metrics(metrics, val)
    finally:
        torch.cuda.set_sync_debug_mode("default")


def on_gpu(model: TransferModel, data: TransferData, images: Any) -> Any:
    batch = data.collate([images[Draw(0, index)] for index in range(2)])
    kept = {name: getattr(batch, name) for name in model.on_host if name in batch._fields}
    return move_data_to_device(batch, torch.device("cuda"))._replace(**kept)
