"""What an evaluation found of each image that has one class."""

from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from maekit.base.evaluation.image_records import Counts, Floats, ImageRecords, mean_of
from maekit.classification.resampled import auroc, balanced_accuracy, macro_f1, mean_over, quadratic_kappa

Ints = NDArray[np.int64]


class ClassRecords(ImageRecords):
    """The class of each image, the predicted one, and how sure the model was.

    Args:
        places: [n] of each image its place in the listing.
        pairs: [n, 2] its class and the predicted one.
        judged: [n, 3] probabilities of the predicted class and of its own, and its loss in nats.
        top5: [n] whether its class is among the five most probable.
        names: of `chosen_metrics.METRICS`, which are resampled.
        shares: [n, C] all probabilities, for `auroc`; may be None without it.
    """

    def __init__(
        self,
        places: Ints,
        pairs: Ints,
        judged: Floats,
        top5: Ints,
        names: Sequence[str],
        shares: Floats | None = None,
    ) -> None:
        self.places, self.pairs, self.judged, self.top5, self.shares = places, pairs, judged, top5, shares
        self.names, self.class_names = tuple(names), tuple[str, ...]()

    def named(self, class_names: Sequence[str]) -> "ClassRecords":
        """Returns the records with the names of the classes, in label order, for `columns`."""
        self.class_names = different(class_names)
        return self

    def columns(self) -> dict[str, Sequence[object]]:
        """Returns class and predicted class, both probabilities, and the loss."""
        label, predicted = ([self._name(one) for one in part] for part in self.pairs.T.tolist())
        share, own, loss = self.judged.T.tolist()
        return {
            "label": label,
            "predicted": predicted,
            "probability": share,
            "probability_of_label": own,
            "loss": loss,
        }

    def resampled(self, counts: Counts) -> dict[str, Floats]:
        """Returns the measured metrics, without the calibration error, and the loss."""
        known: dict[str, Callable[[], Floats]] = {
            "top1": lambda: 100 * mean_of(counts, (self.pairs[:, 0] == self.pairs[:, 1]).astype(np.float64)),
            "top5": lambda: 100 * mean_of(counts, self.top5.astype(np.float64)),
            "balanced_accuracy": lambda: balanced_accuracy(counts, self.pairs),
            "macro_f1": lambda: macro_f1(counts, self.pairs),
            "kappa": lambda: quadratic_kappa(counts, self.pairs),
            "auroc": lambda: self._auroc(counts),
            "loss": lambda: mean_of(counts, self.judged[:, 2]),
        }
        return {name: known[name]() for name in (*self.names, "loss") if name in known}

    @property
    def cost(self) -> int:
        """One number an image, and with `auroc` one an image and class."""
        return len(self.places) * (self.shares.shape[1] if self.shares is not None and "auroc" in self.names else 1)

    def _auroc(self, counts: Counts) -> Floats:
        assert self.shares is not None
        of_each = [
            auroc(counts, self.shares[:, label], self.pairs[:, 0] == label) for label in range(self.shares.shape[1])
        ]
        return mean_over(of_each, len(counts))

    def _name(self, label: int) -> str:
        return self.class_names[label] if self.class_names else str(label)


def different(names: Sequence[str]) -> tuple[str, ...]:
    """Returns class names of which no two are equal: those that are get their number behind, as `crane (134)`."""
    often = Counter(names)
    return tuple(name if often[name] == 1 else f"{name} ({label})" for label, name in enumerate(names))
