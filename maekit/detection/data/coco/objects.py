"""The annotations of one COCO file in arrays, and what is wrong with single annotations."""

from dataclasses import dataclass

import numpy as np

from maekit.detection.data.annotation import PlainRle
from maekit.detection.data.coco.collect import ObjectCollector, Ragged, table
from maekit.detection.data.coco.rle import bitmap_of_counts
from maekit.detection.data.coco.values import Tally
from maekit.system.size import HeightWidth


@dataclass(frozen=True, eq=False)
class Objects:
    """The annotations of a file, in its order.

    Attributes:
        ids: [A] int64, those of the file; if one is missing or repeated, all are renumbered from 1.
        given_ids: [A] int64, those of the file, 0 for a missing one.
        image: [A] int64, the place of the annotation's image; -1 if the file does not list that image.
        category_ids: [A] int64, those of the file.
        crowd: [A] bool.
        boxes: [A, 4] float64, x y w h in pixels; NaN if missing.
        areas: [A] float64 in square pixels; NaN if missing.
        polygons: float64 x0 y0 x1 y1 ..., one row a polygon.
        polygon_ends: [A + 1] int64, 0 and then the row after the last polygon of each annotation.
        runs: int64 run lengths, one row an annotation, empty without run lengths.
        masked: [A] bool, whether the image is listed and the annotation has a usable shape.
        boxed: [A] bool, whether the image is listed and the annotation has a bbox with an area, but no usable shape.
    """

    ids: np.ndarray
    given_ids: np.ndarray
    image: np.ndarray
    category_ids: np.ndarray
    crowd: np.ndarray
    boxes: np.ndarray
    areas: np.ndarray
    polygons: Ragged
    polygon_ends: np.ndarray
    runs: Ragged
    masked: np.ndarray
    boxed: np.ndarray

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, places: np.ndarray, image: np.ndarray) -> "Objects":
        """Returns some of the annotations, with new places of their images."""
        ends = self.polygon_ends
        rows = [np.arange(ends[place], ends[place + 1]) for place in places.tolist()]
        return Objects(
            self.ids[places],
            self.given_ids[places],
            image,
            self.category_ids[places],
            self.crowd[places],
            self.boxes[places],
            self.areas[places],
            self.polygons.take(np.concatenate(rows) if rows else places),
            np.concatenate([[0], np.cumsum(np.diff(ends)[places])]).astype(np.int64),
            self.runs.take(places),
            self.masked[places],
            self.boxed[places],
        )

    def where(self, place: int, image_ids: np.ndarray) -> str:
        """Returns text that names an annotation and its image.

        Args:
            place: of the annotation, whose image is listed.
            image_ids: of all images.
        """
        given = int(self.given_ids[place])
        return f"annotation {given or f'at place {place}'} of image {image_ids[self.image[place]]}"

    def outlines(self, place: int) -> tuple[np.ndarray, ...]:
        """Returns the polygons of one annotation, empty if it has run lengths or no shape."""
        return tuple(self.polygons[row] for row in range(self.polygon_ends[place], self.polygon_ends[place + 1]))

    def box_and_area(self, place: int, size: HeightWidth) -> tuple[list[float], float]:
        """Returns x y w h and area of one annotation: those of the file, or where they are missing those of its shape.

        An area of 0 or less counts as missing. The area of an annotation without a shape is that of its box.

        Args:
            place: of the annotation.
            size: of its image in pixels.
        """
        box, area = self.boxes[place], float(self.areas[place])
        has_box, has_area = bool(np.isfinite(box).all()), np.isfinite(area) and area > 0
        if self.boxed[place]:
            return box.tolist(), area if has_area else float(box[2] * box[3])
        if has_box and has_area:
            return box.tolist(), area
        of_shape, covered = self.measure(place, size)
        return box.tolist() if has_box else of_shape, area if has_area else covered

    def measure(self, place: int, size: HeightWidth) -> tuple[list[float], float]:
        """Returns x y w h and area of the shape of one annotation of an image of that size."""
        outlines = self.outlines(place)
        if not outlines:
            return _of_bitmap(bitmap_of_counts(self.runs[place], size))
        points = np.concatenate(outlines).reshape(-1, 2)
        low, high = points.min(axis=0), points.max(axis=0)
        return [*low.tolist(), *(high - low).tolist()], sum(abs(signed_area(outline)) for outline in outlines)

    def covered(self) -> np.ndarray:
        """Returns [A] float64, the area of each shape, 0 without one; where polygons overlap, pixels count twice."""
        x, y = self.polygons.values.reshape(-1, 2).T
        ends = self.polygons.ends // 2
        following = np.arange(1, len(x) + 1)
        following[ends[1:] - 1] = ends[:-1]
        outlines = np.abs(_sums(x * y[following] - x[following] * y, ends)) / 2
        odd = (np.arange(len(self.runs.values)) - np.repeat(self.runs.ends[:-1], np.diff(self.runs.ends))) % 2
        covered: np.ndarray = _sums(outlines, self.polygon_ends) + _sums(self.runs.values * odd, self.runs.ends)
        return covered

    def segmentation(self, place: int, size: HeightWidth) -> list[list[float]] | PlainRle:
        """Returns the shape as COCO writes it: polygons, uncompressed run lengths, or [] without a shape."""
        outlines = self.outlines(place)
        if outlines or not self.masked[place]:
            return [outline.tolist() for outline in outlines]
        return {"size": list(size), "counts": self.runs[place].tolist()}


@dataclass(frozen=True)
class Remarks:
    """Counts of what is wrong with single annotations. A run goes on in spite of them.

    Attributes:
        unlisted: annotations of images that the file does not list; left out.
        same_ids: ids that are missing or repeated; all are renumbered.
        short_polygons: polygons of fewer than three points or with an odd number of coordinates; left out.
        bad_runs: run lengths that do not add up to the image's size; left out.
        bad_boxes: bboxes that are not four numbers; the shape's box is used.
        shapeless: annotations without a usable shape; training leaves them out.
    """

    unlisted: Tally
    same_ids: Tally
    short_polygons: Tally
    bad_runs: Tally
    bad_boxes: Tally
    shapeless: Tally


def join_objects(raw: ObjectCollector, image: np.ndarray, sizes: np.ndarray) -> tuple[Objects, Remarks]:
    """Joins annotations with the listed images.

    Args:
        raw: the annotations as they were read.
        image: [A] int64, the place of each annotation's image, -1 for an image that is not listed.
        sizes: [N, 2] int64, height and width of the images.
    """
    listed = image >= 0
    given_ids = np.asarray(raw.ids)
    ids, same_ids = _ids(given_ids)
    polygon_ends, run_ends = np.asarray(raw.polygon_ends), np.asarray(raw.run_ends)
    has_runs = np.diff(run_ends) > 0
    wrong = has_runs & listed & (table(raw.run_sizes, 2) != sizes[image]).any(axis=1)
    has_shape = (np.diff(polygon_ends) > 0) | (has_runs & ~wrong)
    unlisted, shapeless = Tally(), Tally()
    for tally, places in ((raw.bad_runs, wrong), (unlisted, ~listed), (shapeless, listed & ~has_shape)):
        for place in np.flatnonzero(places).tolist():
            tally.add(raw.where(place))
    boxes = table(raw.boxes, 4)
    boxed = listed & ~has_shape & np.isfinite(boxes).all(axis=1) & (boxes[:, 2:] > 0).all(axis=1)
    objects = Objects(
        ids,
        given_ids,
        image,
        np.asarray(raw.categories),
        np.asarray(raw.crowd).astype(bool),
        boxes,
        np.asarray(raw.areas),
        Ragged(np.asarray(raw.points), np.asarray(raw.point_ends)),
        polygon_ends,
        Ragged(np.asarray(raw.runs), run_ends),
        listed & has_shape,
        boxed,
    )
    return objects, Remarks(unlisted, same_ids, raw.short_polygons, raw.bad_runs, raw.bad_boxes, shapeless)


def _ids(ids: np.ndarray) -> tuple[np.ndarray, Tally]:
    """Returns the given ids if they are unique and above 0, else 1 to A; and counts the ids that are not."""
    tally = Tally()
    found, counts = np.unique(ids, return_counts=True)
    for ident, count in zip(found.tolist(), counts.tolist(), strict=True):
        if ident == 0 or count > 1:
            tally.add(f"id {ident} stands {count} times" if ident else "an id is missing or not above 0")
    return (np.arange(1, len(ids) + 1) if tally.count else ids), tally


def _sums(values: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """Returns the sum of each row; see `Ragged`."""
    return np.diff(np.concatenate([[0], np.cumsum(values)])[ends])


def signed_area(outline: np.ndarray) -> float:
    """Returns the area within x0 y0 x1 y1 ..., negative for the other direction of rotation."""
    x, y = outline[::2] - outline[0], outline[1::2] - outline[1]
    return float((x * np.roll(y, -1) - np.roll(x, -1) * y).sum() / 2)


def _of_bitmap(bitmap: np.ndarray) -> tuple[list[float], float]:
    rows, columns = (np.flatnonzero(bitmap.any(axis=axis)) for axis in (1, 0))
    if not len(rows):
        return [0.0] * 4, 0.0
    box = columns[0], rows[0], columns[-1] + 1 - columns[0], rows[-1] + 1 - rows[0]
    return [float(side) for side in box], float(bitmap.sum())
