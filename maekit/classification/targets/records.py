"""What an evaluation found of each image that has several labels, values or a grade."""

from collections.abc import Sequence

import numpy as np

from maekit.base.evaluation.image_records import Counts, Floats, ImageRecords, mean_of
from maekit.classification.records import different
from maekit.classification.resampled import auroc, average_precision, mean_over, quadratic_kappa
from maekit.classification.targets.metrics import Joined, LabelScores


class _JoinedRecords(ImageRecords):
    """Predictions and truths of each image, float64 [n, N].

    Args:
        joined: of all processes.
        names: of the N labels or values, or of the grades.
    """

    def __init__(self, joined: Joined, names: Sequence[str]) -> None:
        self.places = joined.places.numpy()
        self.predicted, self.truth = joined.predicted.numpy(), joined.truth.numpy()
        self.names = different(names)


class ValueRecords(_JoinedRecords):
    """True and predicted values of each image, in the unit of the data."""

    def columns(self) -> dict[str, Sequence[object]]:
        """Returns each value, and what was predicted of it."""
        found: dict[str, Sequence[object]] = {}
        for place, name in enumerate(self.names):
            found |= {name: self.truth[:, place].tolist(), f"{name} predicted": self.predicted[:, place].tolist()}
        return found

    def resampled(self, counts: Counts) -> dict[str, Floats]:
        """Returns the mean of the values' R2, MAE and RMSE."""
        errors, total = self.predicted - self.truth, counts.sum(1)[:, None]
        squares = counts @ errors**2
        centred = self.truth - self.truth.mean(0)  # so that their squares do not swallow the spread
        spread = counts @ centred**2 - (counts @ centred) ** 2 / total
        with np.errstate(divide="ignore", invalid="ignore"):
            r2 = np.where(spread > 0, 1 - squares / spread, np.nan).mean(1)
        return {
            "mae": (counts @ np.abs(errors) / total).mean(1),
            "rmse": np.sqrt(squares / total).mean(1),
            "r2": r2,
        }


class GradeRecords(_JoinedRecords):
    """The grade of each image and the predicted one."""

    def columns(self) -> dict[str, Sequence[object]]:
        """Returns grade and predicted grade by name."""
        label, predicted = (
            [self.names[int(one)] for one in part[:, 0].tolist()] for part in (self.truth, self.predicted)
        )
        return {"label": label, "predicted": predicted}

    def resampled(self, counts: Counts) -> dict[str, Floats]:
        """Returns accuracy in percent, MAE in grades and quadratic weighted kappa."""
        pairs = np.concatenate([self.truth, self.predicted], axis=1).astype(np.int64)
        distance = np.abs(self.predicted - self.truth)[:, 0]
        return {
            "accuracy": 100 * mean_of(counts, (distance == 0).astype(np.float64)),
            "mae": mean_of(counts, distance),
            "kappa": quadratic_kappa(counts, pairs),
        }


class LabelRecords(_JoinedRecords):
    """The labels of each image and their probabilities.

    Args:
        joined: of all processes.
        names: of the labels.
        scores: the threshold, which a choice of the images does not tune anew, and the images F1 is measured on.
    """

    def __init__(self, joined: Joined, names: Sequence[str], scores: LabelScores) -> None:
        super().__init__(joined, names)
        self.threshold, self.measured = scores.threshold, np.zeros(len(self.places), dtype=np.int64)
        self.measured[scores.measured.numpy()] = 1

    def columns(self) -> dict[str, Sequence[object]]:
        """Returns the labels that an image has, those it is given, and the least probability of the former."""
        truth, given = self.truth > 0, self.predicted >= self.threshold
        lowest = np.where(truth, self.predicted, np.inf).min(1)
        highest = np.where(truth, -np.inf, self.predicted).max(1)
        return {
            "labels": [self._joined(row) for row in truth],
            "predicted": [self._joined(row) for row in given],
            "lowest_of_its_labels": lowest.tolist(),
            "highest_of_the_others": highest.tolist(),
        }

    def resampled(self, counts: Counts) -> dict[str, Floats]:
        """Returns mAP, AUROC, and F1 at the threshold."""
        real, size = self.truth > 0, len(counts)
        columns = [(self.predicted[:, place], real[:, place]) for place in range(real.shape[1])]
        return {
            "map": mean_over([average_precision(counts, *column) for column in columns], size),
            "auroc": mean_over([auroc(counts, *column) for column in columns], size),
            **self._f1(counts * self.measured, real),
        }

    def _f1(self, counts: Counts, real: "np.ndarray") -> dict[str, Floats]:
        given = self.predicted >= self.threshold
        hits = (counts @ (given & real)).astype(np.float64)
        has, total = counts @ real, counts @ given.astype(np.int64) + counts @ real
        with np.errstate(divide="ignore", invalid="ignore"):
            each = np.where(has > 0, 2 * hits / np.maximum(total, 1), np.nan)
            micro = 2 * hits.sum(1) / total.sum(1)
        return {"f1_macro": mean_over(list(each.T), len(counts)), "f1_micro": micro}

    @property
    def cost(self) -> int:
        """Several passes over each label of each image."""
        return 4 * self.truth.size

    def _joined(self, has: "np.ndarray") -> str:
        return ";".join(name for name, there in zip(self.names, has.tolist(), strict=True) if there)
