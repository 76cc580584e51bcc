"""One number or several an image, such as an age or a biomass: the whole backbone is fine-tuned.

Backbone: a plain ViT. With mean pooling it has no final norm, since the head has one.
Head: the mean of the patch tokens through a LayerNorm, or the class token; then a linear layer, one number a value.
Loss: absolute, squared or Huber's, of values that are standardised by the training images.
Metric: R2; also MAE and RMSE in the unit of the data, of all values and of each.
Data: a table (CSV, TSV, Parquet) of images with their values; random crops, mirroring, RandAugment.
Own data: a table, a row an image (`--data.table values.csv --data.root DIR --data.label_column age`): its file, and a
    number in each column of values.
"""

from maekit.base.spec import DataSpec
from maekit.classification.data.value_table import ValueTable as Data
from maekit.classification.targets.heads import ValueHead
from maekit.classification.targets.values import ValueModel, ValueSettings

__all__ = ["Data", "Model"]


class Model(ValueModel):
    """A ViT and a linear layer with one number a value, all of it trained."""

    def __init__(self, spec: DataSpec, settings: ValueSettings) -> None:
        """Builds backbone and head."""
        super().__init__(spec, settings)
        self.head = ValueHead(
            self.backbone.embed_dim,
            spec.value_mean,
            spec.value_std,
            pooling=settings.pooling,
            init_std=settings.head_init_std,
        )
