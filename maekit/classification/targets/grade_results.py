"""What an evaluation found of grades, in the forms that classes have."""

from collections.abc import Sequence

import torch

from maekit.base.per_class import PerClass
from maekit.classification.metrics import Outcome, class_json
from maekit.classification.targets.metrics import Joined


def grade_outcomes(joined: Joined) -> list[Outcome]:
    """Returns how many images of each grade were predicted as which, of those that happened at least once.

    Args:
        joined: predicted and true grades [n, 1] of all images.
    """
    pairs = torch.cat([joined.truth, joined.predicted], dim=1).long()
    rows, counts = torch.unique(pairs, dim=0, return_counts=True)
    return [Outcome(true, said, count) for (true, said), count in zip(rows.tolist(), counts.tolist(), strict=True)]


def per_grade_json(names: Sequence[str], outcomes: Sequence[Outcome]) -> PerClass:
    """Returns the content of `per_class.json`: the accuracy on the images of each grade, in percent."""
    return PerClass(metric="accuracy", more=None, classes=class_json(names, outcomes)["classes"])
