"""Predicts label maps with an exported segmenter, without the model's code."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import Tensor

from maekit.base.exportable import GraphModel
from maekit.base.predict_options import PredictOptions
from maekit.base.tile_options import TileOptions
from maekit.segmentation.data.transforms.transforms import SegEvalTransform
from maekit.segmentation.exportable import OUTPUT
from maekit.segmentation.predictions import LabelPredictor, SegmentationWriter
from maekit.segmentation.tiled.predictor import TiledSegmenter, tiled_segmenter
from maekit.segmentation.windows import predict_labels
from maekit.system.size import HeightWidth


def predictor_of(model: GraphModel) -> LabelPredictor:
    """Returns what predicts whole images with the windows, scales and mirroring of the run that was exported."""
    transform = SegEvalTransform(**model.metadata["input"])
    logits_of, known = _logits_of(model), _evaluation(model)

    def labels_of(pixels: Tensor, size: HeightWidth) -> Tensor:
        return predict_labels(logits_of, pixels, size=size, **known)

    return LabelPredictor(transform, labels_of, transform.normalise.picture)


def tiled_of(model: GraphModel, options: TileOptions) -> TiledSegmenter:
    """Returns what segments images larger than memory."""
    return tiled_segmenter(_logits_of(model), _evaluation(model), model.metadata["input"], options)


def writer_of(model: GraphModel, folder: Path, options: PredictOptions) -> SegmentationWriter:
    """Returns what writes colour overlays with a legend, and the labels themselves."""
    palette = [(red, green, blue) for red, green, blue in model.metadata["palette"]]
    return SegmentationWriter(folder, model.metadata["class_names"], palette, options)


def _logits_of(model: GraphModel) -> Callable[[Tensor], Tensor]:
    return lambda windows: model(windows)[OUTPUT].to(windows.device)


def _evaluation(model: GraphModel) -> dict[str, Any]:
    """Returns the arguments of `predict_labels` that the file says."""
    known = model.metadata
    return {
        "num_classes": len(known["class_names"]),
        "window": HeightWidth(*known["image_size"]),
        "stride": HeightWidth(*known["window_stride"]),
        "batch": known["window_batch"],
        "scales": known["scales"],
        "flip": known["flip"],
    }
