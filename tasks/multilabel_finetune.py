"""Several labels an image, any number of them: the whole backbone is fine-tuned.

Backbone: a plain ViT. With mean pooling it has no final norm, since the head has one.
Head: the mean of the patch tokens through a LayerNorm, or the class token; then a linear layer, one logit a label.
Loss: binary cross entropy of each label, smoothed and mixed in pairs where asked, or the asymmetric loss.
Metric: mAP; also AUROC, macro and micro F1 at a threshold that is given or tuned, and all of each label.
Data: a table (CSV, TSV, Parquet) of images with their labels; random crops, mirroring, RandAugment.
Own data: a table, a row an image (`--data.table labels.csv --data.root DIR`): its file, and its labels in one column
    (cat;dog) or a column of 0 and 1 for each.
"""

from maekit.base.spec import DataSpec
from maekit.classification.data.label_table import LabelTable as Data
from maekit.classification.linear_head import LinearHead
from maekit.classification.targets.labels import LabelModel, LabelSettings

__all__ = ["Data", "Model"]


class Model(LabelModel):
    """A ViT and a linear layer with one logit a label, all of it trained."""

    def __init__(self, spec: DataSpec, settings: LabelSettings) -> None:
        """Builds backbone and head."""
        super().__init__(spec, settings)
        self.head = LinearHead(
            self.backbone.embed_dim,
            len(spec.class_names),
            pooling=settings.pooling,
            init_std=settings.head_init_std,
        )
