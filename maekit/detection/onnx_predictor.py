"""Finds objects with an exported detector, without the model's code."""

from pathlib import Path

from torch import Tensor

from maekit.base.exportable import GraphModel
from maekit.base.predict_options import PredictOptions
from maekit.base.tile_options import TileOptions
from maekit.detection.data.transforms import DetEvalTransform
from maekit.detection.graph.outputs import detections_of
from maekit.detection.mask_rcnn.types import Detections
from maekit.detection.predictions import DetectionPredictor, DetectionWriter
from maekit.detection.tiled.predictor import TiledDetector


def predictor_of(model: GraphModel) -> DetectionPredictor:
    """Returns what finds the objects of whole images, in pixels of their files."""
    transform = DetEvalTransform(**model.metadata["input"])

    def detect(images: Tensor, size: Tensor, original: Tensor) -> list[Detections]:
        return detections_of(model(images, size), size, original)

    return DetectionPredictor(transform, detect, transform.normalise.picture)


def tiled_of(model: GraphModel, options: TileOptions) -> TiledDetector:
    """Returns what finds the objects of images larger than memory."""
    return TiledDetector.of(predictor_of(model), model.metadata["input"], options)


def writer_of(model: GraphModel, folder: Path, options: PredictOptions) -> DetectionWriter:
    """Returns what draws boxes, masks, names and scores on the images, and writes COCO's result dicts."""
    known = model.metadata
    return DetectionWriter(folder, known["class_names"], known["category_ids"], options)
