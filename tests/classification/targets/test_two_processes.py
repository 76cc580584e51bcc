"""Metrics of other targets on two processes with uneven shares of the images are those of scikit-learn on all."""

import json
from pathlib import Path
from typing import Any

import pytest
import sklearn.metrics
import torch
import torch.distributed as dist
from torch import Tensor
from torch.multiprocessing.spawn import start_processes

from maekit.classification.targets.label_results import labels_json
from maekit.classification.targets.metrics import GradeMetrics, LabelMetrics, ValueMetrics, label_scores

IMAGES, LABELS = 101, 5
SHARES = (torch.arange(0, IMAGES, 3), torch.tensor([i for i in range(IMAGES) if i % 3]))  # 34 and 67 images
NAMES = tuple("abcde")


def rows() -> tuple[Tensor, Tensor, Tensor]:
    """Probabilities and labels of images, and values that are near them."""
    generator = torch.Generator().manual_seed(0)
    truth = (torch.rand(IMAGES, LABELS, generator=generator) < 0.4).float()
    noise = torch.randn(IMAGES, LABELS, generator=generator)
    return (2 * truth - 1 + noise).sigmoid(), truth, 7 * truth + noise


def rank(number: int, folder: str) -> None:
    """Measures one share, with padding, and writes what all processes together found."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=number, world_size=2)
    probabilities, truth, values = rows()
    index = torch.cat([SHARES[number], torch.tensor([-1])])
    labels, numbers, grades = LabelMetrics(0.5), ValueMetrics(NAMES), GradeMetrics()
    labels.update(probabilities[index], truth[index], index)
    numbers.update(values[index], truth[index], index)
    grades.update((values[index, :1] > 3).long(), truth[index, :1], index)
    found = {name: value.item() for name, value in labels.compute().items()}
    found |= {f"value_{name}": value.item() for name, value in numbers.compute().items()}
    found |= {f"grade_{name}": value.item() for name, value in grades.compute().items()}
    predicted, real, places = labels.of_all()
    rows_of = labels_json(NAMES, predicted, real, label_scores(predicted, real, 0.5))["labels"]
    said = {"found": found, "ap": [row["ap"] for row in rows_of], "places": places.tolist(), "own": len(labels.rows)}
    Path(folder, f"{number}.json").write_text(json.dumps(said))
    dist.destroy_process_group()


def test_two_processes_find_scikit_learns_numbers(tmp_path: Path) -> None:
    start: Any = start_processes
    context = start(rank, args=(str(tmp_path),), nprocs=2, join=False, start_method="fork")
    try:
        assert context.join(timeout=60) or context.join(timeout=60), "the processes did not end"
    finally:
        for process in context.processes:
            process.kill()
    probabilities, truth, values = (part.double().numpy() for part in rows())
    metrics: Any = sklearn.metrics
    ap = metrics.average_precision_score(truth, probabilities, average=None)
    for number in range(2):
        said = json.loads((tmp_path / f"{number}.json").read_text())
        found = said["found"]
        assert said["places"] == list(range(IMAGES))
        assert said["own"] == 1, "the joined state must not stay, or it counts twice"
        assert said["ap"] == pytest.approx(ap.tolist(), abs=1e-6)
        assert found["map"] == pytest.approx(ap.mean(), abs=1e-6)
        assert found["auroc"] == pytest.approx(metrics.roc_auc_score(truth, probabilities), abs=1e-6)
        assert found["value_mae"] == pytest.approx(metrics.mean_absolute_error(truth, values), abs=1e-6)
        assert found["value_r2"] == pytest.approx(metrics.r2_score(truth, values), abs=1e-6)
        grades = values[:, 0] > 3
        expected = metrics.cohen_kappa_score(truth[:, 0].astype(int), grades.astype(int), weights="quadratic")
        assert found["grade_kappa"] == pytest.approx(expected, abs=1e-6)
