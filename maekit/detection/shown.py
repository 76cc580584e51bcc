"""What is shown of a detector: the F1 of an image, objects beside detections, the files of its predictions."""

from collections.abc import Iterator, Mapping, Sequence
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
from maekit.detection.data.batch import DetEvalBatch
from maekit.detection.data.transforms import DetEvalTransform
from maekit.detection.mask_rcnn.boxes import sizes_of
from maekit.detection.mask_rcnn.types import Detections
from maekit.detection.metrics.coco_masks import coco_results
from maekit.detection.metrics.image import image_counts
from maekit.detection.pictures import (
    SHOWN_SCORE,
    detection_panel,
    shown_results,
    shown_sample,
    shown_truth,
    training_panel,
)
from maekit.detection.predictions import DetectionPredictor, DetectionWriter
from maekit.detection.tiled.predictor import TiledDetector

PANEL_ROWS = 4
TRAINING_IMAGES = 6


class Detects(Protocol):
    """A detector of the classes of its `spec`; `category_ids` are COCO's ids of them, in label order."""

    spec: DataSpec
    category_ids: list[int]

    def detect(self, images: Tensor, size: Tensor, original: Tensor) -> list[Detections]:
        """Returns what is in images [B, C, S, S] that hold pictures of `size` [B, 2], in pixels of their files.

        The files' sizes are `original` [B, 2]; all sizes are heights and widths.
        """

    def parameters(self) -> Iterator[nn.Parameter]:
        """Returns the parameters, which are on the model's device."""


class ShownDetections(Shown):
    """The F1 of each image, panels of images with their objects and detections, and COCO's files of results."""

    score: ClassVar[tuple[str, Literal["low", "high"]] | None] = ("F1", "high")

    def __init__(self, model: Detects) -> None:
        self.model = model

    def judge(self, batch: DetEvalBatch) -> list[Judged]:
        """Returns the F1 of each image's drawn boxes, in percent; nan for an image without objects and boxes.

        A box is right where its class and its place are.
        """
        found = self.model.detect(batch.image, batch.size, batch.original)
        judged = []
        for detections, size, truth in zip(found, sizes_of(batch.original), batch.truth, strict=True):
            results = coco_results(detections, size)
            counts = image_counts(results, truth, self.model.category_ids, SHOWN_SCORE)
            numbers = (
                f"{counts.objects} objects, {counts.found} found (score {SHOWN_SCORE} and up), {counts.right} right"
            )
            judged.append(Judged(counts.f1, f"F1 {counts.f1:.1f}: {numbers} in place and class"))
        return judged

    def picture(self, data: RunData) -> Image.Image | None:
        """Returns four validation images, evenly spread, with their objects and what the model finds."""
        return self._panel(data, evenly_spread(len(data.val_dataset()), PANEL_ROWS))

    def training_picture(self, data: RunData, seed: int) -> Image.Image:
        """Returns six augmented training images with their objects."""
        images, normalise = data.train_dataset(seed), normalise_of(data.input_transform())
        rows = []
        for index in evenly_spread(len(images), TRAINING_IMAGES):
            one = images[Draw(0, index)]
            picture = normalise.undo(one.image[:, : one.size.height, : one.size.width])
            rows.append((picture, one.size, shown_sample(one.boxes, one.labels, one.masks, one.size)))
        return training_panel(rows, self.model.spec.class_names)

    def example_picture(self, data: RunData, index: int) -> Image.Image:
        """Returns the image with its objects, and with what the model finds."""
        return self._panel(data, [index])

    def _panel(self, data: RunData, indices: Sequence[int]) -> Image.Image:
        images, device = data.val_dataset(), next(self.model.parameters()).device
        normalise = normalise_of(data.input_transform())
        rows = []
        for index in indices:
            one = data.collate([images[Draw(0, index)]])
            (detections,) = self.model.detect(one.image.to(device), one.size.to(device), one.original.to(device))
            (size,), (inside,) = sizes_of(one.original), sizes_of(one.size)
            picture = normalise.undo(one.image[0, :, : inside.height, : inside.width])
            found = shown_results(coco_results(detections, size), SHOWN_SCORE)
            truth = shown_truth(one.truth[0], size, self.model.category_ids)
            rows.append((picture, size, truth, found))
        return detection_panel(rows, self.model.spec.class_names)

    def predictor(self, input: Mapping[str, Any]) -> DetectionPredictor:
        """Returns what finds the objects of each image."""
        transform = DetEvalTransform(**input)
        return DetectionPredictor(transform, self.model.detect, transform.normalise.picture)

    def tiled_predictor(self, input: Mapping[str, Any], options: TileOptions) -> TiledDetector:
        """Returns what finds the objects of images larger than memory."""
        return TiledDetector.of(self.predictor(input), input, options)

    def prediction_writer(self, folder: Path, options: PredictOptions) -> DetectionWriter:
        """Returns what draws boxes, masks, names and scores, and writes tables and COCO's result dicts."""
        return DetectionWriter(folder, self.model.spec.class_names, self.model.category_ids, options)
