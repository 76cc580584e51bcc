"""Compares bboxes with shapes: training reads an object's shape and evaluation its bbox, so the two must agree."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from maekit.detection.data.coco.objects import Objects

Array = NDArray[np.float64]
PIXELS, SHARE = 2.0, 0.05  # how far an edge may be off: the larger of so many pixels and of so much of the side
NEARLY_ALL, MOST, FEWEST = 0.9, 0.5, 3  # shares of the objects, and the fewest objects, that show a wrong form
INSIDE = 1.0  # pixels that a box may reach beyond its image


class Compared(NamedTuple):
    """The bboxes of a file compared with its shapes.

    Attributes:
        with_both: objects with a bbox and a shape.
        apart: [A] bool, whether the bbox is away from the box of the shape.
        outside: [A] bool, whether the shape lies outside its image.
        form: what is wrong with nearly all bboxes and how to repair it; None if no form of `FORMS` explains them.
    """

    with_both: int
    apart: NDArray[np.bool_]
    outside: NDArray[np.bool_]
    form: str | None


class Form(NamedTuple):
    """A way in which boxes are written instead of x y width height in pixels.

    Attributes:
        words: the form's name, and what to do.
        boxes: turns bboxes [K, 4] and image sizes [K, 2] (width, height, as x and y) into x y width height in pixels.
    """

    words: str
    boxes: Callable[[Array, Array], Array]


def _from_corners(box: Array) -> Array:
    return np.concatenate([box[:, :2], box[:, 2:] - box[:, :2]], axis=1)


def _from_centre(box: Array) -> Array:
    return np.concatenate([box[:, :2] - box[:, 2:] / 2, box[:, 2:]], axis=1)


def _grown(box: Array, size: Array) -> Array:
    return box * np.tile(size, 2)


XYWH = "write them as x, y, width, height in pixels"
FORMS = (
    Form(f"x0, y0, x1, y1; {XYWH}", lambda box, size: _from_corners(box)),
    Form(f"shares of the image (0 to 1); {XYWH}", _grown),
    Form(f"x0, y0, x1, y1 as shares of the image (0 to 1); {XYWH}", lambda box, size: _from_corners(_grown(box, size))),
    Form(f"centre x, centre y, width, height; {XYWH}", lambda box, size: _from_centre(box)),
    Form(
        f"centre x, centre y, width, height as shares of the image (0 to 1), as YOLO has them; {XYWH}",
        lambda box, size: _from_centre(_grown(box, size)),
    ),
    Form(f"percent of the image; {XYWH}", lambda box, size: _grown(box, size) / 100),
    Form(f"y, x, height, width; {XYWH}", lambda box, size: box[:, [1, 0, 3, 2]]),
    Form(f"y0, x0, y1, x1; {XYWH}", lambda box, size: _from_corners(box[:, [1, 0, 3, 2]])),
)
SMALL_SHAPES = "shares of the image (0 to 1); multiply them by its width and height"


def compare_boxes(objects: Objects, sizes: NDArray[np.int64]) -> Compared:
    """Compares each bbox with its object's shape, and tries what other form of box would agree.

    Args:
        objects: of one file.
        sizes: [N, 2] height and width of the images.
    """
    image_size = sizes[objects.image][:, ::-1].astype(np.float64)
    shapes = shape_boxes(objects, sizes)
    known = np.isfinite(shapes).all(axis=1) & np.isfinite(objects.boxes).all(axis=1) & objects.masked
    apart = np.zeros(len(objects), dtype=bool)
    apart[known] = ~agree(objects.boxes[known], shapes[known])
    count = int(known.sum())
    form = _all_shares(shapes[objects.masked], image_size[objects.masked])
    if form is None and count >= FEWEST and apart.sum() > MOST * count:
        form = _form(objects.boxes[known], shapes[known], image_size[known])
    alone = ~objects.masked & (objects.image >= 0) & np.isfinite(objects.boxes).all(axis=1)
    if form is None and not count:
        form = _form_by_image(objects.boxes[alone], image_size[alone])
    with np.errstate(invalid="ignore"):  # NaN without a shape
        gone = (shapes[:, :2] >= image_size) | (shapes[:, :2] + shapes[:, 2:] <= 0)
    return Compared(count, apart, objects.masked & gone.any(axis=1), form)


def beyond(objects: Objects, sizes: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Returns [A] bool, whether a bbox reaches more than a pixel, as rounding may, beyond its image."""
    boxes, size = objects.boxes, sizes[objects.image][:, ::-1]
    with np.errstate(invalid="ignore"):  # NaN of a missing box is not beyond
        over = (boxes[:, :2] < -INSIDE) | (boxes[:, :2] + boxes[:, 2:] > size + INSIDE)
    return np.asarray((objects.image >= 0) & np.isfinite(boxes).all(axis=1) & over.any(axis=1))


def agree(boxes: Array, shapes: Array) -> NDArray[np.bool_]:
    """Returns [K] bool, whether all four edges of boxes [K, 4] x y w h are about those of others."""
    left, right = (np.concatenate([box[:, :2], box[:, :2] + box[:, 2:]], axis=1) for box in (boxes, shapes))
    reach = np.maximum(PIXELS, SHARE * np.tile(shapes[:, 2:], 2))
    near: NDArray[np.bool_] = (np.abs(left - right) <= reach).all(axis=1)
    return near


def shape_boxes(objects: Objects, sizes: NDArray[np.int64]) -> Array:
    """Returns [A, 4] float64, x y w h of each shape, NaN without one or where a run-length mask is empty."""
    found = np.full((len(objects), 4), np.nan)
    starts = objects.polygon_ends[:-1]
    with_polygons = np.flatnonzero(np.diff(objects.polygon_ends) > 0)
    if len(with_polygons):
        points = objects.polygons.values.reshape(-1, 2)
        firsts = objects.polygons.ends[:-1][starts[with_polygons]] // 2
        low, high = (way.reduceat(points, firsts, axis=0) for way in (np.minimum, np.maximum))
        found[with_polygons] = np.concatenate([low, high - low], axis=1)
    _boxes_of_runs(objects, sizes, found)
    return found


def _boxes_of_runs(objects: Objects, sizes: NDArray[np.int64], found: Array) -> None:
    """Fills in the boxes of run lengths, which go down the columns: background and object in turn."""
    runs, ends = objects.runs.values, objects.runs.ends
    owner = np.repeat(np.arange(len(objects)), np.diff(ends))
    after = np.concatenate([[0], np.cumsum(runs)])
    start = after[:-1] - after[ends[:-1]][owner]
    odd = (np.arange(len(runs)) - ends[:-1][owner]) % 2 == 1
    kept = np.flatnonzero(odd & (runs > 0) & objects.masked[owner])
    if not len(kept):
        return
    owner, start, stop = owner[kept], start[kept], start[kept] + runs[kept] - 1
    height = sizes[objects.image[owner], 0]
    left, right = start // height, stop // height
    top = np.where(left == right, start % height, 0)
    bottom = np.where(left == right, stop % height, height - 1)
    firsts = np.flatnonzero(np.diff(owner, prepend=-1))
    low = [np.minimum.reduceat(side, firsts) for side in (left, top)]
    high = [np.maximum.reduceat(side, firsts) + 1 for side in (right, bottom)]
    found[owner[firsts]] = np.stack([*low, high[0] - low[0], high[1] - low[1]], axis=1)


def _all_shares(shapes: Array, image_size: Array) -> str | None:
    """Returns a line if nearly all shapes are within 0 and 1, in images of more than a few pixels."""
    shapes, image_size = shapes[known := np.isfinite(shapes).all(axis=1)], image_size[known]
    if len(shapes) < FEWEST:
        return None
    tiny = ((shapes[:, :2] + shapes[:, 2:]) <= 1.001).all(axis=1) & (image_size.min(axis=1) >= 8)
    return f"its shapes are {SMALL_SHAPES}" if tiny.mean() >= NEARLY_ALL else None


def _form(boxes: Array, shapes: Array, image_size: Array) -> str | None:
    """Returns a line with the form in which nearly all boxes agree with their shapes, if there is one."""
    for form in FORMS:
        if agree(form.boxes(boxes, image_size), shapes).mean() >= NEARLY_ALL:
            return f"its bboxes are {form.words}"
    with np.errstate(all="ignore"):
        factor = (shapes[:, :2] + shapes[:, 2:]) / (boxes[:, :2] + boxes[:, 2:])
        scaled = boxes * np.tile(factor, 2)
    right = np.isfinite(scaled).all(axis=1) & (factor > 0).all(axis=1)
    if right.mean() < NEARLY_ALL or agree(scaled[right], shapes[right]).sum() < NEARLY_ALL * len(boxes):
        return None
    across, down = np.median(factor[right], axis=0)
    return (
        f"its shapes are about {across:.3g} times as wide and {down:.3g} times as high as their bboxes, so one of the "
        "two is of images of another size; scale it to the images' size"
    )


def _form_by_image(boxes: Array, image_size: Array) -> str | None:
    """Returns a line with the likely form of boxes without shapes, judged by the images' sizes."""
    if len(boxes) < FEWEST:
        return None
    if (boxes.max(axis=1) <= 1.001).mean() >= NEARLY_ALL and image_size.min() >= 8:
        return f"its bboxes are shares of the image (0 to 1); {XYWH}"
    beyond = (boxes[:, :2] + boxes[:, 2:] > image_size + INSIDE).any(axis=1).mean()
    corners = (boxes[:, 2:] > boxes[:, :2]).all(axis=1) & (boxes[:, 2:] <= image_size + INSIDE).all(axis=1)
    if beyond > 1 - NEARLY_ALL and corners.all():
        return f"its bboxes are likely x0, y0, x1, y1, since {beyond:.0%} reach beyond their image otherwise; {XYWH}"
    return None
