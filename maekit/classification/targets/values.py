"""A model of one number or several an image."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from maekit.base.exportable import Exportable
from maekit.base.spec import DataSpec
from maekit.classification.targets.exportable import value_exportable
from maekit.classification.targets.heads import ValueHead
from maekit.classification.targets.losses import value_loss
from maekit.classification.targets.metrics import ValueMetrics
from maekit.classification.targets.mix import MixedBatch, PairMix
from maekit.classification.targets.model import TargetModel, TargetSettings
from maekit.classification.targets.records import ValueRecords
from maekit.classification.targets.shown_values import ShownValues
from maekit.classification.targets.value_results import values_json
from maekit.data.images.batch import ImageBatch
from maekit.system.ranges import check_range


@dataclass(frozen=True, kw_only=True)
class ValueSettings(TargetSettings):
    """A fine-tuned model of numbers.

    Args:
        value_loss: of standardised values: `l1`, absolute errors; `l2`, squared ones; `huber`, squared up to one
            standard deviation and absolute beyond.
        mixup: alpha of mixup's Beta distribution, which averages values as it does images; 0 turns it off. Cutmix is
            not offered: a part of an image need not have a part of its value.
    """

    value_loss: Literal["l1", "l2", "huber"]
    mixup: float = 0.0

    def __post_init__(self) -> None:
        """Refuses values outside their range, with the flag's name."""
        super().__post_init__()
        check_range("model.mixup", self.mixup, "[0, inf)")


class ValueModel(TargetModel):
    """A ViT and a linear head with one standardised number a value; a task builds its `head`."""

    monitor: tuple[str, Literal["max", "min"]] = ("r2", "max")
    monitors: ClassVar[Mapping[str, Literal["max", "min"]]] = {"r2": "max", "mae": "min", "rmse": "min"}
    headline: ClassVar[tuple[str, ...]] = ("r2", "mae", "rmse")
    head: ValueHead

    def __init__(self, spec: DataSpec, settings: ValueSettings) -> None:
        """Builds the backbone, and what mixes images."""
        super().__init__(spec, settings)
        self.kind, self.mix = settings.value_loss, PairMix(settings.mixup)

    def drawn(self, batch: ImageBatch) -> "ImageBatch | MixedBatch":
        """Returns the batch with its images and values mixed in pairs, where mixup is on."""
        return self.mix(batch.image, batch.label) if self.mix.is_on else batch

    def training_losses(self, batch: "ImageBatch | MixedBatch") -> dict[str, Tensor]:
        """Returns `loss`, the mean over images and standardised values in fp32."""
        if isinstance(batch, ImageBatch) and self.mix.is_on:
            batch = self.drawn(batch)
        target = batch.target if isinstance(batch, MixedBatch) else batch.label
        return {"loss": value_loss(self(batch.image), self.head.standardised(target), self.kind)}

    def new_metrics(self) -> ValueMetrics:
        """Returns metrics: R2, MAE and RMSE in the unit of the data."""
        return ValueMetrics(self.spec.value_names)

    def update_metrics(self, metrics: ValueMetrics, batch: ImageBatch) -> None:
        """Adds one evaluated batch."""
        metrics.update(self.head.in_unit(self(batch.image)), batch.label, batch.index)

    def results(self, metrics: ValueMetrics) -> dict[str, object]:
        """Returns `values.json`: the errors of each value, and true and predicted values of some images."""
        return {"values.json": values_json(self.spec, metrics.of_all())}

    def image_records(self, metrics: ValueMetrics) -> ValueRecords:
        """Returns true and predicted values of each image."""
        return ValueRecords(metrics.of_all(), self.spec.value_names)

    @torch.inference_mode()
    def values(self, images: Tensor) -> Tensor:
        """Returns values [B, V] in the unit of the data, fp32, of images [B, C, H, W], normalised."""
        return self.head.in_unit(self(images))

    def exportable(self, input: Mapping[str, Any]) -> Exportable:
        """Returns values in the unit of the data."""
        return value_exportable(self, self.head, input)

    def shown(self) -> ShownValues:
        """Returns the errors of images, the images, and a CSV with the values of each."""
        return ShownValues(self)
