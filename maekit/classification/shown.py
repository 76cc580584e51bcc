"""What is shown of a classifier: the loss of an image, the image as the model sees it, a table of classes."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol

import torch
from PIL.Image import Image
from torch import Tensor
from torch.nn import functional as F

from maekit.base.data import RunData
from maekit.base.predict_options import PredictOptions
from maekit.base.shown import Judged, Shown, evenly_spread
from maekit.base.spec import DataSpec, Draw
from maekit.classification.cached_features import CachedFeatures
from maekit.classification.prediction_tables import ClassTable
from maekit.classification.predictions import ClassScores, ImagePredictor, on_host
from maekit.data.images.batch import ImageBatch
from maekit.data.images.transforms import EvalTransform, normalise_of
from maekit.drawing.sheet import Tile, contact_sheet
from maekit.drawing.views import short_name, single_view

TRAINING_IMAGES, COLUMNS = 12, 4


class Classifies(Protocol):
    """A classifier of C classes, whose names are in its `spec`."""

    spec: DataSpec

    def __call__(self, images: Tensor) -> Tensor:
        """Returns logits [B, C] of images [B, channels, H, W], normalised."""

    def class_probabilities(self, images: Tensor) -> Tensor:
        """Returns probabilities [B, C] in fp32 of images [B, channels, H, W], normalised."""


class ShownClasses(Shown):
    """The cross entropy of each image, the image, and a CSV with the best classes of each image."""

    score: ClassVar[tuple[str, Literal["low", "high"]] | None] = ("loss", "low")

    def __init__(self, model: Classifies) -> None:
        self.model = model

    def judge(self, batch: ImageBatch) -> list[Judged]:
        """Returns the cross entropy of each image, in nats."""
        logits = self.model(batch.image).float()
        losses = F.cross_entropy(logits, batch.label, reduction="none")
        shares, classes = logits.softmax(1).max(1)
        rows = torch.stack([losses, batch.label.float(), classes.float(), shares], dim=1).tolist()  # read at once
        names = [short_name(name) for name in self.model.spec.class_names]
        return [
            Judged(loss, f"true {names[int(true)]}, predicted {names[int(predicted)]} (p {share:.2f})")
            for loss, true, predicted, share in rows
        ]

    def judged(self, rows: Sequence[Mapping[str, str]]) -> dict[int, Judged] | None:
        """Returns the same of all images of an evaluation."""
        return {
            int(row["image"]): Judged(
                float(row["loss"] or "nan"),
                f"true {short_name(row['label'])}, predicted {short_name(row['predicted'])} "
                f"(p {float(row['probability'] or 'nan'):.2f})",
            )
            for row in rows
        }

    def training_picture(self, data: RunData, seed: int) -> Image:
        """Returns twelve augmented training images with their classes, before mixup and cutmix."""
        return training_sheet(data, seed, lambda label: short_name(self.model.spec.class_names[label]))

    def example_picture(self, data: RunData, index: int) -> Image:
        """Returns the image as the model sees it."""
        return example_view(data, index)

    def predictor(self, input: Mapping[str, Any]) -> ImagePredictor[ClassScores]:
        """Returns what predicts the probabilities of each image."""
        return ImagePredictor(EvalTransform(**input), self._scores)

    def _scores(self, images: Tensor) -> list[ClassScores]:
        return [ClassScores(row) for row in on_host(self.model.class_probabilities(images))]

    def prediction_writer(self, folder: Path, options: PredictOptions) -> ClassTable:
        """Returns what writes the best classes of each image."""
        return ClassTable(folder, self.model.spec.class_names, options)


def example_view(data: RunData, index: int) -> Image:
    """Returns a validation image as the model sees it, by its place in the listing from 0."""
    images = data.data if isinstance(data, CachedFeatures) else data
    normalise = normalise_of(data.input_transform())
    return single_view(normalise.undo(images.val_dataset()[Draw(0, index)][0]))


def training_sheet(data: RunData, seed: int, words: Callable[[Any], str]) -> Image:
    """Returns a sheet of twelve training images as the first epoch has them, evenly spread over the listing.

    Args:
        data: set up; of cached features the images are shown, which are not augmented.
        seed: the run's.
        words: the caption of an image by its label.
    """
    images = data.data.plain_train_dataset() if isinstance(data, CachedFeatures) else data.train_dataset(seed)
    normalise = normalise_of(data.input_transform())
    samples = [images[Draw(0, index)] for index in evenly_spread(len(images), TRAINING_IMAGES)]
    tiles = [Tile(normalise.undo(image), (words(label),)) for image, label, _ in samples]
    return contact_sheet(tiles, columns=COLUMNS)
