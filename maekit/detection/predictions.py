"""What is found in an image, and the files that `maekit predict` writes of it."""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from PIL import Image
from torch import Tensor

from maekit.base.result_places import ResultPlaces
from maekit.data.images.bands.pixels import size_of
from maekit.data.images.decode import upright
from maekit.detection.mask_rcnn.types import Detections
from maekit.detection.metrics.coco_eval import SeenImage, standard_results
from maekit.detection.metrics.coco_masks import CocoResults, coco_results
from maekit.detection.pictures import detection_picture, shown_results
from maekit.drawing.views import LARGEST
from maekit.errors import UserError
from maekit.system.files import atomic_write_text
from maekit.system.size import HeightWidth


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
    """Writes a picture `<name>.png` for each image, and the objects found in all images in COCO's form.

    `predictions.json` is a list of COCO's result dicts, whatever their scores; `images.json` has the images, whose ids
    count from 1, and the categories, as an annotation file would. Both appear when all images are done. Pictures lie
    below the folder as the images do below their common parent.

    Args:
        folder: where the results go; no image may lie in it or below it.
        class_names: one a class, in label order.
        category_ids: COCO's id of each class.
        draw_above: the lowest score, 0 to 1, of an object that is drawn.

    Raises:
        UserError: `draw_above` is out of range, or there are more or fewer ids than names.
    """

    def __init__(
        self, folder: Path, class_names: Sequence[str], category_ids: Sequence[int], *, draw_above: float = 0.5
    ) -> None:
        if not 0 <= draw_above <= 1:
            raise UserError(f"draw_above: got {draw_above}, expected a score from 0 to 1")
        if len(class_names) != len(category_ids):
            raise UserError(f"got {len(category_ids)} category ids for {len(class_names)} classes, expected one each")
        self.names, self.category_ids = class_names, [int(category) for category in category_ids]
        self.draw_above = draw_above
        self.places = ResultPlaces(folder, ("",))
        self.images: list[dict[str, object]] = []
        self.num_results = 0
        self.partial = folder / ".predictions.json.partial"  # left by an interrupted run and overwritten by the next
        self.partial.write_text("[")

    def write(self, file: Path, picture: Image.Image, prediction: FoundObjects) -> None:
        """Draws the objects of an image, and lists them.

        Raises:
            UserError: the image lies in the folder of the results.
        """
        (picture_file,) = self.places.take(file)
        size, found = prediction.size, prediction.objects
        detection_picture(picture, shown_results(found, self.draw_above), size, self.names).save(picture_file)
        self.images.append({"id": len(self.images) + 1, "file_name": str(file), **size._asdict()})
        self._append(SeenImage(len(self.images), size, found, []))

    def close(self) -> Path:
        """Finishes `predictions.json` and `images.json`, and returns the folder."""
        with self.partial.open("a") as file:
            file.write("\n]\n")
        self.partial.replace(self.places.folder / "predictions.json")
        ids_and_names = zip(self.category_ids, self.names, strict=True)
        categories = [{"id": category, "name": name} for category, name in ids_and_names]
        text = json.dumps({"images": self.images, "categories": categories, "annotations": []}, indent=1)
        atomic_write_text(self.places.folder / "images.json", text + "\n")
        return self.places.folder

    def _append(self, image: SeenImage) -> None:
        """Writes one line a result, so that only one image's results are in memory."""
        with self.partial.open("a") as file:
            for result in standard_results([image], self.category_ids):
                file.write(",\n" if self.num_results else "\n")
                file.write(json.dumps(result))
                self.num_results += 1
