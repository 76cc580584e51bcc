"""Weights of the classes in a classifier's loss: by how rare each class is, or as a file says."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from maekit.base.data import RunData
from maekit.base.spec import DataSpec
from maekit.data.tables.class_weights import file_weights
from maekit.errors import UserError
from maekit.system.terminal import say


class ClassWeights(NamedTuple):
    """What each class counts.

    Attributes:
        values: [C] float32, 0 for a class without training images; their mean over the training images is 1.
        line: the smallest and the largest, for people.
    """

    values: Tensor
    line: str


def class_weights(given: str, spec: DataSpec) -> ClassWeights:
    """Returns the weights that `--model.class_weights` asks for, divided by their mean over the training images.

    `auto` is n / (C n_c) of n images, of which n_c have the class (scikit-learn's `balanced`; King and Zeng, Logistic
    Regression in Rare Events Data, 2001): each class counts as much as any other. Weights of a file keep their ratios.

    Args:
        given: `auto`, or a CSV, JSON or YAML file of class names and weights.
        spec: class names, and how many training images have each; without these counts each counts as one.

    Raises:
        UserError: the file is missing, is of another form, lacks a class or has one that is none of the data's.
    """
    names, counts = spec.class_names, spec.class_counts or (1,) * len(spec.class_names)
    raw = [1 / count if count else 0.0 for count in counts] if given == "auto" else file_weights(Path(given), spec)
    mean = sum(weight * count for weight, count in zip(raw, counts, strict=True)) / sum(counts)
    values = [weight / mean if count else 0.0 for weight, count in zip(raw, counts, strict=True)]
    there = [(value, name) for value, name, count in zip(values, names, counts, strict=True) if count]
    ends = " to ".join(f"{value:.3g} ('{name}')" for value, name in (min(there), max(there)))
    how = "inverse frequency" if given == "auto" else given
    return ClassWeights(torch.tensor(values, dtype=torch.float32), f"class weights {ends}, mean 1 an image, by {how}")


def positive_weights(given: str, spec: DataSpec) -> ClassWeights:
    """Returns what the images that have a label count, beside 1 for those that have not, for each of several labels.

    `auto` is (n - n_c) / n_c of n training images, of which n_c have the label: both sides then count the same (torch's
    BCEWithLogitsLoss, `pos_weight`); it is 1 for a label that no image has. Weights of a file are taken as they are.

    Args:
        given: as for `class_weights`.
        spec: names of the labels, how many training images have each, and how many there are.

    Raises:
        UserError: as `class_weights`.
    """
    if given == "auto":
        values = [(spec.train_images - count) / count if count else 1.0 for count in spec.class_counts]
        values = values or [1.0] * len(spec.class_names)
    else:
        values = file_weights(Path(given), spec)
    pairs = sorted(zip(values, spec.class_names, strict=True))
    ends = " to ".join(f"{value:.3g} ('{name}')" for value, name in (pairs[0], pairs[-1]))
    how = "absent by present images" if given == "auto" else given
    return ClassWeights(torch.tensor(values, dtype=torch.float32), f"images with a label count {ends}, by {how}")


def said_weights(weights: Callable[[str, DataSpec], ClassWeights], given: str, data: RunData, spec: DataSpec) -> Tensor:
    """Returns the weights for a training, and says what they are.

    Args:
        weights: `class_weights` or `positive_weights`.
        given: `auto` or a file.
        data: what is trained on.
        spec: of the model.

    Raises:
        UserError: as `class_weights`, or nobody knows how many images each class has.
    """
    if not spec.class_counts:
        raise UserError(
            f"got --model.class_weights {given} of data that do not say how many images each class has, expected "
            "`class_counts` in the spec of its `Data`; add them, or leave --model.class_weights none"
        )
    values, line = weights(given, spec)
    say(f"loss    {line}")
    if data.sample_weights() is not None:
        say(
            "note    class weights come on top of images that are drawn unevenly (--data.sampling): both favour rare "
            "classes, and one of them is usual"
        )
    return values


def weighted_cross_entropy(logits: Tensor, target: Tensor, weights: Tensor, label_smoothing: float = 0.0) -> Tensor:
    """Returns the weighted mean over images of the cross entropy, the weights those of the images' classes, in fp32.

    An image that mixup made counts as its two classes by their shares. Label smoothing spreads a share of the image's
    loss, weight included, over all classes. The sum is divided by that of the weights, as torch's
    `cross_entropy(weight=)` does: divided by the number of images, the rare images that count 47 times as much
    as others cost accuracy (benchmarks/rare_class.py). So a batch of one class has no weights, and the loss of a
    step depends a little on how it is divided into device batches.

    Args:
        logits: [B, C].
        target: int64 classes [B]; or shares of the classes [B, C], smoothed already, as timm's mixup gives them.
        weights: [C].
        label_smoothing: share in [0, 1).
    """
    log_shares, classes = logits.float().log_softmax(1), logits.shape[1]
    if target.ndim == 1:
        own = F.one_hot(target, classes).to(log_shares.dtype)
    else:
        own = (target.to(log_shares.dtype) - label_smoothing / classes) / (1 - label_smoothing)
    own = own * weights
    spread = own.sum(1, keepdim=True) / classes
    return -((1 - label_smoothing) * own * log_shares + label_smoothing * spread * log_shares).sum() / own.sum()
