"""ImageNet-1K partial fine-tuning: only the last blocks are tuned (MAE paper, Figure 9)."""

from dataclasses import dataclass

from maekit.backbone.freeze import tune_last_blocks
from maekit.base.spec import DataSpec
from maekit.classification.data.imagenet import ImageNet as Data
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
        super().__init__(spec, settings)
        tune_last_blocks(self.backbone, settings.tuned_blocks)
