"""What is shown of a model of grades: the loss of an image, the image, a table of grades."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol

from PIL.Image import Image
from torch import Tensor

from maekit.base.data import RunData
from maekit.base.shown import Judged, Shown
from maekit.base.spec import DataSpec
from maekit.classification.predictions import ImageTable
from maekit.classification.shown import example_view
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

    def example_picture(self, data: RunData, index: int) -> Image:
        """Returns the image as the model sees it."""
        return example_view(data, index)

    def prediction_writer(self, folder: Path, input: Mapping[str, Any]) -> "GradeCsv":
        """Returns what writes a CSV with the grade of each image and the probability of each grade."""
        return GradeCsv(folder, EvalTransform(**input), self.model)


class GradeCsv(ImageTable):
    """A CSV with one row an image: file, its grade, and the probability of each grade.

    Args:
        folder: where `predictions.csv` is written.
        transform: RGB image to [3, H, W].
        model: gives the probabilities.
    """

    def __init__(self, folder: Path, transform: EvalTransform, model: GivesGrades) -> None:
        self.model, self.names = model, model.spec.class_names
        super().__init__(folder, transform, ["grade", *self.names])

    def rows(self, images: Tensor) -> list[list[str]]:
        """Returns the grade, then the probabilities."""
        grades, probabilities = (found.tolist() for found in self.model.graded(images))
        return [
            [self.names[grade], *(f"{p:.6f}" for p in row)] for grade, row in zip(grades, probabilities, strict=True)
        ]
