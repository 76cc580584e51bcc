"""Predicts images with an exported file of a model of classes, labels, values or grades; none of its code runs."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from maekit.base.exportable import GraphModel
from maekit.base.predict_options import PredictOptions
from maekit.base.shown import PredictionWriter
from maekit.base.tile_options import TileOptions
from maekit.classification.prediction_tables import ClassTable, GradeTable, LabelTable, ValueTable
from maekit.classification.predictions import (
    ClassScores,
    ImageGrade,
    ImagePredictor,
    ImageValues,
    LabelScores,
    on_host,
)
from maekit.data.images.transforms import EvalTransform
from maekit.errors import UserError

Found = ClassScores | LabelScores | ImageValues | ImageGrade


def predictor_of(model: GraphModel) -> ImagePredictor[Found]:
    """Returns what predicts images with a file, and prepares them as its metadata say."""
    of_outputs = _reader(model)

    def predict(images: Tensor) -> Sequence[Found]:
        return of_outputs(model(images))

    return ImagePredictor(EvalTransform(**model.metadata["input"]), predict)


def tiled_of(model: GraphModel, options: TileOptions) -> None:
    """Returns nothing: one result an image is not made of tiles."""


def writer_of(model: GraphModel, folder: Path, options: PredictOptions) -> PredictionWriter:
    """Returns what writes such predictions into a folder, as it does those of a checkpoint."""
    about = model.metadata
    writers: dict[str, Callable[[], PredictionWriter]] = {
        "classes": lambda: ClassTable(folder, about["class_names"], options),
        "labels": lambda: LabelTable(
            folder, about["class_names"], about["threshold"], options, origin=about["threshold_origin"]
        ),
        "values": lambda: ValueTable(folder, about["value_names"], options),
        "grades": lambda: GradeTable(folder, about["class_names"], options),
    }
    return writers[_target(model)]()


def _reader(model: GraphModel) -> Callable[[dict[str, Tensor]], Sequence[Found]]:
    readers: dict[str, Callable[[dict[str, Tensor]], Sequence[Found]]] = {
        "classes": lambda found: [ClassScores(row) for row in on_host(found["probabilities"])],
        "labels": lambda found: [LabelScores(row) for row in on_host(found["probabilities"])],
        "values": lambda found: [ImageValues(row) for row in on_host(found["values"])],
        "grades": lambda found: [
            ImageGrade(grade, row)
            for grade, row in zip(found["grade"].tolist(), on_host(found["probabilities"]), strict=True)
        ],
    }
    return readers[_target(model)]


def _target(model: GraphModel) -> str:
    """Returns what is predicted, in the words of `DataSpec.target`."""
    target: Any = model.metadata.get("target")
    if target not in ("classes", "labels", "values", "grades"):
        raise UserError(f"{model.path}: got a file that predicts {target}, expected classes, labels, values or grades")
    return str(target)
