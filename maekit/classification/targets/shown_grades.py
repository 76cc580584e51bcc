"""What is shown of a model of grades: the loss of an image, the image, a table of grades."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol

from PIL.Image import Image
from torch import Tensor

from maekit.base.data import RunData
from maekit.base.predict_options import PredictOptions
from maekit.base.shown import Judged, Shown
from maekit.base.spec import DataSpec
from maekit.classification.prediction_tables import GradeTable
from maekit.classification.predictions import ImageGrade, ImagePredictor, on_host
from maekit.classification.shown import example_view, training_sheet
from maekit.classification.targets.losses import grade_losses, predicted_grades
from maekit.data.images.batch import ImageBatch
from maekit.data.images.transforms import EvalTransform
from maekit.drawing.views import short_name


class GivesGrades(Protocol):
    """A model of K grades, whose names are in its `spec`."""

    spec: DataSpec

    def __call__(self, images: Tensor) -> Tensor:
        """Returns the logits [B, K-1] of being above each grade but the last, of images [B, C, H, W], normalised."""

    def graded(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Returns grades [B] int64 and probabilities [B, K] in fp32, of images [B, C, H, W], normalised."""


class ShownGrades(Shown):
    """CORAL's loss of each image, the image, and a CSV with the grade of each image."""

    score: ClassVar[tuple[str, Literal["low", "high"]] | None] = ("loss", "low")

    def __init__(self, model: GivesGrades) -> None:
        self.model = model

    def judge(self, batch: ImageBatch) -> list[Judged]:
        """Returns CORAL's loss of each image, the mean over the thresholds, in nats."""
        logits = self.model(batch.image)
        losses, grades = grade_losses(logits, batch.label), predicted_grades(logits)
        names = [short_name(name) for name in self.model.spec.class_names]
        rows = zip(losses.tolist(), batch.label.tolist(), grades.tolist(), strict=True)
        return [Judged(loss, f"true {names[true]}, predicted {names[found]}") for loss, true, found in rows]

    def training_picture(self, data: RunData, seed: int) -> Image:
        """Returns twelve augmented training images with their grades."""
        return training_sheet(data, seed, lambda grade: short_name(self.model.spec.class_names[grade]))

    def example_picture(self, data: RunData, index: int) -> Image:
        """Returns the image as the model sees it."""
        return example_view(data, index)

    def predictor(self, input: Mapping[str, Any]) -> ImagePredictor[ImageGrade]:
        """Returns what predicts the grade of each image and the probability of each grade."""
        return ImagePredictor(EvalTransform(**input), self._grades)

    def _grades(self, images: Tensor) -> list[ImageGrade]:
        grades, probabilities = self.model.graded(images)
        return [ImageGrade(grade, row) for grade, row in zip(grades.tolist(), on_host(probabilities), strict=True)]

    def prediction_writer(self, folder: Path, options: PredictOptions) -> GradeTable:
        """Returns what writes the grade of each image and the probability of each grade."""
        return GradeTable(folder, self.model.spec.class_names, options)
