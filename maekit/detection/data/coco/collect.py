"""The entries of a COCO file in flat arrays instead of Python objects, which saves memory."""

import json
from array import array
from pathlib import Path

import numpy as np

from maekit.detection.data.coco.entries import AnnotationEntry, ImageEntry, Number
from maekit.detection.data.coco.rle import whole_counts
from maekit.detection.data.coco.values import (
    BadValue,
    Collector,
    Tally,
    flag,
    number,
    numbers,
    require_whole,
    whole_number,
)

MIN_COORDINATES = 6  # three points


class Ragged:
    """Rows of different lengths in one array, which forked data-loading workers share.

    Args:
        values: all rows' numbers.
        ends: [rows + 1], 0 and then where each row ends.
    """

    def __init__(self, values: np.ndarray, ends: np.ndarray) -> None:
        self.values, self.ends = values, ends

    def __len__(self) -> int:
        return len(self.ends) - 1

    def __getitem__(self, index: int) -> np.ndarray:
        return np.asarray(self.values[self.ends[index] : self.ends[index + 1]])

    def take(self, rows: np.ndarray) -> "Ragged":
        """Returns some of the rows."""
        values = [self[row] for row in rows.tolist()]
        whole = np.concatenate(values) if values else self.values[:0]
        return Ragged(whole, np.concatenate([[0], np.cumsum(np.diff(self.ends)[rows])]).astype(np.int64))


class ImageCollector(Collector[ImageEntry]):
    """Ids, names and sizes of the images of one file; a missing size is kept as 0 x 0."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, "images", ImageEntry)
        self.ids, self.sizes = array("q"), array("q")
        self.names: list[str] = []

    def take(self, entry: ImageEntry) -> None:
        """Keeps one image.

        Raises:
            BadValue: the id is no whole number, there is no file name, or a size below 1.
        """
        ident, name = require_whole("id", entry.id), entry.file_name or entry.coco_url
        if not name or "\0" in name:
            raise BadValue("file_name", f"got {entry.file_name!r:.60}, expected the name of a file")
        sides = _side("height", entry.height), _side("width", entry.width)
        self.ids.append(ident)
        self.names.append(name)
        self.sizes.extend(sides if all(sides) else (0, 0))


def _side(key: str, value: Number | None) -> int:
    """Returns a height or width in pixels, 0 if it is missing."""
    if value in (None, 0, ""):
        return 0
    side = require_whole(key, value)
    if side < 1:
        raise BadValue(key, f"got {value!r}, expected 1 or more pixels")
    return side


class ObjectCollector(Collector[AnnotationEntry]):
    """The annotations of one file: ids, boxes, areas, and shapes as polygons or run lengths.

    A missing bbox or area is kept as NaN, a missing id as 0. Only usable parts of a shape are kept: polygons of three
    points or more, and run lengths that add up to an image.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path, "annotations", AnnotationEntry)
        self.ids, self.images, self.categories, self.crowd = array("q"), array("q"), array("q"), array("b")
        self.boxes, self.areas = array("d"), array("d")
        self.points, self.point_ends = array("d"), array("q", [0])
        self.polygon_ends = array("q", [0])
        self.runs, self.run_ends = array("q"), array("q", [0])
        self.run_sizes = array("q")
        self.short_polygons, self.bad_runs, self.bad_boxes = Tally(), Tally(), Tally()

    def take(self, entry: AnnotationEntry) -> None:
        """Keeps one annotation.

        Raises:
            BadValue: the id of its image or category is no whole number.
        """
        image, category = require_whole("image_id", entry.image_id), require_whole("category_id", entry.category_id)
        self.images.append(image)
        self.categories.append(category)
        self.ids.append(max(0, whole_number(entry.id) or 0))
        self.crowd.append(flag(entry.iscrowd))
        self.areas.append(number(entry.area))
        row, box = len(self.ids) - 1, numbers(entry.bbox)
        if box is None or len(box) != 4:
            self.bad_boxes.add(self.where(row))
            box = array("d", [np.nan] * 4)
        self.boxes.extend(box)
        self._take_shape(row, _shape(entry.segmentation))

    def _take_shape(self, row: int, shape: object) -> None:
        size = (0, 0)
        if isinstance(shape, list):
            for polygon in _polygons(shape):
                self._take_polygon(row, polygon)
        elif shape is not None:
            try:
                counts, size = whole_counts(shape)
                self.runs.frombytes(counts.tobytes())
            except ValueError:
                self.bad_runs.add(self.where(row))
        self.polygon_ends.append(len(self.point_ends) - 1)
        self.run_ends.append(len(self.runs))
        self.run_sizes.extend(size)

    def _take_polygon(self, row: int, polygon: object) -> None:
        found = numbers(polygon)
        if found is None or len(found) < MIN_COORDINATES or len(found) % 2:
            self.short_polygons.add(self.where(row))
            return
        self.points.extend(found)
        self.point_ends.append(len(self.points))

    def where(self, row: int) -> str:
        """Returns text that names one of the annotations kept so far, by its id or else by its place."""
        return f"annotation {self.ids[row] or f'at place {row}'} of image {self.images[row]}"


def table(values: "array[int] | array[float]", columns: int) -> np.ndarray:
    """Returns the numbers as [rows, columns], without a copy."""
    return np.asarray(values).reshape(-1, columns)


def _shape(shape: object) -> object:
    """Returns a segmentation as COCO has it, where it was written as text or as a list with one run-length object."""
    if isinstance(shape, str) and shape.strip()[:1] in ("[", "{"):
        try:
            shape = json.loads(shape)
        except (ValueError, RecursionError):
            return shape
    if isinstance(shape, list) and len(shape) == 1 and isinstance(shape[0], dict):
        return shape[0]
    return shape or None


def _polygons(shape: list[object]) -> list[object]:
    """Returns the polygons of a list of polygons, of one flat polygon, or of polygons written as pairs of x and y."""
    if not isinstance(shape[0], list):
        return [shape]
    if len(shape) >= MIN_COORDINATES // 2 and all(_is_pair(point) for point in shape):
        return [_flat(shape)]
    return [_flat(polygon) for polygon in shape]


def _flat(polygon: object) -> object:
    """Returns x0 y0 x1 y1 ... of a list of pairs; anything else as it is."""
    if isinstance(polygon, list) and polygon and all(_is_pair(point) for point in polygon):
        return [side for point in polygon for side in point]
    return polygon


def _is_pair(point: object) -> bool:
    return isinstance(point, list) and len(point) == 2 and not any(isinstance(side, list) for side in point)
