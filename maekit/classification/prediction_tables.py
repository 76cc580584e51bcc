"""What `maekit predict` writes for classifiers, and for models of other targets of an image."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from maekit.base.predict_options import TOP, PredictOptions
from maekit.base.prediction_table import Cell, PredictionTable, number
from maekit.classification.predictions import ClassScores, ImageGrade, ImageValues, LabelScores
from maekit.drawing.pages import SheetPages
from maekit.drawing.sheet import Tile, named_with_folder
from maekit.system.plain import finite_number
from maekit.system.terminal import say

Values = Mapping[str, object]

CAPTION_LINES = 3  # labels or values that stand below an image of the contact sheet


class Written(NamedTuple):
    """What is written of one image.

    Attributes:
        cells: of the CSV, after the file.
        values: of the JSON, by name.
        captions: of the contact sheet, a line each.
    """

    cells: Sequence[Cell]
    values: Values
    captions: Sequence[str]


class ImageTable(ABC):
    """A CSV and a JSON with an entry an image, and contact sheets of the images with what was predicted.

    Args:
        folder: where they are written.
        columns: heads of the CSV's columns after `file`.
        about: what the JSON says of all images.
        options: whether there are contact sheets.
    """

    title = ""  # of the contact sheets: what stands below each image

    def __init__(self, folder: Path, columns: Sequence[str], about: Values, options: PredictOptions) -> None:
        self.writes_images = options.pictures
        self.table = PredictionTable(folder, ["file", *columns], about)
        self.pages = SheetPages(folder, self.title) if options.pictures else None

    @abstractmethod
    def written(self, prediction: Any) -> Written:
        """Returns what is written of a prediction."""

    def write(self, file: Path, picture: Image.Image, prediction: Any) -> None:
        """Adds an image."""
        cells, values, captions = self.written(prediction)
        self.table.add([[str(file), *cells]], {"file": str(file), **values})
        if self.pages is not None:
            self.pages.add(Tile(picture, (*captions, named_with_folder(file))))

    def close(self) -> Path:
        """Finishes all files and returns the CSV, or the folder if there are pictures beside it."""
        path = self.table.close()
        if self.pages is None:
            return path
        if left := self.pages.close():
            say(left)
        return path.parent


class ClassTable(ImageTable):
    """The best classes of each image and their probabilities.

    Args:
        folder: where the files are written.
        class_names: one name a class, in label order.
        options: how many classes are listed (5 unless said), and from which probability on.
    """

    title = "the most likely class and its probability"

    def __init__(self, folder: Path, class_names: Sequence[str], options: PredictOptions) -> None:
        options.refuse("classes", "crops")
        self.names, self.least = class_names, options.score or 0.0
        self.top = min(options.top or TOP, len(class_names))
        columns = [f"{what}_{i + 1}" for i in range(self.top) for what in ("class", "probability")]
        super().__init__(folder, columns, {"kind": "classes", "classes": list(class_names)}, options)

    def written(self, prediction: ClassScores) -> Written:
        """Returns the best classes in turn; cells without one are empty."""
        best = np.argsort(-prediction.probabilities, kind="stable")[: self.top].tolist()
        listed = [label for label in best if prediction.probabilities[label] >= self.least]
        found = [(label, self.names[label], float(prediction.probabilities[label])) for label in listed]
        cells: list[Cell] = [cell for _, name, p in found for cell in (name, f"{p:.6f}")]
        cells += [None] * (2 * (self.top - len(found)))
        classes = [{"class": name, "label": label, "probability": number(p)} for label, name, p in found]
        caption = f"{found[0][1]} {found[0][2]:.2f}" if found else f"none from {self.least:g} on"
        return Written(cells, {"classes": classes}, [caption])


class LabelTable(ImageTable):
    """The labels of each image from the threshold on, and the probability of each label.

    Args:
        folder: where the files are written.
        class_names: one name a label.
        threshold: the probability from which a label is given, unless the options have a score.
        options: what else is asked.
        origin: why that is the threshold, in words; it is printed.
    """

    title = "the labels and their probabilities"

    def __init__(
        self, folder: Path, class_names: Sequence[str], threshold: float, options: PredictOptions, *, origin: str = ""
    ) -> None:
        options.refuse("labels", "top", "crops")
        self.names, self.threshold = class_names, threshold if options.score is None else options.score
        why = ": --score" if options.score is not None else f": {origin}" if origin else ""
        say(f"labels  are given from a probability of {self.threshold:g} on{why}")
        about = {"kind": "labels", "labels": list(class_names), "threshold": self.threshold}
        super().__init__(folder, ["labels", *class_names], about, options)

    def written(self, prediction: LabelScores) -> Written:
        """Returns the labels, with semicolons between in the CSV, then the probabilities."""
        row = list(zip(self.names, prediction.probabilities.tolist(), strict=True))
        given = sorted(((p, name) for name, p in row if p >= self.threshold), reverse=True)
        names = [name for name, p in row if p >= self.threshold]
        values = {"labels": names, "probabilities": {name: number(p) for name, p in row}}
        captions = [f"{name} {p:.2f}" for p, name in given[:CAPTION_LINES]] or ["none"]
        captions += ["..."] * (len(given) > CAPTION_LINES)
        return Written([";".join(names), *(f"{p:.6f}" for _, p in row)], values, captions)


class ValueTable(ImageTable):
    """The values of each image in the unit of the data.

    Args:
        folder: where the files are written.
        value_names: one name a value.
        options: what else is asked.
    """

    def __init__(self, folder: Path, value_names: Sequence[str], options: PredictOptions) -> None:
        options.refuse("values", "top", "score", "crops")
        self.names = value_names
        super().__init__(folder, value_names, {"kind": "values", "values": list(value_names)}, options)

    def written(self, prediction: ImageValues) -> Written:
        """Returns the values with seven significant digits, about what float32 holds."""
        row = [f"{value:.7g}" for value in prediction.values.tolist()]
        values = {name: finite_number(float(text)) for name, text in zip(self.names, row, strict=True)}
        short = [f"{name} {value:.4g}" for name, value in zip(self.names, prediction.values.tolist(), strict=True)]
        captions = [*short[:CAPTION_LINES], *["..."] * (len(short) > CAPTION_LINES)]
        return Written(row, {"values": values}, captions)


class GradeTable(ImageTable):
    """The grade of each image, and the probability of each grade.

    Args:
        folder: where the files are written.
        class_names: one name a grade, the lowest first.
        options: what else is asked.
    """

    def __init__(self, folder: Path, class_names: Sequence[str], options: PredictOptions) -> None:
        options.refuse("grades", "top", "score", "crops")
        self.names = class_names
        super().__init__(folder, ["grade", *class_names], {"kind": "grades", "grades": list(class_names)}, options)

    def written(self, prediction: ImageGrade) -> Written:
        """Returns the grade, then the probabilities."""
        grade, row = self.names[prediction.grade], prediction.probabilities.tolist()
        probabilities = {name: number(p) for name, p in zip(self.names, row, strict=True)}
        values = {"grade": grade, "probabilities": probabilities}
        return Written([grade, *(f"{p:.6f}" for p in row)], values, [f"{grade} {row[prediction.grade]:.2f}"])
