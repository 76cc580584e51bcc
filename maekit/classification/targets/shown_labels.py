"""What is shown of a model of several labels: the loss of an image, the image, a table of labels."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol

from PIL.Image import Image
from torch import Tensor
from torch.nn import functional as F

from maekit.base.data import RunData
from maekit.base.predict_options import PredictOptions
from maekit.base.shown import Judged, Shown
from maekit.base.spec import DataSpec
from maekit.classification.prediction_tables import LabelTable
from maekit.classification.predictions import ImagePredictor, LabelScores, on_host
from maekit.classification.shown import example_view, training_sheet
from maekit.data.images.batch import ImageBatch
from maekit.data.images.transforms import EvalTransform
from maekit.drawing.views import short_name

NAMED = 3  # labels that a caption names


class GivesLabels(Protocol):
    """A model of L labels, whose names are in its `spec`."""

    spec: DataSpec

    def __call__(self, images: Tensor) -> Tensor:
        """Returns logits [B, L] of images [B, C, H, W], normalised."""

    def probabilities(self, images: Tensor) -> Tensor:
        """Returns probabilities [B, L] in fp32 of images [B, C, H, W], normalised."""

    def threshold_in_use(self) -> float:
        """Returns the probability from which a label is given."""

    def threshold_origin(self) -> str:
        """Returns in words why that is the threshold."""


class ShownLabels(Shown):
    """The mean binary cross entropy of each image, the image, and a CSV with the labels of each image."""

    score: ClassVar[tuple[str, Literal["low", "high"]] | None] = ("loss", "low")

    def __init__(self, model: GivesLabels) -> None:
        self.model = model

    def judge(self, batch: ImageBatch) -> list[Judged]:
        """Returns the binary cross entropy of each image, the mean over the labels, in nats."""
        logits, labels = self.model(batch.image).float(), batch.label.float()
        losses = F.binary_cross_entropy_with_logits(logits, labels, reduction="none").mean(1)
        given = logits.sigmoid() >= self.model.threshold_in_use()
        rows = zip(losses.tolist(), labels.tolist(), given.tolist(), strict=True)
        return [Judged(loss, f"true {self._names(true)}, predicted {self._names(said)}") for loss, true, said in rows]

    def _names(self, has: Sequence[float]) -> str:
        names = [short_name(name) for name, there in zip(self.model.spec.class_names, has, strict=True) if there]
        return (" + ".join(names[:NAMED]) + (" + ..." if names[NAMED:] else "")) or "none"

    def training_picture(self, data: RunData, seed: int) -> Image:
        """Returns twelve augmented training images with their labels, before mixup and cutmix."""
        return training_sheet(data, seed, self._names)

    def example_picture(self, data: RunData, index: int) -> Image:
        """Returns the image as the model sees it."""
        return example_view(data, index)

    def predictor(self, input: Mapping[str, Any]) -> ImagePredictor[LabelScores]:
        """Returns what predicts the probability of each label."""
        return ImagePredictor(EvalTransform(**input), self._scores)

    def _scores(self, images: Tensor) -> list[LabelScores]:
        return [LabelScores(row) for row in on_host(self.model.probabilities(images))]

    def prediction_writer(self, folder: Path, options: PredictOptions) -> LabelTable:
        """Returns what writes the labels of each image, and says from which probability they are given."""
        model = self.model
        threshold, origin = model.threshold_in_use(), model.threshold_origin()
        return LabelTable(folder, model.spec.class_names, threshold, options, origin=origin)
