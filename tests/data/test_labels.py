"""What a listing says of its images, as a batch has it: classes, several labels, or values."""

from pathlib import Path

import numpy as np
import pytest
import torch

from maekit.data.folders.listing import Listing, Names
from maekit.data.images.batch import Sample, collate_images

LABELS: dict[str, np.ndarray] = {
    "classes": np.array([2, 0, 1], dtype=np.int32),
    "labels": np.array([[1, 0], [0, 0], [1, 1]], dtype=np.uint8),
    "values": np.array([[1.5], [-2.0], [1e6]], dtype=np.float32),
}


def listing(labels: np.ndarray, weights: np.ndarray | None = None) -> Listing:
    return Listing(Path("x"), ("a", "b", "c"), Names(["1.png", "2.png", "3.png"]), labels, weights=weights)


@pytest.mark.parametrize(
    ("kind", "dtype"), [("classes", torch.int64), ("labels", torch.float32), ("values", torch.float32)]
)
def test_a_batch_has_the_labels_of_its_images(kind: str, dtype: torch.dtype) -> None:
    found = listing(LABELS[kind])
    samples: list[Sample] = [(torch.zeros(3, 2, 2), found.label(index), index) for index in (2, 0)]
    label = collate_images(samples).label
    assert label.dtype == dtype
    assert label.numpy().tolist() == LABELS[kind][[2, 0]].tolist()


@pytest.mark.parametrize("kind", LABELS)
def test_other_labels_or_weights_are_other_data(kind: str) -> None:
    weights = np.array([1, 2, 3], dtype=np.float32)
    all_of_them = [
        listing(LABELS[kind]),
        listing(LABELS[kind][::-1]),
        listing(LABELS[kind], weights),
        listing(LABELS[kind], weights[::-1]),
    ]
    assert len({found.identity().fingerprint for found in all_of_them}) == len(all_of_them)
    some = listing(LABELS[kind], weights).take([2, 1])
    assert some.weights is not None
    assert some.weights.tolist() == [3, 2]
    assert some.labels.tolist() == LABELS[kind][[2, 1]].tolist()
