"""A linear classifier on features that are there already: how well classes can be told apart by a hyperplane."""

import warnings

import numpy as np
import torch
from torch import Tensor

from maekit.errors import UserError


def linear_probe_accuracy(train: Tensor, train_labels: Tensor, val: Tensor, val_labels: Tensor) -> float:
    """Returns the accuracy, 0 to 1, on `val` of a multinomial logistic regression fitted to `train`.

    Features are standardised with the training features' means and standard deviations; scikit-learn's L-BFGS with
    C = 1 and at most 200 iterations then fits in double precision, the same on every call.

    Args:
        train: [N, D], of any floating type and on any device.
        train_labels: [N] int64, of two classes or more.
        val: [M, D].
        val_labels: [M] int64.

    Raises:
        UserError: there are fewer than two classes, widths or counts differ, or a feature is not finite.
    """
    from sklearn.linear_model import LogisticRegression

    x, y = _features(train, "training"), train_labels.cpu().numpy()
    x_val, y_val = _features(val, "validation"), val_labels.cpu().numpy()
    if (len(x), len(x_val), x.shape[1]) != (len(y), len(y_val), x_val.shape[1]):
        raise UserError(
            f"linear probe: got features {list(x.shape)} and {list(x_val.shape)} with {len(y)} and {len(y_val)} labels,"
            " expected one width and a label each; embed both folders with the same settings"
        )
    if len(np.unique(y)) < 2:
        raise UserError("linear probe: got training features of one class, expected two or more; add other classes")
    mean, std = x.mean(axis=0), x.std(axis=0)
    std[std == 0] = 1
    model = LogisticRegression(C=1.0, solver="lbfgs", max_iter=200)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # 200 iterations are the measure's definition, converged or not
        model.fit((x - mean) / std, y)
    return float(np.mean(model.predict((x_val - mean) / std) == y_val))


def _features(given: Tensor, which: str) -> np.ndarray:
    if given.ndim != 2 or not len(given):
        raise UserError(f"linear probe: got {which} features {list(given.shape)}, expected [N, D] of one image or more")
    if not given.isfinite().all():
        raise UserError(
            f"linear probe: {which} features are NaN or infinite; check the weights, and lower the learning rate if "
            "they are being trained"
        )
    features: np.ndarray = given.detach().to("cpu", torch.float64).numpy()
    return features
