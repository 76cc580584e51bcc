"""Divides images into parts: classes evenly in each, groups whole, whatever order the images are listed in."""

from collections.abc import Iterable, Sequence

import numpy as np

from maekit.data.folders.shares import rank_of
from maekit.errors import UserError
from maekit.system.numbers import plural


def require_pairs(labels: np.ndarray, classes: Sequence[str], where: object) -> None:
    """Refuses a class with one image, which cannot be in training and in validation.

    Raises:
        UserError: with the class.
    """
    lone = np.flatnonzero(np.bincount(labels, minlength=len(classes)) == 1)
    if len(lone):
        raise UserError(
            f"{where}: class '{classes[lone[0]]}' has one image, expected two or more, since each class is to be in "
            "training and in validation; add images, remove the class, or say which images are for validation"
        )


def fold_of_each(
    names: Iterable[str], labels: np.ndarray, count: int, seed: int, groups: Sequence[str] | None = None
) -> np.ndarray:
    """Returns the fold of each image, [n] int64 from 0.

    Each class is spread evenly over the folds, with groups as evenly as whole groups allow (scikit-learn's
    StratifiedKFold and StratifiedGroupKFold). The images are taken in the order of a hash of (seed, name), so the folds
    do not depend on the order of the listing.

    Args:
        names: one an image, each once.
        labels: [n] integers, the classes.
        count: number of folds, 2 or more.
        seed: makes other folds.
        groups: of each image; those of one group are in one fold. None for no groups.

    Raises:
        UserError: there are fewer images, or groups, than folds.
    """
    from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

    ranks = np.array([rank_of(seed, name) for name in names])
    units = len(ranks) if groups is None else len(set(groups))
    if units < count:
        what = "image" if groups is None else "group"
        advice = "take fewer folds" if units > 1 else "one cannot be divided: say which images are for validation"
        raise UserError(f"got {plural(units, what)} for {count} folds, expected as many {what}s or more; {advice}")
    order = ranks.argsort(kind="stable")
    chosen = labels[order]
    if np.bincount(chosen).max() < count:
        chosen = np.zeros_like(chosen)  # all classes are rarer than folds, which scikit-learn refuses
    if groups is None:
        divided = StratifiedKFold(count).split(order, chosen)
    else:
        # it takes groups of equal spread in the order of their names: these names depend on the seed
        wholes = np.array([rank_of(seed, group) for group in groups])
        divided = StratifiedGroupKFold(count).split(order, chosen, wholes[order])
    folds = np.zeros(len(ranks), dtype=np.int64)
    for number, (_, held_out) in enumerate(_quietly(divided)):
        folds[order[held_out]] = number
    return folds


def _quietly(divided: Iterable[tuple[np.ndarray, np.ndarray]]) -> list[tuple[np.ndarray, np.ndarray]]:
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a class of fewer images than folds: the caller says so
        return list(divided)
