"""Losses and metrics of labels, values and grades, against scikit-learn and the published formulas."""

import numpy as np
import pytest
import sklearn.metrics
import torch

from maekit.classification.targets.losses import (
    OrderedThresholds,
    asymmetric_loss,
    binary_loss,
    grade_loss,
    predicted_grades,
)
from maekit.classification.targets.metrics import GradeMetrics, LabelMetrics, ValueMetrics, _Rows, label_scores


def _filled(metrics: _Rows, predicted: torch.Tensor, truth: torch.Tensor) -> _Rows:
    """Fills metrics in uneven batches, out of order and with padding."""
    order = torch.randperm(len(truth), generator=torch.Generator().manual_seed(1))
    for part in (order[:7], order[7:20], order[20:]):
        index = torch.cat([part, torch.tensor([-1])])
        metrics.update(predicted[index], truth[index], index)
    return metrics


def test_labels_are_measured_as_scikit_learn_does() -> None:
    generator = torch.Generator().manual_seed(0)
    truth = (torch.rand(60, 5, generator=generator) < 0.3).double()
    predicted = ((truth + torch.rand(60, 5, generator=generator)) / 2 * 20).round() / 20  # with ties
    truth[:, 4] = 0
    found = _filled(LabelMetrics(0.5), predicted, truth).compute()
    y, p = truth.numpy().astype(int)[:, :4], predicted.numpy()[:, :4]
    assert found["map"].item() == pytest.approx(
        sklearn.metrics.average_precision_score(y, p, average="macro"), abs=1e-6
    )
    assert found["auroc"].item() == pytest.approx(sklearn.metrics.roc_auc_score(y, p, average="macro"), abs=1e-6)
    assert found["f1_macro"].item() == pytest.approx(sklearn.metrics.f1_score(y, p >= 0.5, average="macro"), abs=1e-6)


def test_a_threshold_is_tuned_on_images_that_are_not_measured() -> None:
    truth = torch.tensor([[1.0], [0.0]]).repeat(20, 1)
    metrics = _filled(LabelMetrics(), truth * 0.2 + 0.1, truth)
    found, scores = metrics.compute(), label_scores(*metrics.of_all()[:2], None)
    assert 0.1 < found["threshold"] == scores.threshold <= 0.3
    assert (found["f1_macro"], scores.macro, scores.tuned_on, scores.measured_on) == (1, 1, 20, 20)


def test_values_and_grades_are_measured_as_scikit_learn_does() -> None:
    rng = np.random.default_rng(0)
    truth, predicted = rng.normal(5, 3, (50, 2)), rng.normal(5, 3, (50, 2))
    found = _filled(ValueMetrics(("a", "b")), torch.tensor(predicted), torch.tensor(truth)).compute()
    assert found["mae"].item() == pytest.approx(sklearn.metrics.mean_absolute_error(truth, predicted), abs=1e-6)
    assert found["r2"].item() == pytest.approx(sklearn.metrics.r2_score(truth, predicted), abs=1e-6)
    assert found["rmse_b"].item() == pytest.approx(np.sqrt(np.mean((truth - predicted)[:, 1] ** 2)), abs=1e-6)
    y, p = rng.integers(0, 4, (50, 1)), rng.integers(0, 4, (50, 1))
    graded = _filled(GradeMetrics(), torch.tensor(p), torch.tensor(y)).compute()
    assert graded["kappa"].item() == pytest.approx(
        sklearn.metrics.cohen_kappa_score(y, p, weights="quadratic"), abs=1e-9
    )


def test_losses_are_the_published_ones() -> None:
    logits, labels = torch.tensor([[2.0, -1.0, 40.0]]), torch.tensor([[1.0, 0.0, 0.0]])
    p = 1 / (1 + np.exp(1.0)) - 0.05
    expected = -(np.log(1 / (1 + np.exp(-2.0))) + p**4 * np.log(1 - p) + 0.95**4 * np.log(0.05)) / 3
    assert asymmetric_loss(logits, labels).item() == pytest.approx(expected, rel=1e-5)
    assert asymmetric_loss(logits, labels, 0, 0, 0)[None].isfinite().all()
    plain = asymmetric_loss(logits[:, :2], labels[:, :2], 0, 0, 0)
    assert plain.item() == pytest.approx(binary_loss(logits[:, :2], labels[:, :2]).item(), rel=1e-6)


def test_thresholds_of_grades_never_cross() -> None:
    thresholds = OrderedThresholds(5)
    torch.nn.init.normal_(thresholds.steps, std=5)
    logits = thresholds(torch.linspace(-20, 20, 9)[:, None])
    assert (logits.diff(dim=1) <= 0).all()
    assert predicted_grades(OrderedThresholds(5)(torch.tensor([[-9.0], [0.1], [9.0]]))).tolist() == [0, 2, 4]
    assert grade_loss(torch.zeros(2, 4), torch.tensor([0, 4])).item() == pytest.approx(np.log(2))
