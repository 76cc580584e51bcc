"""A model of grades: one score an image, and ordered thresholds that divide it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from maekit.base.exportable import Exportable
from maekit.classification.metrics import confusion_json
from maekit.classification.targets.exportable import grade_exportable
from maekit.classification.targets.grade_results import grade_outcomes, per_grade_json
from maekit.classification.targets.losses import grade_loss, grade_probabilities, predicted_grades
from maekit.classification.targets.metrics import GradeMetrics
from maekit.classification.targets.model import TargetModel, TargetSettings
from maekit.classification.targets.records import GradeRecords
from maekit.classification.targets.shown_grades import ShownGrades
from maekit.data.images.batch import ImageBatch, blank_images


@dataclass(frozen=True, kw_only=True)
class GradeSettings(TargetSettings):
    """A fine-tuned model of grades. Images are not mixed: between two grades there is none."""


class GradeModel(TargetModel):
    """A ViT and a head that gives the logits of being above each grade but the last; a task builds its `head`."""

    monitor: tuple[str, Literal["max", "min"]] = ("kappa", "max")
    monitors: ClassVar[Mapping[str, Literal["max", "min"]]] = {"kappa": "max", "accuracy": "max", "mae": "min"}

    def example_batch(self, count: int) -> ImageBatch:
        """Returns `count` black images of the first grade."""
        return blank_images(count, self.spec.image_size, self.spec.num_channels)

    def training_losses(self, batch: ImageBatch) -> dict[str, Tensor]:
        """Returns `loss`, CORAL's, in fp32."""
        return {"loss": grade_loss(self(batch.image), batch.label)}

    def new_metrics(self) -> GradeMetrics:
        """Returns metrics: quadratic weighted kappa, accuracy in percent, MAE in grades."""
        return GradeMetrics()

    def update_metrics(self, metrics: GradeMetrics, batch: ImageBatch) -> None:
        """Adds one evaluated batch."""
        metrics.update(predicted_grades(self(batch.image))[:, None], batch.label[:, None], batch.index)

    def results(self, metrics: GradeMetrics) -> dict[str, object]:
        """Returns `confusion.json`, which grades were predicted for which, and `per_class.json`, accuracies of each."""
        names, outcomes = self.spec.class_names, grade_outcomes(metrics.of_all())
        confusion = {**confusion_json(names, outcomes), "ordered": True}
        return {"confusion.json": confusion, "per_class.json": per_grade_json(names, outcomes)}

    def image_records(self, metrics: GradeMetrics) -> GradeRecords:
        """Returns grade and predicted grade of each image."""
        return GradeRecords(metrics.of_all(), self.spec.class_names)

    @torch.inference_mode()
    def graded(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Returns grades [B] int64 and probabilities [B, K] in fp32, of images [B, C, H, W], normalised."""
        logits: Tensor = self(images)
        return predicted_grades(logits), grade_probabilities(logits)

    def exportable(self, input: Mapping[str, Any]) -> Exportable:
        """Returns grades, their probabilities and the logits."""
        return grade_exportable(self, input)

    def shown(self) -> ShownGrades:
        """Returns the losses of images, the images, and a CSV with the grade of each."""
        return ShownGrades(self)
