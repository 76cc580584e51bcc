"""Images with objects as samples, and their collation into batches."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import default_collate

from maekit.base.data import DrawDataset, seeded
from maekit.base.spec import Draw
from maekit.data.images.bands.pixels import size_of
from maekit.data.images.bands.reading import BandReading
from maekit.data.images.decode import Reading, read_image, upright
from maekit.data.images.reading_of import AnyReading
from maekit.data.images.reduced_size import annotated_factor, full_size
from maekit.detection.data.annotation import Annotation
from maekit.detection.data.batch import DetBatch, DetEvalBatch, InstanceMask
from maekit.detection.data.coco.file import CocoFile
from maekit.detection.data.coco.rle import bitmap_of_counts
from maekit.detection.data.transforms import DetEvalTransform, DetTrainTransform
from maekit.errors import UserError
from maekit.system.size import HeightWidth

AS_STORED = Reading(upright=False)
SWAPPED = "width and height are swapped"


class DetSample(NamedTuple):
    """One training sample: image [C, S, S], size of the picture in it, boxes [K, 4], labels [K], masks, index.

    There are K masks, or none where boxes alone are learned.
    """

    image: Tensor
    size: HeightWidth
    boxes: Tensor
    labels: Tensor
    masks: list[InstanceMask]
    index: int  # type: ignore[assignment]  # hides tuple.index


class DetEvalSample(NamedTuple):
    """One evaluation sample: image [C, S, S], sizes of the picture in it and of the file, id, annotations, index."""

    image: Tensor
    size: HeightWidth
    original: HeightWidth
    image_id: int
    truth: list[Annotation]
    index: int  # type: ignore[assignment]


class DetTrainDataset(DrawDataset):
    """Random views by (seed, epoch, index) of the images that hold an object; crowds are left out.

    Args:
        file: annotations and folder of the images.
        transform: image and shapes to tensors.
        seed: of the augmentation.
        reading: what is white in pictures of more than 8 bits, or which bands are read.
        reduced: decode JPEGs no larger than a view needs.
    """

    def __init__(
        self,
        file: CocoFile,
        transform: DetTrainTransform,
        seed: int,
        reading: AnyReading = AS_STORED,
        *,
        reduced: bool = False,
    ) -> None:
        self.file, self.transform, self.seed, self.reading, self.reduced = file, transform, seed, reading, reduced
        self.rows = file.trainable()
        self.category_ids = np.array(list(file.categories))

    def __len__(self) -> int:
        return len(self.rows)

    def path_of(self, index: int) -> str:
        """Returns the path of one image."""
        return self.file.image(int(self.rows[index]))

    def __getitem__(self, draw: Draw) -> DetSample:
        index = max(draw.index, 0)
        row, objects = int(self.rows[index]), self.file.objects
        size = self.file.size(row)
        with seeded(self.seed, draw.epoch, index):
            move = self.transform.draw(size)
        ratio = size.height / move.resized.height if self.reduced else 1.0
        image = read_sized(self.file.image(row), size, self.reading, ratio)
        places = self.file.learned_in(row)
        labels = np.searchsorted(self.category_ids, objects.category_ids[places]).tolist()
        if not self.file.masks:
            boxes = [_box(self.file, place, size) for place in places]
            return DetSample(*self.transform.moved_boxes(move, image, boxes, labels), [], draw.index)
        masks = [_shape(self.file, place, size) for place in places]
        return DetSample(*self.transform.moved(move, image, masks, labels), draw.index)


class DetEvalDataset(DrawDataset):
    """Whole images, with their annotations at the file's own size.

    Args:
        file: annotations and folder of the images.
        transform: image to tensor.
        reading: what is white in pictures of more than 8 bits, or which bands are read.
    """

    def __init__(self, file: CocoFile, transform: DetEvalTransform, reading: AnyReading = AS_STORED) -> None:
        self.file, self.transform, self.reading = file, transform, reading

    def __len__(self) -> int:
        return len(self.file)

    def path_of(self, index: int) -> str:
        """Returns the path of one image."""
        return self.file.image(index)

    def __getitem__(self, draw: Draw) -> DetEvalSample:
        row = max(draw.index, 0)
        original = self.file.size(row)
        image, size = self.transform(read_sized(self.file.image(row), original, self.reading))
        return DetEvalSample(image, size, original, int(self.file.image_ids[row]), self.file.truth(row), draw.index)


def _box(file: CocoFile, place: int, size: HeightWidth) -> np.ndarray:
    """Returns an object's box [4] float64, x0 y0 x1 y1."""
    x, y, width, height = file.objects.box_and_area(place, size)[0]
    return np.array([x, y, x + width, y + height])


def _shape(file: CocoFile, place: int, size: HeightWidth) -> InstanceMask:
    outlines = file.objects.outlines(place)
    return InstanceMask(outlines, None if outlines else bitmap_of_counts(file.objects.runs[place], size))


def read_sized(
    path: str | Path, size: HeightWidth, reading: AnyReading = AS_STORED, ratio: float = 1.0
) -> Image.Image | Tensor:
    """Reads an image as RGB, or pixels [H, W, C] of bands.

    It is turned by its EXIF orientation, unless only the stored image has the expected size.

    detectron2, which the published numbers were made with, turns images too, and so do annotation tools.

    Args:
        path: of the file.
        size: in the annotation file, in pixels.
        reading: what is white in pictures of more than 8 bits, or which bands are read; the size decides whether the
            picture is turned.
        ratio: how many times as large as needed it is: a JPEG is decoded at 1/2, 1/4 or 1/8 accordingly.

    Raises:
        UserError: it cannot be read, or has another size either way.
    """
    if isinstance(reading, BandReading):
        bands = reading.fitting(path, size)
        _require_size(path, size_of(bands), size)
        return bands
    factor = annotated_factor(path, size, ratio)
    stored = read_image(path, reading.white, clip=reading.clip, factor=factor)
    image = upright(stored)
    if full_size(image, factor) != size and full_size(stored, factor) == size:
        image = stored
    _require_size(path, full_size(image, factor), size)
    return image


def _require_size(path: str | Path, found: HeightWidth, size: HeightWidth) -> None:
    """Refuses an image of another size than its annotations."""
    if found == size:
        return
    what = f"{path}: {found.width} x {found.height} pixels, its annotation file says {size.width} x {size.height}"
    if found == (size.width, size.height):
        raise UserError(f"{what}: {SWAPPED}; swap them in the file")
    raise UserError(f"{what}; annotate the image as it is, or restore the one that was annotated")


def collate_objects(samples: list[DetSample] | list[DetEvalSample]) -> DetBatch | DetEvalBatch:
    """Makes a `DetBatch` of training samples and a `DetEvalBatch` of whole images."""
    image = default_collate([sample.image for sample in samples])
    size = torch.tensor([sample.size for sample in samples])
    index = torch.tensor([sample.index for sample in samples])
    trained = [sample for sample in samples if isinstance(sample, DetSample)]
    if trained:
        boxes, labels = [sample.boxes for sample in trained], [sample.labels for sample in trained]
        return DetBatch(image, size, boxes, labels, [sample.masks for sample in trained], index)
    whole = [sample for sample in samples if isinstance(sample, DetEvalSample)]
    original = torch.tensor([sample.original for sample in whole])
    image_id = torch.tensor([sample.image_id for sample in whole])
    return DetEvalBatch(image, size, original, image_id, [sample.truth for sample in whole], index)
