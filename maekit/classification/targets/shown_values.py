"""What is shown of a model of numbers: the error of an image, the image, a table of values."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol

from PIL.Image import Image
from torch import Tensor

from maekit.base.data import RunData
from maekit.base.predict_options import PredictOptions
from maekit.base.shown import Judged, Shown
from maekit.base.spec import DataSpec
from maekit.classification.prediction_tables import ValueTable
from maekit.classification.predictions import ImagePredictor, ImageValues, on_host
from maekit.classification.shown import example_view, training_sheet
from maekit.classification.targets.heads import ValueHead
from maekit.data.images.batch import ImageBatch
from maekit.data.images.transforms import EvalTransform
from maekit.drawing.views import short_name


class GivesValues(Protocol):
    """A model of V values, whose names are in its `spec`."""

    spec: DataSpec
    head: ValueHead

    def __call__(self, images: Tensor) -> Tensor:
        """Returns standardised values [B, V] of images [B, C, H, W], normalised."""

    def values(self, images: Tensor) -> Tensor:
        """Returns values [B, V] in the unit of the data, fp32, of images [B, C, H, W], normalised."""


class ShownValues(Shown):
    """The error of each image in standard deviations, the image, and a CSV with the values of each image."""

    score: ClassVar[tuple[str, Literal["low", "high"]] | None] = ("error", "low")

    def __init__(self, model: GivesValues) -> None:
        self.model = model

    def judge(self, batch: ImageBatch) -> list[Judged]:
        """Returns the mean absolute error of each image's values, in the training images' standard deviations."""
        head = self.model.head
        values = head.in_unit(self.model(batch.image))
        errors = ((values - batch.label) / head.std).abs().mean(1)
        rows = zip(errors.tolist(), batch.label.tolist(), values.tolist(), strict=True)
        return [Judged(error, self._caption(true, found)) for error, true, found in rows]

    def _caption(self, true: Sequence[float], found: Sequence[float]) -> str:
        names = self.model.spec.value_names
        parts = [
            f"{short_name(name)}: true {t:.4g}, predicted {p:.4g}"
            for name, t, p in zip(names, true, found, strict=True)
        ]
        return "; ".join(parts[:2]) + ("; ..." if parts[2:] else "")

    def training_picture(self, data: RunData, seed: int) -> Image:
        """Returns twelve augmented training images with their values, before mixup."""
        return training_sheet(data, seed, self._words)

    def _words(self, values: Sequence[float]) -> str:
        """Returns the first two values of an image with their names."""
        names = self.model.spec.value_names
        named = [f"{short_name(name)} {value:.4g}" for name, value in zip(names, values, strict=True)]
        return "; ".join(named[:2]) + ("; ..." if named[2:] else "")

    def example_picture(self, data: RunData, index: int) -> Image:
        """Returns the image as the model sees it."""
        return example_view(data, index)

    def predictor(self, input: Mapping[str, Any]) -> ImagePredictor[ImageValues]:
        """Returns what predicts the values of each image."""
        return ImagePredictor(EvalTransform(**input), self._values)

    def _values(self, images: Tensor) -> list[ImageValues]:
        return [ImageValues(row) for row in on_host(self.model.values(images))]

    def prediction_writer(self, folder: Path, options: PredictOptions) -> ValueTable:
        """Returns what writes the values of each image."""
        return ValueTable(folder, self.model.spec.value_names, options)
