"""Collecting the entries of a COCO file into flat arrays, a number a number, while it is read."""

import json
import math
from array import array
from pathlib import Path
from typing import Any

import numpy as np

from maekit.detection.data.coco.rle import whole_counts
from maekit.detection.data.coco.values import BadEntry, Collector, Tally, flag, numbers, whole_number

MIN_COORDINATES = 6  # three points


class Ragged:
    """Rows of different lengths in one array, which forked workers share.

    Args:
        values: all rows' numbers.
        ends: [rows + 1], where each row ends, 0 before them.
    """

    def __init__(self, values: np.ndarray, ends: np.ndarray) -> None:
        self.values, self.ends = values, ends

    def __len__(self) -> int:
        return len(self.ends) - 1

    def __getitem__(self, index: int) -> np.ndarray:
        return np.asarray(self.values[self.ends[index] : self.ends[index + 1]])


class ImageCollector(Collector):
    """Ids, names and sizes of the images of one file. A size that is missing is kept as 0 x 0."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, "images")
        self.ids, self.sizes = array("q"), array("q")
        self.names: list[str] = []

    def take(self, place: int, entry: dict[str, Any]) -> None:
        """Takes one entry.

        Raises:
            BadEntry: it has no whole id, no file name, or a size that is no size.
        """
        ident = self.whole(place, entry, "id")
        name = entry.get("file_name") or entry.get("coco_url")
        if not isinstance(name, str) or not _encodable(name):
            raise self.lacking(place, entry, "file_name", "that is text")
        sides = [self._side(place, entry, key) for key in ("height", "width")]
        self.ids.append(ident)
        self.names.append(name)
        self.sizes.extend(sides if all(sides) else [0, 0])

    def _side(self, place: int, entry: dict[str, Any], key: str) -> int:
        if entry.get(key) in (None, 0, ""):
            return 0
        side = self.whole(place, entry, key)
        if side < 1:
            raise self.lacking(place, entry, key, "of 1 or more pixels")
        return side


class ObjectCollector(Collector):
    """The annotations of one file: ids, boxes, areas, and shapes as polygons or run lengths.

    A missing bbox or area is kept as nan, a missing id as 0. Of a shape only what can be used is kept: polygons of
    three points or more, run lengths that are numbers.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path, "annotations")
        self.ids, self.images, self.categories, self.crowd = array("q"), array("q"), array("q"), array("b")
        self.boxes, self.areas = array("d"), array("d")
        self.points, self.point_ends = array("d"), array("q", [0])
        self.polygon_ends = array("q", [0])
        self.runs, self.run_ends = array("q"), array("q", [0])
        self.run_sizes = array("q")
        self.short_polygons, self.bad_runs, self.bad_boxes = Tally(), Tally(), Tally()

    def take(self, place: int, entry: dict[str, Any]) -> None:
        """Takes one entry.

        Raises:
            BadEntry: it names no image or no category.
        """
        image = self.whole(place, entry, "image_id")
        if "segments_info" in entry:
            raise BadEntry("panoptic", f"annotations[{place}] has segments_info: it is a panoptic file")
        category = self.whole(place, entry, "category_id")
        ident = whole_number(entry.get("id"))
        self.images.append(image)
        self.categories.append(category)
        self.ids.append(ident if ident is not None and ident > 0 else 0)
        self.crowd.append(flag(entry.get("iscrowd")))
        area, box = numbers([entry.get("area")]), numbers(entry.get("bbox"))
        self.areas.append(area[0] if area else math.nan)
        row = len(self.ids) - 1
        if box is None or len(box) != 4:
            self.bad_boxes.add(self.where(row))
            box = array("d", [math.nan] * 4)
        self.boxes.extend(box)
        self._take_shape(row, _shape(entry.get("segmentation")))

    def _take_shape(self, row: int, shape: Any) -> None:
        size = [0, 0]
        if isinstance(shape, list):
            for polygon in _polygons(shape):
                self._take_polygon(row, polygon)
        elif isinstance(shape, dict):
            size = self._take_rle(row, shape)
        elif shape is not None:
            self.bad_runs.add(self.where(row))
        self.polygon_ends.append(len(self.point_ends) - 1)
        self.run_ends.append(len(self.runs))
        self.run_sizes.extend(size)

    def _take_polygon(self, row: int, polygon: Any) -> None:
        found = numbers(polygon)
        if found is None or len(found) < MIN_COORDINATES or len(found) % 2:
            self.short_polygons.add(self.where(row))
            return
        self.points.extend(found)
        self.point_ends.append(len(self.points))

    def _take_rle(self, row: int, shape: dict[str, Any]) -> list[int]:
        try:
            counts, size = whole_counts(shape)
        except ValueError:
            self.bad_runs.add(self.where(row))
            return [0, 0]
        self.runs.frombytes(counts.tobytes())
        return list(size)

    def where(self, row: int) -> str:
        """Returns words for one of the annotations taken so far."""
        return f"annotation {self.ids[row] or f'at place {row}'} of image {self.images[row]}"


def table(values: "array[Any]", columns: int) -> np.ndarray:
    """Returns [rows, columns] of the numbers, sharing their memory."""
    return np.asarray(values).reshape(-1, columns)


def _shape(shape: Any) -> Any:
    """Returns a segmentation as COCO has it: of one written as text, or of a list with one run-length object."""
    if isinstance(shape, str) and shape.strip()[:1] in ("[", "{"):
        try:
            shape = json.loads(shape)
        except (ValueError, RecursionError):
            return shape
    if isinstance(shape, list) and len(shape) == 1 and isinstance(shape[0], dict):
        return shape[0]
    return shape or None


def _polygons(shape: list[Any]) -> list[Any]:
    """Returns the polygons of a list of them, of one flat polygon, or of one or several given as pairs of x and y."""
    if not isinstance(shape[0], list):
        return [shape]
    if len(shape) >= MIN_COORDINATES // 2 and all(_is_pair(point) for point in shape):
        return [[side for point in shape for side in point]]
    return [_flat(polygon) for polygon in shape]


def _flat(polygon: Any) -> Any:
    if isinstance(polygon, list) and polygon and all(_is_pair(point) for point in polygon):
        return [side for point in polygon for side in point]
    return polygon


def _is_pair(point: Any) -> bool:
    return isinstance(point, list) and len(point) == 2 and not any(isinstance(side, list) for side in point)


def _encodable(name: str) -> bool:
    """Says whether a file may have this name: half a Unicode character and a null byte are in none."""
    try:
        name.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return False
    return "\0" not in name
