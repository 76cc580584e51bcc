"""What fine-tuned models of several labels, of values and of grades share: backbone, pooling, the settings of both."""

from dataclasses import dataclass

import torch

from maekit.backbone.protocol import Pooling
from maekit.base.model import TransferModel
from maekit.base.settings import TunedSettings
from maekit.base.spec import DataSpec
from maekit.classification.pooled import PooledModel
from maekit.data.images.batch import ImageBatch, blank_images
from maekit.system.ranges import check_range


@dataclass(frozen=True, kw_only=True)
class TargetSettings(TunedSettings):
    """A fine-tuned model with a linear head.

    Args:
        pooling: `mean` averages the patch tokens and norms them; `class` takes the class token.
        head_init_std: standard deviation of the head's initial weights.
    """

    pooling: Pooling
    head_init_std: float

    def __post_init__(self) -> None:
        """Refuses values outside their range, with the flag's name."""
        super().__post_init__()
        check_range("model.head_init_std", self.head_init_std, "(0, inf)")


class TargetModel(PooledModel):
    """A ViT, all of it trained, whose final norm the head has where it takes the mean. A subclass builds the head."""

    def __init__(self, spec: DataSpec, settings: TargetSettings) -> None:
        """Builds the backbone."""
        super().__init__(
            spec,
            settings,
            drop_path=settings.drop_path,
            gradient_checkpointing=settings.gradient_checkpointing,
            final_norm=settings.pooling == "class",
        )
        self.pooling = settings.pooling
        self.expect_unused = (*TransferModel.expect_unused, *(("norm.*",) if settings.pooling == "mean" else ()))

    def example_batch(self, count: int) -> ImageBatch:
        """Returns `count` black images without a label, or with values of 0."""
        width = len(self.spec.class_names) or len(self.spec.value_names)
        batch = blank_images(count, self.spec.image_size, self.spec.num_channels)
        return batch._replace(label=torch.zeros(count, width))
