"""ImageNet-1K partial fine-tuning: only the last blocks are tuned (MAE paper, Figure 9)."""

from typing import Any

from maekit.backbone.freeze import tune_last_blocks
from maekit.base.spec import DataSpec
from maekit.classification.data.imagenet import ImageNet as Data
from maekit.classification.model import FineTunedClassifier

__all__ = ["Data", "Model"]


class Model(FineTunedClassifier):
    """A ViT whose first blocks are frozen and whose last are fine-tuned, and a linear classifier."""

    def __init__(self, spec: DataSpec, *, tuned_blocks: float, **shared: Any) -> None:
        """Builds the classifier and freezes what is not tuned.

        Args:
            spec: class names and image size of the data.
            tuned_blocks: how many of the last blocks are tuned; 0 is the head alone, 0.5 the MLP of the last block, and
                all blocks is full fine-tuning, embeddings included.
            shared: see FineTunedClassifier.
        """
        super().__init__(spec, **shared)
        tune_last_blocks(self.backbone, tuned_blocks)
