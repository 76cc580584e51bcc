"""iNaturalist 2017, 2018 and 2019 classification: the whole backbone is fine-tuned (MAE paper, Table 6).

Backbone: a plain ViT. With mean pooling it has no final norm, since the head has one.
Head: the mean of the patch tokens through a LayerNorm, or the class token; then a linear layer.
Loss: cross entropy against labels that are smoothed and mixed in pairs (mixup and cutmix).
Metric: top-1 on centre crops; also top-5, the loss, and the top-1 of each class.
Data: iNaturalist 2017, 2018, 2019 or 2021 by its JSON files; random crops, mirroring, RandAugment.
Own data: iNaturalist's layout only: DIR/train2018.json, DIR/val2018.json and their images; for folders of classes take
    imagenet_finetune.
"""

from maekit.base.spec import DataSpec
from maekit.classification.data.inaturalist.inaturalist import INaturalist as Data
from maekit.classification.linear_head import LinearHead
from maekit.classification.model import FineTunedClassifier, FineTuningSettings

__all__ = ["Data", "Model"]


class Model(FineTunedClassifier):
    """A ViT and a linear classifier, all of it trained."""

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
