"""What is found in an image, and the files that `maekit predict` writes of it."""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from PIL import Image
from torch import Tensor

from maekit.base.predict_options import PredictOptions
from maekit.base.prediction_table import PredictionTable, number
from maekit.base.result_places import ResultPlaces
from maekit.data.images.bands.pixels import size_of
from maekit.data.images.decode import upright
from maekit.detection.crops import ObjectCrops
from maekit.detection.mask_rcnn.types import Detections
from maekit.detection.metrics.coco_eval import SeenImage, standard_results
from maekit.detection.metrics.coco_masks import CocoResults, coco_results, mask_areas
from maekit.detection.pictures import SHOWN_SCORE, Shown, detection_picture, shown_results
from maekit.drawing.views import LARGEST
from maekit.errors import UserError
from maekit.system.files import atomic_write_text
from maekit.system.size import HeightWidth

COLUMNS = (
    *("file", "width", "height", "object", "class", "category_id", "score", "x0", "y0", "x1", "y1"),
    *("mask_pixels", "crop"),
)
COCO_RESULTS = "coco_results.json"


@dataclass(frozen=True, eq=False)
class FoundObjects:
    """The objects found in one image.

    Attributes:
        size: of the upright image in pixels.
        objects: boxes, scores, labels and masks in those pixels.
    """

    size: HeightWidth
    objects: CocoResults


class DetectionSample(NamedTuple):
    """An image on its way through the model.

    Attributes:
        pixels: [C, S, S], padded.
        inside: size of the picture in it.
        picture: the image, scaled down if it is large.
        size: of the file.
    """

    pixels: Tensor
    inside: HeightWidth
    picture: Image.Image
    size: HeightWidth


class DetectionPredictor:
    """Finds the objects of images, one image at a time, which needs the memory of one.

    Args:
        transform: turns an image into pixels [C, S, S], padded below and on the right, and the size of the picture in
            it.
        detect: turns images [1, C, S, S] on the device, the sizes [1, 2] of the pictures in them and the sizes [1, 2]
            of their files into the objects found in each.
        picture_of: turns pixels [H, W, C] of bands into the RGB image that people see; None for a model of RGB.
    """

    def __init__(
        self,
        transform: Callable[[Any], tuple[Tensor, HeightWidth]],
        detect: Callable[[Tensor, Tensor, Tensor], Sequence[Detections]],
        picture_of: Callable[[Tensor], Image.Image] | None = None,
    ) -> None:
        self.transform, self.detect, self.picture_of = transform, detect, picture_of

    def prepare(self, image: Image.Image | Tensor) -> DetectionSample:
        """Returns a file's pixels for the model, and its picture, large ones scaled down to save memory.

        Pixels [H, W, C] of bands are upright already.
        """
        if isinstance(image, Tensor):
            assert self.picture_of is not None, "the model is of bands"
            picture = self.picture_of(image)
        else:
            image = picture = upright(image).convert("RGB")
        pixels, inside = self.transform(image)
        size = size_of(picture)
        picture.thumbnail((LARGEST, LARGEST), Image.Resampling.LANCZOS)
        return DetectionSample(pixels, inside, picture, size)

    def predict(self, samples: Sequence[DetectionSample], device: torch.device) -> Iterator[FoundObjects]:
        """Yields the objects of each image, whatever their scores."""
        for sample in samples:
            sizes = (torch.tensor([size], device=device) for size in (sample.inside, sample.size))
            (detections,) = self.detect(sample.pixels[None].to(device), *sizes)
            yield FoundObjects(sample.size, coco_results(detections, sample.size))


class DetectionWriter:
    """Writes the objects found in images: a picture `<name>.png` for each image, tables, and COCO's own form.

    `predictions.csv` has a row for each object whose score is high enough, the best of an image first; in
    `predictions.json` they stand with their image, also if there are none. The same objects are drawn, and cropped if
    that is asked. `coco_results.json` is a list of COCO's result dicts, whatever their scores, which COCO's evaluation
    needs; `images.json` has the images, whose ids count from 1, and the categories, as an annotation file would. All
    appear when all images are done. Pictures lie below the folder as the images do below their common parent.

    Args:
        folder: where the results go; no image may lie in it or below it.
        class_names: one a class, in label order.
        category_ids: COCO's id of each class.
        options: what else is asked; the lowest score is 0.3 unless said.

    Raises:
        UserError: more or fewer ids than names.
    """

    def __init__(
        self, folder: Path, class_names: Sequence[str], category_ids: Sequence[int], options: PredictOptions
    ) -> None:
        if len(class_names) != len(category_ids):
            raise UserError(f"got {len(category_ids)} category ids for {len(class_names)} classes, expected one each")
        options.refuse("objects", "top")
        self.names, self.category_ids = class_names, [int(category) for category in category_ids]
        self.least = SHOWN_SCORE if options.score is None else options.score
        self.draws, self.writes_images = options.pictures, options.pictures or options.crops
        self.places = ResultPlaces(folder, ("",), options.root)
        classes = [{"class": name, "category_id": c} for name, c in zip(class_names, self.category_ids, strict=True)]
        self.table = PredictionTable(folder, COLUMNS, {"kind": "objects", "score": self.least, "classes": classes})
        self.crops = ObjectCrops(folder, options.full_picture) if options.crops else None
        self.images: list[dict[str, object]] = []
        self.num_results = self.num_objects = 0
        self.partial = folder / "coco_results.partial.json"  # left by an interrupted run and overwritten by the next
        self.partial.write_text("[")

    def write(self, file: Path, picture: Image.Image, prediction: FoundObjects) -> None:
        """Draws the objects of an image, and lists them.

        Raises:
            UserError: the image lies in the folder of the results.
        """
        (picture_file,) = self.places.take(file)
        size, shown = prediction.size, shown_results(prediction.objects, self.least)
        if self.draws:
            detection_picture(picture, shown, size, self.names).save(picture_file)
        self._list(file, size, shown, self._cropped(file, picture, size, shown))
        self.images.append({"id": len(self.images) + 1, "file_name": str(file), **size._asdict()})
        self._append(SeenImage(len(self.images), size, prediction.objects, []))

    def close(self) -> Path:
        """Finishes the tables and COCO's files, and returns the folder."""
        folder = self.places.folder
        with self.partial.open("a") as file:
            file.write("\n]\n")
        self.partial.replace(folder / COCO_RESULTS)
        ids_and_names = zip(self.category_ids, self.names, strict=True)
        categories = [{"id": category, "name": name} for category, name in ids_and_names]
        text = json.dumps({"images": self.images, "categories": categories, "annotations": []}, indent=1)
        atomic_write_text(folder / "images.json", text + "\n")
        self.table.close()
        return folder

    def _cropped(
        self, file: Path, picture: Image.Image, size: HeightWidth, shown: Sequence[Shown]
    ) -> Sequence[str | None]:
        """Returns the crop of each object, below the folder; None where none are asked."""
        if self.crops is None or not shown:
            return [None] * len(shown)
        image, first = self.crops.image(file, picture), self.num_objects + 1
        return [
            self.crops.write(image, size, one.box, first + number, file, self.names[one.label])
            for number, one in enumerate(shown)
        ]

    def _list(self, file: Path, size: HeightWidth, shown: Sequence[Shown], crops: Sequence[str | None]) -> None:
        """Adds an image's objects to the tables; they are numbered on from 1 over all images."""
        areas = [None if one.rle is None else mask_areas([one.rle])[0] for one in shown]
        objects: list[dict[str, Any]] = []
        for one, area, crop in zip(shown, areas, crops, strict=True):
            self.num_objects += 1
            box = dict(zip(("x0", "y0", "x1", "y1"), (number(side, 2) for side in one.box), strict=True))
            what = {"class": self.names[one.label], "category_id": self.category_ids[one.label]}
            score = {"score": number(one.score or 0.0)}
            objects.append({"object": self.num_objects, **what, **score, **box, "mask_pixels": area, "crop": crop})
        head: dict[str, Any] = {"file": str(file), "width": size.width, "height": size.height}
        self.table.add([[*head.values(), *one.values()] for one in objects], {**head, "objects": objects})

    def _append(self, image: SeenImage) -> None:
        """Writes one line a result, so that only one image's results are in memory."""
        with self.partial.open("a") as file:
            for result in standard_results([image], self.category_ids):
                file.write(",\n" if self.num_results else "\n")
                file.write(json.dumps(result))
                self.num_results += 1
