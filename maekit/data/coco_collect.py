"""Collecting the entries of a COCO file into flat arrays, a number a number, while it is read."""

import math
from array import array
from pathlib import Path
from typing import Any

import numpy as np

from maekit.data.coco_rle import whole_counts
from maekit.data.coco_stream import FORM
from maekit.errors import UserError

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


class Tally:
    """How often something was met, and where first."""

    def __init__(self) -> None:
        self.count, self.first = 0, ""

    def add(self, where: str) -> None:
        """Counts one more."""
        self.first = self.first or where
        self.count += 1


class ImageCollector:
    """Ids, names and sizes of the images of one file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.ids, self.sizes = array("q"), array("q")
        self.names: list[str] = []

    def __call__(self, place: int, entry: Any) -> None:
        """Takes one entry.

        Raises:
            UserError: it has no whole id, file name or size.
        """
        self.ids.append(whole(self.path, "images", place, entry, "id"))
        name = entry.get("file_name")
        if not isinstance(name, str) or not name:
            raise lacking(self.path, "images", place, entry, "file_name", "that is text")
        self.names.append(name)
        for key in ("height", "width"):
            side = whole(self.path, "images", place, entry, key)
            if side < 1:
                raise lacking(self.path, "images", place, entry, key, "of 1 or more pixels")
            self.sizes.append(side)


class ObjectCollector:
    """The annotations of one file: ids, boxes, areas, and shapes as polygons or run lengths.

    A missing bbox or area is kept as nan, a missing id as 0. Of a shape only what can be used is kept: polygons of
    three points or more, run lengths that are numbers.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.ids, self.images, self.categories, self.crowd = array("q"), array("q"), array("q"), array("b")
        self.boxes, self.areas = array("d"), array("d")
        self.points, self.point_ends = array("d"), array("q", [0])
        self.polygon_ends = array("q", [0])
        self.runs, self.run_ends = array("q"), array("q", [0])
        self.run_sizes = array("q")
        self.short_polygons, self.bad_runs, self.bad_boxes = Tally(), Tally(), Tally()

    def __call__(self, place: int, entry: Any) -> None:
        """Takes one entry.

        Raises:
            UserError: it names no image or no category.
        """
        self.images.append(whole(self.path, "annotations", place, entry, "image_id"))
        self.categories.append(whole(self.path, "annotations", place, entry, "category_id"))
        ident = entry.get("id")
        self.ids.append(ident if isinstance(ident, int) and 0 < ident < 2**63 else 0)
        self.crowd.append(entry.get("iscrowd") in (1, True))
        area, box = numbers([entry.get("area")]), numbers(entry.get("bbox"))
        self.areas.append(area[0] if area else math.nan)
        if box is None or len(box) != 4:
            self.bad_boxes.add(self.where(place))
            box = array("d", [math.nan] * 4)
        self.boxes.extend(box)
        self._take_shape(place, entry.get("segmentation"))

    def _take_shape(self, place: int, shape: Any) -> None:
        size = [0, 0]
        if isinstance(shape, list):
            flat = bool(shape) and not isinstance(shape[0], list)
            for polygon in [shape] if flat else shape:
                self._take_polygon(place, polygon)
        elif isinstance(shape, dict):
            size = self._take_rle(place, shape)
        self.polygon_ends.append(len(self.point_ends) - 1)
        self.run_ends.append(len(self.runs))
        self.run_sizes.extend(size)

    def _take_polygon(self, place: int, polygon: Any) -> None:
        found = numbers(polygon)
        if found is None or len(found) < MIN_COORDINATES or len(found) % 2:
            self.short_polygons.add(self.where(place))
            return
        self.points.extend(found)
        self.point_ends.append(len(self.points))

    def _take_rle(self, place: int, shape: dict[str, Any]) -> list[int]:
        try:
            counts, size = whole_counts(shape)
        except ValueError:
            self.bad_runs.add(self.where(place))
            return [0, 0]
        self.runs.frombytes(counts.tobytes())
        return list(size)

    def where(self, place: int) -> str:
        """Returns words for one of the annotations taken so far."""
        return f"annotation {self.ids[place] or f'at place {place}'} of image {self.images[place]}"


def numbers(values: Any) -> "array[float] | None":
    """Returns the numbers of a list, or None of anything else: no text, no infinities, no nan."""
    try:
        found = array("d", values if isinstance(values, list) else [None])
    except (TypeError, OverflowError):
        return None
    return found if math.isfinite(sum(found)) else None


def whole(path: Path, table: str, place: int, entry: Any, key: str) -> int:
    """Returns an entry's whole number.

    Raises:
        UserError: it has none of 64 bits.
    """
    value = entry.get(key) if isinstance(entry, dict) else None
    if type(value) is not int or not -(2**63) <= value < 2**63:
        raise lacking(path, table, place, entry, key, "that is a whole number")
    return value


def lacking(path: Path, table: str, place: int, entry: Any, key: str, kind: str) -> UserError:
    """Returns what to say of an entry without some value."""
    got = repr(entry[key])[:60] if isinstance(entry, dict) and key in entry else "none"
    return UserError(f"{path}: {table}[{place}] has {key} {got}, expected one {kind}; {FORM}")


def table(values: "array[Any]", columns: int) -> np.ndarray:
    """Returns [rows, columns] of the numbers, sharing their memory."""
    return np.asarray(values).reshape(-1, columns)
