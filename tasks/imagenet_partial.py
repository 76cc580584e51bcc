"""ImageNet-1K partial fine-tuning: only the last blocks are tuned (MAE paper, Figure 9).

Backbone: a plain ViT whose first blocks are frozen, and then without drop path.
Head: the class token, or the mean of the patch tokens through a LayerNorm; then a linear layer.
Loss: cross entropy against labels that are smoothed and mixed in pairs (mixup and cutmix).
Metric: top-1 on centre crops; also top-5, the loss, and the top-1 of each class.
Data: ImageNet-1K, or any folder of class folders; random crops, mirroring, RandAugment.
"""

from dataclasses import dataclass

from maekit.backbone.freeze import tune_last_blocks
from maekit.base.spec import DataSpec
from maekit.classification.data.imagenet import ImageNet as Data
from maekit.classification.linear_head import LinearHead
from maekit.classification.model import FineTunedClassifier, FineTuningSettings

__all__ = ["Data", "Model"]


@dataclass(frozen=True, kw_only=True)
class Settings(FineTuningSettings):
    """What fine-tuning has, and how much is tuned.

    Args:
        tuned_blocks: how many of the last blocks are tuned; 0 is the head alone, 0.5 the MLP of the last block, and
            all blocks is full fine-tuning, embeddings included.
    """

    tuned_blocks: float


class Model(FineTunedClassifier):
    """A ViT whose first blocks are frozen and whose last are fine-tuned, and a linear classifier."""

    def __init__(self, spec: DataSpec, settings: Settings) -> None:
        """Builds the classifier and freezes what is not tuned."""
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
        tune_last_blocks(self.backbone, settings.tuned_blocks)
