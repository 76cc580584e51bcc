"""Grades in an order, such as mild, moderate, severe: the whole backbone is fine-tuned.

Backbone: a plain ViT. With mean pooling it has no final norm, since the head has one.
Head: the mean of the patch tokens through a LayerNorm, or the class token; one score, and ordered thresholds on it.
Loss: CORAL's, the binary cross entropy of being above each grade but the last.
Metric: quadratic weighted kappa; also accuracy, the mean distance in grades, and the confusion matrix.
Data: a table (CSV, TSV, Parquet) with a grade an image, or class folders; random crops, mirroring, RandAugment.
Own data: DIR/train/GRADE/*.jpg and DIR/val/GRADE/*.jpg, or DIR/GRADE/*.jpg, or a table (`--data.table grades.csv`);
    grades in the order of their numbers or of `--data.classes`.
"""

from maekit.base.spec import DataSpec
from maekit.classification.data.graded_images import GradedImages as Data
from maekit.classification.targets.grades import GradeModel, GradeSettings
from maekit.classification.targets.heads import GradeHead

__all__ = ["Data", "Model"]


class Model(GradeModel):
    """A ViT and one score with ordered thresholds, all of it trained."""

    def __init__(self, spec: DataSpec, settings: GradeSettings) -> None:
        """Builds backbone and head."""
        super().__init__(spec, settings)
        self.head = GradeHead(
            self.backbone.embed_dim,
            len(spec.class_names),
            pooling=settings.pooling,
            init_std=settings.head_init_std,
        )
