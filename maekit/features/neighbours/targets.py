"""What a data set says of the images of features, and how well their neighbours tell labels, values and grades."""

import os
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from maekit.errors import UserError
from maekit.features.files.folder import FeatureFolder

Told = Literal["labels", "values", "grades"]


@dataclass(frozen=True, eq=False)
class Known:
    """The features of images of which a data set says something.

    Attributes:
        folder: of these images alone, in their order.
        targets: [N] int64 classes or grades; or [N, L] float32, 1 for each label that an image has; or [N, V] float32
            values.
        unknown: how many images of the folder the data set does not have.
    """

    folder: FeatureFolder
    targets: Tensor
    unknown: int


def known_images(folder: FeatureFolder, labels: Mapping[str, Any]) -> Known:
    """Returns the features of the images that a data set has, with their labels.

    Args:
        folder: the features.
        labels: of the data set's images by absolute path: `TransferData.image_labels`.

    Raises:
        UserError: it has none of them.
    """
    images = Path(folder.metadata["images"]).resolve()
    paths = [os.path.normpath(images / name) for name in folder.files]
    rows = [row for row, path in enumerate(paths) if path in labels]
    if not rows:
        raise UserError(
            f"{folder.path}: the data have none of its {len(paths):,} images, such as {paths[0]}, expected the same "
            f"paths; the data's are such as {next(iter(labels), 'none')}; embed the data's folder"
        )
    own = np.stack([np.asarray(labels[paths[row]]) for row in rows])
    targets = torch.from_numpy(own.astype(np.int64 if own.ndim == 1 else np.float32))
    whole = len(rows) == len(paths)
    features = folder.features if whole else folder.features[rows]
    part = replace(folder, features=features, files=[folder.files[row] for row in rows])
    return Known(part, targets, len(paths) - len(rows))


def measured(told: Told, predicted: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """Returns how well targets are told, as scikit-learn measures it; NaN where that is not defined.

    Args:
        told: what the targets are: `labels` gives `map`, 0..1, of the labels that some image has, and `auroc` of
            those that some have and some have not; `values` gives `r2`, `mae` and `rmse`, means over the values;
            `grades` gives the quadratic `kappa`, `accuracy`, 0..1, and `mae`, of the nearest grade.
        predicted: [n, N].
        truth: [n, N].
    """
    from sklearn import metrics

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what is not defined is NaN
        if told == "labels":
            counts = truth.sum(0)
            seen, both = np.flatnonzero(counts > 0), np.flatnonzero((counts > 0) & (counts < len(truth)))
            return {
                "map": _of(metrics.average_precision_score, truth, predicted, seen),
                "auroc": _of(metrics.roc_auc_score, truth, predicted, both),
            }
        if told == "values":
            return {
                "r2": float(metrics.r2_score(truth, predicted)),
                "mae": float(metrics.mean_absolute_error(truth, predicted)),
                "rmse": float(np.sqrt(np.square(truth - predicted).mean(0)).mean()),
            }
        grades = np.floor(predicted[:, 0] + 0.5).astype(np.int64)
        true = truth[:, 0].astype(np.int64)
        return {
            "kappa": float(metrics.cohen_kappa_score(true, grades, weights="quadratic")),
            "accuracy": float(np.mean(true == grades)),
            "mae": float(np.abs(true - grades).mean()),
        }


def _of(score: Callable[..., float], truth: np.ndarray, predicted: np.ndarray, labels: np.ndarray) -> float:
    """The mean of a score over some labels."""
    return float(score(truth[:, labels], predicted[:, labels], average="macro")) if len(labels) else float("nan")
