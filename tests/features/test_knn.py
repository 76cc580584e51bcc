"""Nearest neighbours and the linear probe, against scikit-learn."""

from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from maekit.errors import UserError
from maekit.features.neighbours import knn
from maekit.features.neighbours.knn import knn_scores, nearest_neighbours, top_k_accuracy
from maekit.features.neighbours.probe import linear_probe_accuracy
from tests.numeric import assert_fp32, assert_fp32_function

pytestmark = pytest.mark.numeric


def blobs(seed: int, count: int = 90, classes: int = 4) -> tuple[Tensor, Tensor]:
    """Points [N, 6] around one direction a class, so near each other that neighbours disagree."""
    draws = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % classes
    centres = torch.randn(classes, 6, generator=torch.Generator().manual_seed(9))
    return centres[labels] + torch.randn(count, 6, generator=draws) * 1.2, labels


def peer(bank: Tensor, labels: Tensor, neighbours: int, temperature: float | None) -> KNeighborsClassifier:
    weights: str | Callable[[np.ndarray], np.ndarray] = "uniform"
    if temperature is not None:
        weights = lambda distance: np.exp((1 - distance) / temperature)  # noqa: E731
    model = KNeighborsClassifier(neighbours, metric="cosine", algorithm="brute", weights=weights)
    return model.fit(bank.double().numpy(), labels.numpy())


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("temperature", [0.07, 0.5, None])
@pytest.mark.parametrize("rows", [13, 16384])
def test_scores_are_those_of_scikit_learn(
    temperature: float | None, rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(knn, "BANK_ROWS", rows)  # in parts of 13 the nearest lie in several
    bank, labels = blobs(0)
    queries, _ = blobs(1, 31)
    expected = peer(bank, labels, 7, temperature).predict_proba(queries.numpy())

    def scores(asked: Tensor) -> Tensor:
        return knn_scores(asked, bank, labels, num_classes=4, neighbours=7, temperature=temperature, batch=8)

    assert_fp32_function(scores, [queries], torch.from_numpy(expected))


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("rows", [13, 16384])
def test_leave_one_out_is_a_search_without_the_row_itself(rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(knn, "BANK_ROWS", rows)
    bank, labels = blobs(2, 40)
    found = knn_scores(bank, bank, labels, num_classes=4, neighbours=5, exclude_self=True, batch=7)
    for row in range(len(bank)):
        rest = torch.arange(len(bank)) != row
        alone = partial(knn_scores, bank=bank[rest], labels=labels[rest], num_classes=4, neighbours=5)
        assert_fp32_function(alone, [bank[row : row + 1]], found[row : row + 1].double())


def test_a_tiny_temperature_is_the_nearest_neighbour_and_overflows_nothing() -> None:
    bank, labels = blobs(0)
    queries, _ = blobs(1, 31)
    found = knn_scores(queries, bank, labels, num_classes=4, neighbours=9, temperature=1e-4)
    nearest = peer(bank, labels, 1, None).predict(queries.double().numpy())
    assert found.isfinite().all()
    assert found.argmax(dim=1).tolist() == nearest.tolist()


@pytest.mark.usefixtures("float64")
def test_neighbours_are_sorted_and_of_half_precision_too() -> None:
    bank, _ = blobs(0)
    found = nearest_neighbours(bank.half(), bank.half(), 3)
    assert found.rows[:, 0].tolist() == list(range(len(bank)))
    assert_fp32(found.similarity[:, 0], torch.ones(len(bank)))
    assert (found.similarity.diff(dim=1) <= 0).all()


def test_top_k_counts_a_class_only_if_it_has_a_vote() -> None:
    scores = torch.tensor([[0.5, 0.5, 0.0], [0.2, 0.8, 0.0], [0.0, 0.0, 1.0]])
    assert top_k_accuracy(scores, torch.tensor([1, 1, 0]), 1) == pytest.approx(1 / 3)  # a tie goes to class 0
    assert top_k_accuracy(scores, torch.tensor([1, 0, 0]), 2) == pytest.approx(2 / 3)
    assert top_k_accuracy(scores, torch.tensor([2, 2, 0]), 3) == 0


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"neighbours": 91}, "neighbours: got 91, expected 1 to 90"),
        ({"neighbours": 90, "exclude_self": True}, "expected 1 to 89, as many others"),
        ({"neighbours": 0}, "got 0, expected 1 to 90"),
        ({"temperature": 0.0}, "temperature: got 0.0, expected above 0"),
        ({"queries": torch.zeros(3, 5)}, r"queries \[3, 5\] and a bank \[90, 6\]"),
        ({"queries": torch.full((3, 6), torch.nan)}, "NaN or infinite features in the queries"),
        ({"bank": torch.full((90, 6), torch.inf)}, "NaN or infinite features in the bank"),
    ],
)
def test_what_cannot_be_searched_is_refused(change: dict[str, object], expected: str) -> None:
    bank, labels = blobs(0)
    given = {"queries": bank, "bank": bank, "labels": labels, "num_classes": 4, "neighbours": 3, **change}
    with pytest.raises(UserError, match=expected) as caught:
        knn_scores(**given)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)


def test_the_linear_probe_is_scikit_learns_pipeline() -> None:
    train, labels = blobs(3, 200)
    val, val_labels = blobs(4, 150)
    train[:, 2] = 5  # constant: it may not be divided by its spread
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=200)).fit(train.double().numpy(), labels)
    expected = model.score(val.double().numpy(), val_labels.numpy())
    assert 0.3 < expected < 0.9
    assert linear_probe_accuracy(train, labels, val, val_labels) == expected


@pytest.mark.parametrize(
    ("train", "labels", "expected"),
    [
        (torch.zeros(4, 6), torch.zeros(4, dtype=torch.int64), "of one class"),
        (torch.zeros(4, 5), torch.arange(4), r"\[4, 5\] and \[90, 6\]"),
        (torch.zeros(4, 6), torch.arange(3), "with 3 and 90 labels"),
        (torch.full((4, 6), torch.nan), torch.arange(4), "training features are NaN"),
        (torch.zeros(0, 6), torch.arange(0), "of one image or more"),
    ],
)
def test_what_cannot_be_probed_is_refused(train: Tensor, labels: Tensor, expected: str) -> None:
    with pytest.raises(UserError, match=expected):
        linear_probe_accuracy(train, labels, *blobs(0))
