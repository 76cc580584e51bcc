"""What is exported of models of several labels, of values and of grades."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from maekit.base.exportable import Exportable, Outputs
from maekit.classification.exportable import image_exportable
from maekit.classification.targets.heads import ValueHead
from maekit.classification.targets.losses import grade_probabilities, predicted_grades
from maekit.classification.targets.model import TargetModel

if TYPE_CHECKING:
    from maekit.classification.targets.shown_labels import GivesLabels

SAME_VALUE = 1e-3  # of a standard deviation of the training images: below what any use of a value sees


def label_exportable(model: "TargetModel", labels: "GivesLabels", input: Mapping[str, Any]) -> Exportable:
    """Returns what is exported of a model of labels: `logits` and `probabilities`, both [B, labels].

    Args:
        model: loaded, in evaluation mode.
        labels: the same, which knows its threshold.
        input: the values of the evaluation transform.
    """
    threshold = labels.threshold_in_use()

    def equal(ours: Outputs, theirs: Outputs) -> np.ndarray:
        ours_given, theirs_given = (found["probabilities"] >= threshold for found in (ours, theirs))
        return np.asarray((ours_given == theirs_given).all(1))

    return image_exportable(
        model,
        input,
        ("logits", "probabilities"),
        lambda logits: (logits, logits.sigmoid()),
        equal,
        {
            "class_names": list(model.spec.class_names),
            "threshold": threshold,
            "threshold_origin": labels.threshold_origin(),
        },
        lambda found: found["logits"],
    )


def value_exportable(model: TargetModel, head: ValueHead, input: Mapping[str, Any]) -> Exportable:
    """Returns what is exported of a model of values: `values` [B, values] in the unit of the data."""
    spec, std = model.spec, head.std.detach().cpu().numpy()

    def equal(ours: Outputs, theirs: Outputs) -> np.ndarray:
        return np.asarray((np.abs(ours["values"] - theirs["values"]) <= SAME_VALUE * std).all(1))

    def in_unit(scores: Tensor) -> tuple[Tensor, ...]:
        return (head.in_unit(scores),)

    return image_exportable(
        model,
        input,
        ("values",),
        in_unit,
        equal,
        {
            "value_names": list(spec.value_names),
            "value_mean": list(spec.value_mean),
            "value_std": list(spec.value_std),
        },
        lambda found: head.standardised(found["values"].to(head.mean.device)),
    )


def grade_exportable(model: TargetModel, input: Mapping[str, Any]) -> Exportable:
    """Returns what is exported of a model of grades: `grade` [B] int64, `probabilities` [B, grades], `logits`."""

    def after(logits: Tensor) -> tuple[Tensor, ...]:
        return predicted_grades(logits), grade_probabilities(logits), logits

    return image_exportable(
        model,
        input,
        ("grade", "probabilities", "logits"),
        after,
        lambda ours, theirs: ours["grade"] == theirs["grade"],
        {"class_names": list(model.spec.class_names), "ordered": True},
        lambda found: found["logits"],
    )
