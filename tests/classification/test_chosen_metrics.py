"""Metrics beyond top-1: equal to scikit-learn's and torchmetrics', and chosen by a list that is checked."""

from pathlib import Path

import pytest
import torch
from sklearn.metrics import balanced_accuracy_score, cohen_kappa_score, f1_score, roc_auc_score
from torch import Tensor
from torchmetrics.functional.classification import multiclass_calibration_error

import maekit
from maekit.classification.chosen_metrics import METRICS, ChosenMetrics, metric_names, monitored_metric
from maekit.errors import UserError
from maekit.runs.read import Run
from tests.helpers_run import tiny

LIST = "balanced_accuracy,top1,macro_f1,auroc,kappa,calibration_error"


def outputs(num_images: int = 211, absent: int | None = None) -> tuple[Tensor, Tensor]:
    """Logits [n, 6] that are right more often than not, and labels, none of them `absent`."""
    generator = torch.Generator().manual_seed(3)
    labels = torch.randint(6, (num_images,), generator=generator)
    labels[labels == absent] = 0
    logits = torch.randn(num_images, 6, generator=generator)
    logits[torch.arange(num_images), labels] += 1.5
    return logits, labels


def values_of(logits: Tensor, labels: Tensor) -> dict[str, float]:
    metrics = ChosenMetrics([*METRICS])
    metrics.update(logits, labels, torch.arange(len(labels)))
    return {name: value.item() for name, value in metrics.compute().items()}


@pytest.mark.parametrize("absent", [None, 4])
@pytest.mark.filterwarnings("ignore:y_pred contains classes not in y_true")
def test_values_equal_sklearns(absent: int | None) -> None:
    logits, labels = outputs(absent=absent)
    found, shares = values_of(logits, labels), logits.softmax(1)
    best = shares.argmax(1)
    areas = [roc_auc_score(labels == label, shares[:, label]) for label in sorted(set(labels.tolist()))]
    peers = {
        "balanced_accuracy": 100 * balanced_accuracy_score(labels, best),
        "macro_f1": f1_score(labels, best, average="macro"),
        "auroc": sum(areas) / len(areas),
        "kappa": cohen_kappa_score(labels, best, weights="quadratic"),
        "calibration_error": multiclass_calibration_error(shares, labels, 6, n_bins=15).item(),
    }
    assert {name: found[name] for name in peers} == pytest.approx(peers, abs=1e-6)
    assert list(found) == [*METRICS, "loss"]


def test_what_is_not_defined_is_nan() -> None:
    logits = torch.zeros(3, 4)
    logits[:, 2] = 1
    found = values_of(logits, torch.full((3,), 2))
    assert found["auroc"] != found["auroc"] and found["kappa"] != found["kappa"]
    assert found["balanced_accuracy"] == 100 and found["macro_f1"] == 1


def test_certain_predictions_lie_in_the_last_bin() -> None:
    metrics = ChosenMetrics(["calibration_error"])
    metrics.update(torch.tensor([[99.0, -99.0], [99.0, -99.0]]), torch.tensor([0, 1]), torch.arange(2))
    last = metrics.reliability()[-1]
    assert (last.images, last.confidence, last.accuracy) == (2, 1.0, 0.5)
    assert metrics.compute()["calibration_error"] == 0.5


def test_a_list_is_checked_with_the_nearest_name() -> None:
    assert metric_names(None) == metric_names("top1,top5") == metric_names(["top1", "top5", "top1"])
    with pytest.raises(UserError, match=r"'ballanced_accuracy'.*did you mean 'balanced_accuracy'"):
        metric_names(["top1", "ballanced_accuracy"])
    assert monitored_metric(None, ("kappa", "top1")) == ("kappa", "max")
    assert monitored_metric("calibration_error", ("top1", "calibration_error")) == ("calibration_error", "min")
    assert monitored_metric("loss", ("top1",)) == ("loss", "min")
    with pytest.raises(UserError, match=r"kappa.*measured: top1, top5, loss; add it to --model.metrics"):
        monitored_metric("kappa", ("top1", "top5"))


def test_a_run_is_judged_by_the_metric_that_is_asked_for(tmp_path: Path) -> None:
    """It is in metrics.json and chooses best.ckpt; a resume by another one, of which no best is known, is refused."""
    asked = {"model__metrics": LIST, "model__monitor": "macro_f1"}
    session = tiny(tmp_path, **asked, trainer__max_steps=2, run__stop_at_step=1)
    folder = Path(session.fit()["folder"])
    run = Run(folder)
    assert list(run.val) == [*LIST.split(","), "loss"]
    assert run.monitor == ("macro_f1", "max") and run.best.value == pytest.approx(run.val["macro_f1"])
    assert (folder / "reliability.json").is_file()
    rows = run.rows("val")
    assert set(LIST.split(",")) <= set(rows[-1])
    other: maekit.Session = tiny(tmp_path, model__metrics=LIST, trainer__max_steps=2)
    with pytest.raises(UserError, match=r"balanced_accuracy.*expected macro_f1"):
        other.fit(folder)
