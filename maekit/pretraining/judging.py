"""Whether going on with a pre-training was worth it: frozen features before and after, on the same labelled images."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from math import comb
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from maekit.base.data import TransferData
from maekit.base.spec import Draw
from maekit.errors import UserError
from maekit.features.neighbours.knn import knn_scores
from maekit.pretraining.online_probe import embed_some
from maekit.system.generators import untouched_generators
from maekit.weights.load.backbone import load_backbone

SURE = 0.05  # the chance, at most, that weights which are no better would look as much better


@dataclass(frozen=True)
class Verdict:
    """How many of the labelled images k-NN classifies rightly, each by all others, before and after.

    Attributes:
        images: how many were judged.
        before: right with the old weights.
        after: right with the new ones.
        gained: wrong before, right after.
        lost: right before, wrong after.
        min_gain: percentage points that make new weights worth having.
    """

    images: int
    before: int
    after: int
    gained: int
    lost: int
    min_gain: float

    @property
    def gain(self) -> float:
        """Percentage points of top-1 that the new weights have more."""
        return 100 * (self.after - self.before) / self.images

    @property
    def chance(self) -> float:
        """Returns how likely at least so many of the changed images are gains if each is one or a loss at even odds.

        The one-sided exact test of McNemar (Psychometrika 12, 1947) for two classifiers on the same images.
        """
        changed = self.gained + self.lost
        ways = sum(comb(changed, gained) for gained in range(self.gained, changed + 1))
        return float(ways / 2**changed)

    @property
    def is_worth_it(self) -> bool:
        """Whether the gain is large enough, and no accident of which images were judged."""
        return self.gain >= self.min_gain and self.chance <= SURE

    def plain(self) -> dict[str, object]:
        """Returns plain values for a JSON file."""
        return {**asdict(self), "gain": self.gain, "chance": self.chance, "is_worth_it": self.is_worth_it}

    def line(self) -> str:
        """Returns the verdict in one line."""
        scores = f"k-NN top-1 {100 * self.before / self.images:.2f} -> {100 * self.after / self.images:.2f}"
        how = f"{self.images:,} labelled images, {self.gained} gained, {self.lost} lost, p {self.chance:.2g}"
        word = "yes" if self.is_worth_it else "no"
        return f"worth it: {word}. {scores} ({self.gain:+.2f}; {how})"


def verdict(before: Sequence[bool], after: Sequence[bool], min_gain: float) -> Verdict:
    """Compares which of the same images are right before and after.

    Args:
        before: of each image.
        after: of each image.
        min_gain: percentage points that make new weights worth having, 0 or more.
    """
    old, new = np.asarray(before, bool), np.asarray(after, bool)
    gained, lost = int((new & ~old).sum()), int((old & ~new).sum())
    return Verdict(len(old), int(old.sum()), int(new.sum()), gained, lost, min_gain)


def right_by_neighbours(
    weights: Path, data: TransferData, *, images: int, neighbours: int, device: torch.device
) -> list[bool]:
    """Says of each labelled training image whether its nearest neighbours among all others give it its own class.

    These images choose no weights: best.ckpt is chosen by the labelled validation images.

    Args:
        weights: whose class tokens are compared, without anything hidden.
        data: with `probe_root`.
        images: look at so many at most, spread evenly over their listing.
        neighbours: that vote, weighted by their similarity.
        device: where to compute.

    Raises:
        UserError: no class has two labelled images, or the weights cannot be loaded.
    """
    splits = data.probe_datasets()
    assert splits is not None, "data.probe_root is set"
    train = splits[0]
    if np.bincount(train.listing.labels).max() < 2:
        raise UserError(f"{train.listing.root}: one labelled image a class, expected two or more; add some")
    with untouched_generators():
        vit = load_backbone(weights, image_size=train[Draw(0, 0)][0].shape[-1]).to(device)

        def class_tokens(batch: Tensor) -> Tensor:
            return vit.pool(vit(batch).tokens, "class")

        features, labels = embed_some(class_tokens, train, images, device, data.num_workers or 0)
    votes = knn_scores(
        features,
        features,
        labels,
        num_classes=len(train.listing.classes),
        neighbours=min(neighbours, len(features) - 1),
        exclude_self=True,
    )
    right: list[bool] = (votes.argmax(1) == labels).tolist()
    return right
