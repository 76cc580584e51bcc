"""Validation images whose label may be wrong: the model is surer of another class than it usually is of that one."""

import statistics
from typing import NamedTuple

from maekit.report import limits
from maekit.report.document import Table
from maekit.runs.read import Run

_MOST = 20
LEAST_SURE = 0.5


class Suspect(NamedTuple):
    """An image whose label may be wrong.

    Attributes:
        file: within the data's folder.
        label: the class that the data say.
        predicted: the class that best.ckpt says.
        probability: of the predicted class, 0..1.
        of_label: probability of the label's class.
    """

    file: str
    label: str
    predicted: str
    probability: float
    of_label: float


def suspects(run: Run) -> list[Suspect]:
    """The suspects, the surest first; none where the run keeps no classes of single images.

    An image is one if another class than its label's is predicted with at least the mean probability that the images
    of that class have for it, and more than 0.5 (confident learning, arXiv 1911.00068, equation 2).
    Of a class that is mostly predicted as another none is one: the model does not know it.
    """
    rows = [found for row in run.image_scores if (found := _suspect(row)) is not None]
    own: dict[str, list[float]] = {}
    for row in rows:
        own.setdefault(row.label, []).append(row.of_label)
    right = {label: [row.predicted == label for row in rows if row.label == label] for label in own}
    known = {label for label, found in right.items() if statistics.mean(found) >= limits.RECOGNISED}
    usual = {label: statistics.mean(values) for label, values in own.items()}
    surer = [
        row
        for row in rows
        if row.label in known
        and row.predicted != row.label
        and row.probability >= max(usual.get(row.predicted, 1.0), LEAST_SURE)
    ]
    return sorted(surer, key=lambda row: (row.of_label - row.probability, row.file))


def suspect_table(run: Run) -> Table | None:
    """The surest suspects as a table; None without any."""
    found = suspects(run)
    if not found:
        return None
    rows = tuple((one.file, one.label, one.predicted, one.probability, one.of_label) for one in found[:_MOST])
    columns = ("file", "label", "predicted", "probability", "of its label")
    few = f"The {_MOST} surest of {len(found)}. " if len(found) > _MOST else ""
    note = (
        f"{few}The model is surer of another class than it usually is of that one: the label may be wrong, or the "
        "image hard. image_scores.csv has all images."
    )
    return Table("suspects", columns, rows, "Labels to check", note)


def _suspect(row: dict[str, str | float]) -> Suspect | None:
    share, of_label = row.get("probability"), row.get("probability_of_label")
    if not isinstance(share, float) or not isinstance(of_label, float) or not row.get("file"):
        return None
    return Suspect(str(row["file"]), str(row.get("label")), str(row.get("predicted")), share, of_label)
