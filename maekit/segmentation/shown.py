"""What is shown of a segmentation model: the mIoU of an image, labels beside predictions, overlays."""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol

from PIL import Image
from torch import Tensor, nn

from maekit.base.data import RunData
from maekit.base.predict_options import PredictOptions
from maekit.base.shown import Judged, Shown, evenly_spread
from maekit.base.spec import DataSpec, Draw
from maekit.base.tile_options import TileOptions
from maekit.data.images.transforms import normalise_of
from maekit.drawing.text import Colour
from maekit.segmentation.data.dataset import SegEvalBatch
from maekit.segmentation.data.transforms.transforms import SegEvalTransform
from maekit.segmentation.metrics import image_score
from maekit.segmentation.pictures import panel, training_panel
from maekit.segmentation.predictions import LabelPredictor, SegmentationWriter
from maekit.segmentation.tiled.predictor import TiledSegmenter, tiled_segmenter
from maekit.system.size import HeightWidth

PANEL_ROWS = 4
TRAINING_CROPS = 6


class LabelsPixels(Protocol):
    """A model that gives each pixel one of the classes of its `spec`, whose colours are in its `palette`.

    `evaluate_at` is `windows.predict_labels` with all that is known of the model.
    """

    spec: DataSpec
    palette: tuple[Colour, ...]
    evaluate_at: partial[Tensor]

    def __call__(self, images: Tensor) -> Tensor:
        """Returns logits [n, classes, h, w] of windows [n, C, h, w], normalised."""

    def labels(self, image: Tensor, size: HeightWidth) -> Tensor:
        """Returns the class of each pixel at `size`, int64 [h, w], of one image [C, H, W], normalised, of any size."""

    def parameters(self) -> Iterator[nn.Parameter]:
        """Returns the parameters, which are on the model's device."""


class ShownLabels(Shown):
    """The mIoU of each image, panels of images, labels and predictions, and overlays with a legend."""

    score: ClassVar[tuple[str, Literal["low", "high"]] | None] = ("mIoU", "high")

    def __init__(self, model: LabelsPixels) -> None:
        self.model = model

    def judge(self, batch: SegEvalBatch) -> list[Judged]:
        """Returns the mIoU of each image alone, in percent."""
        judged = []
        for image, label in zip(batch.images, batch.labels, strict=True):
            predicted = self.model.labels(image, HeightWidth(*label.shape))
            score = image_score(predicted, label, len(self.model.spec.class_names))
            judged.append(Judged(score.miou, f"mIoU {score.miou:.1f}, {score.right:.1f} % of the pixels right"))
        return judged

    def picture(self, data: RunData) -> Image.Image | None:
        """Returns four validation images, evenly spread, with their labels and what the model makes of them."""
        return self._panel(data, evenly_spread(len(data.val_dataset()), PANEL_ROWS))

    def training_picture(self, data: RunData, seed: int) -> Image.Image:
        """Returns six augmented training crops with their labels."""
        images, normalise = data.train_dataset(seed), normalise_of(data.input_transform())
        drawn = [images[Draw(0, index)] for index in evenly_spread(len(images), TRAINING_CROPS)]
        samples = [(normalise.undo(one.image), one.label.numpy()) for one in drawn]
        return training_panel(samples, self.model.palette, self.model.spec.class_names)

    def example_picture(self, data: RunData, index: int) -> Image.Image:
        """Returns the image, its labels, and what the model makes of it."""
        return self._panel(data, [index])

    def _panel(self, data: RunData, indices: Sequence[int]) -> Image.Image:
        images, device = data.val_dataset(), next(self.model.parameters()).device
        normalise = normalise_of(data.input_transform())
        rows = []
        for index in indices:
            sample = images[Draw(0, index)]
            label = sample.label.numpy()
            predicted = (
                self.model.labels(sample.image.to(device, non_blocking=True), HeightWidth(*label.shape)).cpu().numpy()
            )
            rows.append((normalise.undo(sample.image), label, predicted))
        return panel(rows, self.model.palette, self.model.spec.class_names)

    def predictor(self, input: Mapping[str, Any]) -> LabelPredictor:
        """Returns what predicts the label of each pixel."""
        transform = SegEvalTransform(**input)
        return LabelPredictor(transform, self.model.labels, transform.normalise.picture)

    def tiled_predictor(self, input: Mapping[str, Any], options: TileOptions) -> TiledSegmenter:
        """Returns what predicts the labels of images larger than memory."""
        return tiled_segmenter(self.model, self.model.evaluate_at.keywords, input, options)

    def prediction_writer(self, folder: Path, options: PredictOptions) -> SegmentationWriter:
        """Returns what writes colour overlays with a legend, the labels themselves, and each class's share."""
        return SegmentationWriter(folder, self.model.spec.class_names, self.model.palette, options)
