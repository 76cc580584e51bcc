"""A ViT and a head on its pooled tokens: what classifiers and models of other targets share."""

from torch import Tensor

from maekit.backbone.protocol import Pooling
from maekit.base.model import TransferModel


class PooledModel(TransferModel):
    """ViT and a head that gives some scores an image. A subclass builds the head.

    Attributes:
        pooling: `class` for the class token, `mean` for the mean of the patch tokens.
    """

    pooling: Pooling = "class"

    def forward(self, images: Tensor) -> Tensor:
        """Returns the head's scores, such as logits [B, C], of images [B, 3, H, W], normalised."""
        scores: Tensor = self.head(self.pooled(images))
        return scores

    def pooled(self, images: Tensor) -> Tensor:
        """Returns what the head is given, [B, D], of images [B, 3, H, W], normalised."""
        return self.backbone.pool(self.backbone(images).tokens, self.pooling)
