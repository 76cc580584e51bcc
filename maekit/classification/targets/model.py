"""What fine-tuned models of several labels, of values and of grades share: backbone, pooling, the settings of both."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch

from maekit.backbone.protocol import Pooling
from maekit.base.model import TransferModel
from maekit.base.settings import TunedSettings
from maekit.base.spec import DataSpec
from maekit.classification.pooled import PooledModel
from maekit.data.images.batch import ImageBatch, blank_images
from maekit.errors import UserError, nearest
from maekit.system.ranges import check_range


@dataclass(frozen=True, kw_only=True)
class TargetSettings(TunedSettings):
    """A fine-tuned model with a linear head.

    Args:
        pooling: `mean` averages the patch tokens and norms them; `class` takes the class token.
        head_init_std: standard deviation of the head's initial weights.
        monitor: which of the task's metrics chooses best.ckpt, and --run.patience waits for; null for the task's own.
    """

    pooling: Pooling
    head_init_std: float
    monitor: str | None = None

    def __post_init__(self) -> None:
        """Refuses values outside their range, with the flag's name."""
        super().__post_init__()
        check_range("model.head_init_std", self.head_init_std, "(0, inf)")


class TargetModel(PooledModel):
    """A ViT, all of it trained, whose final norm the head has where it takes the mean. A subclass builds the head.

    Attributes:
        monitors: the metrics that may choose the best weights, and whether more or less of each is better.
    """

    monitors: ClassVar[Mapping[str, Literal["max", "min"]]] = {}

    def __init__(self, spec: DataSpec, settings: TargetSettings) -> None:
        """Builds the backbone, and chooses what it is judged by.

        Raises:
            UserError: the metric to judge by is not the task's.
        """
        super().__init__(
            spec,
            settings,
            drop_path=settings.drop_path,
            gradient_checkpointing=settings.gradient_checkpointing,
            final_norm=settings.pooling == "class",
        )
        self.pooling = settings.pooling
        if settings.monitor is not None:
            self.monitor = settings.monitor, self._mode(settings.monitor)
        self.expect_unused = (*TransferModel.expect_unused, *(("norm.*",) if settings.pooling == "mean" else ()))

    def _mode(self, metric: str) -> Literal["max", "min"]:
        if metric not in self.monitors:
            known = ", ".join(self.monitors or [self.monitor[0]])
            raise UserError(
                f"model.monitor: got {metric}, expected one of {known}, which this task measures"
                f"{nearest(metric, self.monitors)}"
            )
        return self.monitors[metric]

    def example_batch(self, count: int) -> ImageBatch:
        """Returns `count` black images without a label, or with values of 0."""
        width = len(self.spec.class_names) or len(self.spec.value_names)
        batch = blank_images(count, self.spec.image_size, self.spec.num_channels)
        return batch._replace(label=torch.zeros(count, width))
