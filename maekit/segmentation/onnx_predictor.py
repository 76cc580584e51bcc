"""Predicts label maps with an exported segmenter, without the model's code."""

from functools import partial
from pathlib import Path

from torch import Tensor

from maekit.base.exportable import GraphModel
from maekit.base.predict_options import PredictOptions
from maekit.segmentation.data.transforms.transforms import SegEvalTransform
from maekit.segmentation.exportable import OUTPUT
from maekit.segmentation.predictions import LabelPredictor, SegmentationWriter
from maekit.segmentation.windows import predict_labels
from maekit.system.size import HeightWidth


def predictor_of(model: GraphModel) -> LabelPredictor:
    """Returns what predicts whole images with the windows, scales and mirroring of the run that was exported."""
    known = model.metadata
    transform = SegEvalTransform(**known["input"])

    def logits_of(windows: Tensor) -> Tensor:
        return model(windows)[OUTPUT].to(windows.device)

    def labels_of(pixels: Tensor, size: HeightWidth) -> Tensor:
        return evaluate(pixels, size=size)

    evaluate = partial(
        predict_labels,
        logits_of,
        num_classes=len(known["class_names"]),
        window=HeightWidth(*known["image_size"]),
        stride=HeightWidth(*known["window_stride"]),
        batch=known["window_batch"],
        scales=known["scales"],
        flip=known["flip"],
    )
    return LabelPredictor(transform, labels_of, transform.normalise.picture)


def writer_of(model: GraphModel, folder: Path, options: PredictOptions) -> SegmentationWriter:
    """Returns what writes colour overlays with a legend, and the labels themselves."""
    palette = [(red, green, blue) for red, green, blue in model.metadata["palette"]]
    return SegmentationWriter(folder, model.metadata["class_names"], palette, options)
