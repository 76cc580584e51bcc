"""The CSV that `maekit predict` writes for classifiers, and for models of other targets of an image."""

import csv
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from PIL import Image

from maekit.base.predict_options import PredictOptions
from maekit.classification.predictions import ClassScores, ImageGrade, ImageValues, LabelScores


class ImageTable(ABC):
    """A CSV with one row an image: its file, and what a subclass makes of its prediction.

    Args:
        folder: where `predictions.csv` is written.
        columns: heads of the columns after `file`.
    """

    writes_images: ClassVar[bool] = False  # so the output folder may be inside the folder of images

    def __init__(self, folder: Path, columns: Sequence[str]) -> None:
        self.path = folder / "predictions.csv"
        folder.mkdir(parents=True, exist_ok=True)
        self.file = self.path.open("w", newline="", encoding="utf-8", errors="surrogateescape")
        self.table = csv.writer(self.file)
        self.table.writerow(["file", *columns])

    @abstractmethod
    def cells(self, prediction: Any) -> list[str]:
        """Returns the cells after the file."""

    def write(self, file: Path, picture: Image.Image, prediction: Any) -> None:
        """Appends a row."""
        self.table.writerow([str(file), *self.cells(prediction)])

    def close(self) -> Path:
        """Closes the file and returns its path."""
        self.file.close()
        return self.path


class ClassTable(ImageTable):
    """A CSV with one row an image: file, the best classes and their probabilities.

    Args:
        folder: where `predictions.csv` is written.
        class_names: one name a class, in label order.
        options: how many classes a row names.
    """

    def __init__(self, folder: Path, class_names: Sequence[str], options: PredictOptions) -> None:
        self.class_names, self.top = class_names, min(options.top, len(class_names))
        super().__init__(folder, [f"{what}_{i + 1}" for i in range(self.top) for what in ("class", "probability")])

    def cells(self, prediction: ClassScores) -> list[str]:
        """Returns the names and probabilities of the best classes in turn."""
        best = np.argsort(-prediction.probabilities, kind="stable")[: self.top]
        pairs = zip(best.tolist(), prediction.probabilities[best].tolist(), strict=True)
        return [cell for label, p in pairs for cell in (self.class_names[label], f"{p:.6f}")]


class LabelTable(ImageTable):
    """A CSV with one row an image: file, its labels from the threshold on, and the probability of each label.

    Args:
        folder: where `predictions.csv` is written.
        class_names: one name a label.
        threshold: the probability from which a label is given.
    """

    def __init__(self, folder: Path, class_names: Sequence[str], threshold: float) -> None:
        self.names, self.threshold = class_names, threshold
        super().__init__(folder, ["labels", *class_names])

    def cells(self, prediction: LabelScores) -> list[str]:
        """Returns the labels with semicolons between, then the probabilities."""
        row = prediction.probabilities.tolist()
        given = [name for name, p in zip(self.names, row, strict=True) if p >= self.threshold]
        return [";".join(given), *(f"{p:.6f}" for p in row)]


class ValueTable(ImageTable):
    """A CSV with one row an image: file, and its values in the unit of the data.

    Args:
        folder: where `predictions.csv` is written.
        value_names: one name a value.
    """

    def __init__(self, folder: Path, value_names: Sequence[str]) -> None:
        super().__init__(folder, value_names)

    def cells(self, prediction: ImageValues) -> list[str]:
        """Returns the values."""
        return [f"{value:.7g}" for value in prediction.values.tolist()]


class GradeTable(ImageTable):
    """A CSV with one row an image: file, its grade, and the probability of each grade.

    Args:
        folder: where `predictions.csv` is written.
        class_names: one name a grade, the lowest first.
    """

    def __init__(self, folder: Path, class_names: Sequence[str]) -> None:
        self.names = class_names
        super().__init__(folder, ["grade", *class_names])

    def cells(self, prediction: ImageGrade) -> list[str]:
        """Returns the grade, then the probabilities."""
        return [self.names[prediction.grade], *(f"{p:.6f}" for p in prediction.probabilities.tolist())]
