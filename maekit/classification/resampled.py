"""Metrics of many choices of the same images at once, from what is kept of each image. No torch here.

`counts` [R, n] says how often each of n images is in each of R choices.
"""

import numpy as np
from numpy.typing import NDArray

from maekit.base.evaluation.image_records import Counts, Floats

Ints = NDArray[np.int64]


def class_sums(counts: Counts, pairs: Ints) -> tuple[Floats, Floats, Floats]:
    """Returns [R, C] of each class how often it is true, predicted, and both; `pairs` [n, 2] are true and predicted."""
    size, hit = int(pairs.max()) + 1, pairs[:, 0] == pairs[:, 1]
    parts = [(pairs[:, 0], counts), (pairs[:, 1], counts), (pairs[:, 0], counts * hit)]
    true, predicted, both = (
        np.stack([np.bincount(labels, row, size) for row in weights]).astype(np.float64) for labels, weights in parts
    )
    return true, predicted, both


def balanced_accuracy(counts: Counts, pairs: Ints) -> Floats:
    """Returns the mean recall [R], 0 to 100, over the classes that some image has."""
    true, _, both = class_sums(counts, pairs)
    return 100 * _mean_where(both, true)


def macro_f1(counts: Counts, pairs: Ints) -> Floats:
    """Returns the mean F1 [R], 0..1, over the classes that some image has or is given."""
    true, predicted, both = class_sums(counts, pairs)
    return _mean_where(2 * both, true + predicted)


def quadratic_kappa(counts: Counts, pairs: Ints) -> Floats:
    """Returns Cohen's kappa [R] with quadratic weights; NaN where independent classes would have no distance."""
    true, predicted = pairs.T
    products = np.stack([np.ones_like(true), true, predicted, true**2 + predicted**2, (true - predicted) ** 2], axis=1)
    total, first, second, squares, distance = (counts @ products).T.astype(np.float64)
    expected = squares * total - 2 * first * second
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(expected != 0, 1 - distance * total / expected, np.nan)


def auroc(counts: Counts, scores: Floats, real: NDArray[np.bool_]) -> Floats:
    """Returns the area under the ROC curve [R] of scores [n] for images that have a label [n] or not; NaN of one kind.

    Images of equal scores count as half right.
    """
    order, ends = _groups(scores)
    having = np.add.reduceat(counts[:, order] * real[order], ends[:-1], axis=1).astype(np.float64)
    without = np.add.reduceat(counts[:, order] * ~real[order], ends[:-1], axis=1).astype(np.float64)
    above = without.cumsum(1) - without  # images without the label that have a higher score
    total = having.sum(1) * without.sum(1)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(total > 0, 1 - (having * (above + without / 2)).sum(1) / total, np.nan)


def average_precision(counts: Counts, scores: Floats, real: NDArray[np.bool_]) -> Floats:
    """Returns the average precision [R] of scores [n] for images that have a label [n] or not; NaN where none has."""
    order, ends = _groups(scores)
    having = np.add.reduceat(counts[:, order] * real[order], ends[:-1], axis=1).astype(np.float64)
    every = np.add.reduceat(counts[:, order], ends[:-1], axis=1).cumsum(1)
    precision = having.cumsum(1) / np.maximum(every, 1)
    total = having.sum(1)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(total > 0, (precision * having).sum(1) / total, np.nan)


def mean_over(of_each: list[Floats], size: int) -> Floats:
    """Returns the mean [size] over labels, of each choice those whose value is defined."""
    if not of_each:
        return np.full(size, np.nan)
    values = np.stack(of_each)
    known = ~np.isnan(values)
    with np.errstate(divide="ignore", invalid="ignore"):
        means: Floats = np.where(known, values, 0).sum(0) / known.sum(0)
    return means


def _groups(scores: Floats) -> tuple[Ints, Ints]:
    """Returns the places of scores from high to low, and where groups of equal ones begin, with the end of the last."""
    order = np.argsort(-scores, kind="stable")
    changes = np.flatnonzero(np.diff(scores[order])) + 1
    return order, np.concatenate([[0], changes, [len(scores)]])


def _mean_where(parts: Floats, wholes: Floats) -> Floats:
    """Returns the mean [R] of parts / wholes [R, C] over those whose whole is above 0; NaN where none is."""
    there = wholes > 0
    with np.errstate(divide="ignore", invalid="ignore"):
        shares = np.where(there, parts / np.where(there, wholes, 1), 0)
        means: Floats = shares.sum(1) / there.sum(1)
    return means
