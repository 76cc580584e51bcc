"""ImageNet-1K supervised training from scratch, with an average of the weights (MAE paper, Table 11).

Backbone: a plain ViT. With mean pooling it has no final norm, since the head has one.
Head: the mean of the patch tokens through a LayerNorm, or the class token; then a linear layer.
Loss: cross entropy against labels that are smoothed and mixed in pairs (mixup and cutmix).
Metric: top-1 on centre crops; also top-5, the loss, and the top-1 of each class.
Data: ImageNet-1K, or any folder of class folders; random crops, mirroring, RandAugment.
Own data: DIR/train/CLASS/*.jpg and DIR/val/CLASS/*.jpg, or DIR/CLASS/*.jpg, of which a share is set aside; or a table
    of files and classes (`--data.table labels.csv`).
"""

from maekit.base.spec import DataSpec
from maekit.classification.data.imagenet import ImageNet as Data
from maekit.classification.linear_head import LinearHead
from maekit.classification.model import FineTunedClassifier, FineTuningSettings

__all__ = ["Data", "Model"]


class Model(FineTunedClassifier):
    """A ViT and a linear classifier from random weights; their moving average (`ema_decay`) is what is evaluated."""

    def __init__(self, spec: DataSpec, settings: FineTuningSettings) -> None:
        """Builds backbone and head."""
        super().__init__(
            spec,
            settings,
            drop_path=settings.drop_path,
            gradient_checkpointing=settings.gradient_checkpointing,
            final_norm=settings.pooling == "class",
        )
        self.head = LinearHead(
            self.backbone.embed_dim,
            len(spec.class_names),
            pooling=settings.pooling,
            init_std=settings.head_init_std,
        )
