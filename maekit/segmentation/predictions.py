"""What is predicted of the pixels of an image, and the files that `maekit predict` writes of it."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from maekit.base.predict_options import PredictOptions
from maekit.base.prediction_table import PredictionTable
from maekit.base.result_places import ResultPlaces
from maekit.data.images.bands.pixels import size_of
from maekit.data.images.decode import upright
from maekit.drawing.text import Colour
from maekit.drawing.views import LARGEST
from maekit.segmentation.pictures import check_palette, overlay
from maekit.segmentation.tiled.files import tiled_overlay, write_tiff
from maekit.segmentation.tiled.labels import TiledLabels
from maekit.system.size import HeightWidth

COLUMNS = ("file", "width", "height", "class", "label", "pixels", "share", "labels_file")


@dataclass(frozen=True, eq=False)
class LabelMap:
    """The label of each pixel, 0 to C-1, uint8 [H, W] at the size of the upright image."""

    labels: NDArray[np.uint8]


class Sample(NamedTuple):
    """An image that waits for its prediction.

    Attributes:
        pixels: [C, H, W], the model's input.
        picture: the upright image, no side above 1600 pixels.
        size: of the upright image in pixels.
    """

    pixels: Tensor
    picture: Image.Image
    size: HeightWidth


class LabelPredictor:
    """Predicts the label of each pixel, one image at a time, since their sizes differ.

    Args:
        transform: turns an image into the model's pixels [C, H, W].
        labels_of: turns pixels [C, H, W] on the device, and the file's size, into labels, integers [h, w], 0 to 254.
        picture_of: turns pixels [H, W, C] of bands into the RGB image that people see; None for a model of RGB.
    """

    def __init__(
        self,
        transform: Callable[[Any], Tensor],
        labels_of: Callable[[Tensor, HeightWidth], Tensor],
        picture_of: Callable[[Tensor], Image.Image] | None = None,
    ) -> None:
        self.transform, self.labels_of, self.picture_of = transform, labels_of, picture_of

    def prepare(self, image: Image.Image | Tensor) -> Sample:
        """Returns what `predict` needs of an image, which is rotated by its EXIF orientation as viewers do.

        Pixels [H, W, C] of bands are upright already.
        """
        if isinstance(image, Tensor):
            assert self.picture_of is not None, "the model is of bands"
            pixels, size, picture = self.transform(image), size_of(image), self.picture_of(image)
        else:
            picture = upright(image).convert("RGB")
            pixels, size = self.transform(picture), size_of(picture)
        picture.thumbnail((LARGEST, LARGEST), Image.Resampling.LANCZOS)
        return Sample(pixels, picture, size)

    def predict(self, samples: Sequence[Sample], device: torch.device) -> Iterator[LabelMap]:
        """Yields the labels of each image at the size of its file."""
        for sample in samples:
            labels = self.labels_of(sample.pixels.to(device, non_blocking=True), sample.size)
            yield LabelMap(labels.to(torch.uint8).cpu().numpy())


class SegmentationWriter:
    """Writes two PNGs for each image, and the classes of all images as CSV and JSON.

    `<name>.png` is for people; `<name>_labels.png` is one byte a pixel, the label, at the file's size, with the class
    colours as its palette (mode P). The results' folders mirror the images' folders, see `ResultPlaces`. The CSV has a
    row for each class of an image, the largest first: its pixels and its share of the image, 0 to 1. Labels that are on
    the disk (`TiledLabels`) become a tiled TIFF file in the PNG's place.

    Args:
        folder: where the results go; no image may lie in it or below it.
        class_names: one a class, in label order; at most 255.
        palette: one colour a class.
        options: what else is asked.

    Raises:
        UserError: more classes than a byte can hold, or another number of colours than of names.
    """

    writes_images = True

    def __init__(
        self, folder: Path, class_names: Sequence[str], palette: Sequence[Colour], options: PredictOptions
    ) -> None:
        check_palette(palette, class_names)
        options.refuse("pixels", "top", "score", "crops")
        self.names, self.palette, self.draws = class_names, palette, options.pictures
        self.places = ResultPlaces(folder, ("", "_labels"), options.root)
        about = {"kind": "label maps", "classes": list(class_names), "palette": [list(colour) for colour in palette]}
        self.table = PredictionTable(folder, COLUMNS, about)
        self.waiting: list[tuple[Path, Sequence[int], HeightWidth, Path]] = []  # for the folder of their labels

    def write(self, file: Path, picture: Image.Image, prediction: LabelMap | TiledLabels) -> None:
        """Writes the two pictures of an image and its classes.

        Raises:
            UserError: the image lies in the folder of the results.
        """
        picture_file, labels_file = self.places.take(file)
        if isinstance(prediction, TiledLabels):
            labels_file = labels_file.with_suffix(".tif")
            write_tiff(labels_file, prediction, self.palette)
            if self.draws:
                tiled_overlay(picture, prediction, self.palette, self.names).save(picture_file)
            self.list_classes(file, prediction.counts.tolist(), prediction.size, labels_file)
            return
        if self.draws:
            overlay(picture, prediction.labels, self.palette, self.names).save(picture_file)
        indexed = Image.fromarray(prediction.labels)
        indexed.putpalette(np.asarray(self.palette, dtype=np.uint8).tobytes())
        indexed.save(labels_file)
        counts = np.bincount(prediction.labels.ravel(), minlength=len(self.names)).tolist()
        self.list_classes(file, counts, HeightWidth(*prediction.labels.shape), labels_file)

    def list_classes(self, file: Path, counts: Sequence[int], size: HeightWidth, labels_file: Path) -> None:
        """Adds the classes of an image to the tables.

        Args:
            file: of the image.
            counts: pixels of each class, C integers.
            size: of the image.
            labels_file: its label map; in which folder is known only at the end where `options.root` is not given.
        """
        if not self.places.stays:
            self.waiting.append((file, counts, size, labels_file))
            return
        self._add(file, counts, size, labels_file)

    def _add(self, file: Path, counts: Sequence[int], size: HeightWidth, labels_file: Path) -> None:
        total, labels_name = size.height * size.width, self.places.relative(file, labels_file)
        present = sorted((label for label, count in enumerate(counts) if count), key=lambda label: -counts[label])
        found = [(label, self.names[label], int(counts[label]), round(counts[label] / total, 6)) for label in present]
        head = (str(file), size.width, size.height)
        self.table.add(
            [(*head, name, label, pixels, f"{share:.6f}", labels_name) for label, name, pixels, share in found],
            {
                **{"file": str(file), "width": size.width, "height": size.height, "labels_file": labels_name},
                "classes": [
                    {"class": name, "label": label, "pixels": pixels, "share": share}
                    for label, name, pixels, share in found
                ],
            },
        )

    def close(self) -> Path:
        """Finishes the tables, and returns the folder of the results."""
        for image in self.waiting:
            self._add(*image)
        self.table.close()
        return self.places.folder
