"""Weights of the classes in a classifier's loss: by how rare each class is, or as a file says."""

import csv
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
import yaml
from torch import Tensor
from torch.nn import functional as F

from maekit.base.spec import DataSpec
from maekit.data.folders.text import read_text
from maekit.errors import UserError, nearest
from maekit.system.numbers import plural

MAPPINGS = (".json", ".yaml", ".yml")
FORM = "expected one `class,weight` a line (CSV), or a mapping of class to weight (JSON, YAML)"


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


def weighted_cross_entropy(logits: Tensor, target: Tensor, weights: Tensor, label_smoothing: float = 0.0) -> Tensor:
    """Returns the mean over images of the cross entropy times the weight of the image's class, in fp32.

    An image that mixup made counts as its two classes by their shares. Label smoothing spreads a share of the image's
    loss, weight included, over all classes. The sum is divided by the number of images, since the weights' mean is 1:
    so the loss of a step is the same however it is divided over devices. torch's `cross_entropy(weight=)` divides by
    the batch's own weights, which takes them away from a batch of one class.

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
    return -((1 - label_smoothing) * own * log_shares + label_smoothing * spread * log_shares).sum() / len(logits)


def file_weights(file: Path, spec: DataSpec) -> list[float]:
    """Returns the weights of a file in label order; its classes are the data's names or, as folder names, their ids.

    Raises:
        UserError: as `class_weights`.
    """
    if not file.is_file():
        raise UserError(f"model.class_weights: got '{file}', expected auto, none or a file that exists; mend the path")
    found = _pairs(file)
    labels = spec.ids() if set(found) & set(spec.ids()) else spec.class_names
    unknown = next((name for name in found if name not in set(labels)), None)
    if unknown is not None:
        raise UserError(
            f"{file}: '{unknown}' is none of the {len(labels):,} classes of the data{nearest(unknown, labels)}; mend "
            "its name, or remove it"
        )
    missing = next((name for name in labels if name not in found), None)
    if missing is not None:
        raise UserError(
            f"{file}: got no weight for class '{missing}', expected one for each of the {len(labels):,} classes"
            f"{nearest(missing, found)}; add it"
        )
    return [found[name] for name in labels]


def _pairs(file: Path) -> dict[str, float]:
    """The classes of a file and their weights, as far as they are numbers above 0."""
    rows = _rows(file)
    if rows and file.suffix.lower() not in MAPPINGS and _number(rows[0][1]) is None:
        rows = rows[1:]  # a header
    found: dict[str, float] = {}
    for name, text in rows:
        value = _number(text)
        if value is None or not 0 < value < math.inf:
            raise UserError(f"{file}: got '{text}' for class '{name}', expected a weight above 0; mend it")
        if name in found:
            raise UserError(f"{file}: got class '{name}' twice, expected each class once; remove one")
        found[name] = value
    if not found:
        raise UserError(f"{file}: got no weights, {FORM}")
    return found


def _rows(file: Path) -> Sequence[tuple[str, object]]:
    text, ending = read_text(file), file.suffix.lower()
    if ending in MAPPINGS:
        return _mapping(file, text)
    lines = csv.reader(text.splitlines(), delimiter="\t" if ending == ".tsv" else ",")
    cells = [[cell.strip() for cell in line] for line in lines if any(cell.strip() for cell in line)]
    if bad := next((line for line in cells if len(line) != 2), None):
        raise UserError(f"{file}: got a line of {plural(len(bad), 'cell')}, '{','.join(bad)}', {FORM}; mend it")
    return [(name, weight) for name, weight in cells]


def _mapping(file: Path, text: str) -> Sequence[tuple[str, object]]:
    """The pairs of a mapping, as text and with repeats: `no` and `01` are names of classes, too."""
    try:
        if file.suffix.lower() == ".json":
            pairs = json.loads(text, object_pairs_hook=list)
        else:
            node = yaml.compose(text, Loader=yaml.BaseLoader)
            pairs = node.value if isinstance(node, yaml.MappingNode) else None
            pairs = pairs and [(key.value, value.value) for key, value in pairs]
    except (yaml.YAMLError, ValueError) as error:
        raise UserError(f"{file}: cannot be read ({' '.join(str(error).split())}), {FORM}; mend it") from None
    if not isinstance(pairs, list) or not all(isinstance(pair, tuple) for pair in pairs):
        raise UserError(f"{file}: got no mapping, {FORM}; mend it")
    return pairs


def _number(value: object) -> float | None:
    if isinstance(value, bool):
        return None
    try:
        return float(str(value))
    except ValueError:
        return None
