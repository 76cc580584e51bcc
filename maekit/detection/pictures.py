"""Draws objects on photographs: boxes, masks, names and scores. Needs numpy and Pillow only."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from torch import Tensor

from maekit.data.images.bands.pixels import size_of
from maekit.detection.data.annotation import Annotation, TextRle
from maekit.detection.data.batch import InstanceMask
from maekit.detection.data.coco.rle import cut_out
from maekit.detection.metrics.coco_masks import CocoResults, encode_masks, truth_rle
from maekit.detection.tags import Box, Tag, draw_tags, ink_on
from maekit.drawing.legend import Entry, with_legend
from maekit.drawing.sheet import Row, Tile, picture_sheet
from maekit.drawing.text import Colour, Font, font_for, plain_name, shortened
from maekit.drawing.views import LARGEST
from maekit.system.size import HeightWidth

SMALLEST, _CELL, _TRAINED, _MOST_CLASSES = 640, 560, 400, 24  # longest sides in pixels, classes in the legend
_OPACITY = 0.4
SHOWN_SCORE = 0.3  # objects of a lower score are neither drawn, listed nor counted unless it is said
# Okabe and Ito's seven (2008), then five of Tol's muted scheme (2021): distinct with any colour vision.
COLOURS: tuple[Colour, ...] = (
    (230, 159, 0), (86, 180, 233), (0, 158, 115), (240, 228, 66), (0, 114, 178), (213, 94, 0), (204, 121, 167),
    (136, 34, 85), (68, 170, 153), (153, 153, 51), (204, 102, 119), (51, 34, 136),
)  # fmt: skip


class Shown(NamedTuple):
    """An object to draw.

    Attributes:
        box: x0 y0 x1 y1 in the pixels of the file.
        label: 0 to C-1.
        rle: its mask at the file's size; None of boxes alone.
        score: 0 to 1; None for an annotation.
        crowd: whether it stands for many objects.
    """

    box: Box
    label: int
    rle: TextRle | None
    score: float | None = None
    crowd: bool = False


def shown_results(found: CocoResults, above: float) -> list[Shown]:
    """Returns the found objects with a score of at least `above`, the best first."""
    rles = found.rles if found.rles is not None else [None] * len(found.scores)
    rows = zip(found.boxes.tolist(), found.labels.tolist(), rles, found.scores.tolist(), strict=True)
    shown = [Shown(tuple(box), label, rle, score) for box, label, rle, score in rows if score >= above]
    return sorted(shown, key=lambda one: -(one.score or 0.0))


def shown_truth(notes: Sequence[Annotation], size: HeightWidth, category_ids: Sequence[int]) -> list[Shown]:
    """Returns an image's annotations of some categories, the largest box first.

    Args:
        notes: COCO's annotations of the image.
        size: of the file.
        category_ids: COCO's id of each label.
    """
    label_of = {category: label for label, category in enumerate(category_ids)}
    shown = []
    for note in notes:
        if note["category_id"] in label_of:
            x, y, width, height = (float(side) for side in note["bbox"])
            rle, crowd = truth_rle(note.get("segmentation"), size), bool(note.get("iscrowd", 0))
            shown.append(Shown((x, y, x + width, y + height), label_of[note["category_id"]], rle, crowd=crowd))
    return sorted(shown, key=lambda one: -_area(one.box))


def shown_sample(boxes: Tensor, labels: Tensor, masks: Sequence[InstanceMask], size: HeightWidth) -> list[Shown]:
    """Returns the objects of a training sample, the largest box first.

    Args:
        boxes: [K, 4], x0 y0 x1 y1 in pixels of the augmented picture.
        labels: [K], 0 to C-1.
        masks: K shapes, or none of boxes alone.
        size: of the picture, which may lie in a larger padded square.
    """
    rles: list[TextRle | None] = [None] * len(boxes)
    for place, mask in enumerate(masks):
        if mask.bitmap is None:
            rles[place] = truth_rle([polygon.tolist() for polygon in mask.polygons], size)
        else:
            rles[place] = encode_masks(mask.bitmap[None, : size.height, : size.width])[0]
    rows = zip(boxes.tolist(), labels.tolist(), rles, strict=True)
    return sorted((Shown(tuple(box), label, rle) for box, label, rle in rows), key=lambda one: -_area(one.box))


def training_panel(
    rows: Sequence[tuple[Image.Image, HeightWidth, Sequence[Shown]]], names: Sequence[str]
) -> Image.Image:
    """Returns one picture of training images with their objects, three in a row, and how many there are of each class.

    Args:
        rows: images, their sizes, and their objects in pixels of these; at least one.
        names: C class names.
    """
    tiles = [
        Tile(draw_objects(image, objects, size, names, _view_size(size, _TRAINED, _TRAINED)))
        for image, size, objects in rows
    ]
    sheet = picture_sheet(
        [Row("", tiles[first : first + 3]) for first in range(0, len(tiles), 3)], column=_TRAINED // 2
    )
    parts = [[one for *_, objects in rows for one in objects]]
    return with_legend(sheet, _entries(parts, names), narrowest=SMALLEST // 2, heading="objects:")


def detection_picture(
    image: Image.Image, objects: Sequence[Shown], size: HeightWidth, names: Sequence[str]
) -> Image.Image:
    """Returns the image with its objects, and below it how many there are of each class.

    A large image is scaled down to 1600 pixels, a small one enlarged to 640, so that names can be read. A name without
    free room is left out; its colour is in the legend.

    Args:
        image: of any mode, the file's picture at any resolution.
        objects: their boxes and masks in the pixels of the file.
        size: of the file.
        names: C class names, of any length.
    """
    picture = draw_objects(image, objects, size, names, _view_size(size_of(image), SMALLEST, LARGEST))
    return with_legend(picture, _entries([objects], names), narrowest=SMALLEST // 2)


def detection_panel(
    rows: Sequence[tuple[Image.Image, HeightWidth, Sequence[Shown], Sequence[Shown]]], names: Sequence[str]
) -> Image.Image:
    """Returns one picture with a row for each image: its annotations, and beside them what was found.

    Args:
        rows: images, their files' sizes, annotations, and what was found; at least one.
        names: C class names.
    """
    sheet_rows = []
    for image, size, truth, found in rows:
        view = _view_size(size_of(image), _CELL, _CELL)
        tiles = [Tile(draw_objects(image, objects, size, names, view)) for objects in (truth, found)]
        sheet_rows.append(Row("", tiles))
    sheet = picture_sheet(sheet_rows, heads=("truth", "prediction"), column=_CELL // 2)
    parts = [[one for *_, truth, _ in rows for one in truth], [one for *_, found in rows for one in found]]
    heading = "objects in truth / in prediction:"
    return with_legend(sheet, _entries(parts, names), narrowest=SMALLEST // 2, heading=heading)


def draw_objects(
    image: Image.Image, objects: Sequence[Shown], size: HeightWidth, names: Sequence[str], view: HeightWidth
) -> Image.Image:
    """Returns the image at the size `view`, with masks, the largest lowest, then boxes, then names."""
    way = Image.Resampling.BICUBIC if view.width >= image.width else Image.Resampling.LANCZOS
    canvas = np.asarray(image.convert("RGB").resize((view.width, view.height), way)).copy()
    scale, line = (view.width / size.width, view.height / size.height), max(3, round(max(view) / 400))
    for one in sorted(objects, key=lambda one: -_area(one.box)):
        _paint_mask(canvas, one, scale, max(1, line // 2))
    picture = Image.fromarray(canvas)
    boxes = [_scaled(one.box, scale) for one in objects]
    _draw_boxes(picture, boxes, [_colour(one.label) for one in objects], line)
    font, font_size = font_for(view.width)
    texts = [_text(one, names, font, min(14 * font_size, view.width // 2)) for one in objects]
    tags = [Tag(box, text, _colour(one.label)) for box, text, one in zip(boxes, texts, objects, strict=True)]
    draw_tags(picture, tags, font, font_size)
    return picture


def _paint_mask(canvas: NDArray[np.uint8], one: Shown, scale: tuple[float, float], line: int) -> None:
    """Paints one mask, striped for a crowd; only the rows and columns that it covers are changed."""
    if one.rle is None:
        return
    shape, top, left = cut_out(one.rle)
    if not shape.size:
        return
    bottom, right = top + shape.shape[0], left + shape.shape[1]
    y0, y1 = round(top * scale[1]), max(round(bottom * scale[1]), round(top * scale[1]) + 1)
    x0, x1 = round(left * scale[0]), max(round(right * scale[0]), round(left * scale[0]) + 1)
    part = Image.fromarray(shape.astype(np.uint8) * 255)
    mask = np.asarray(part.resize((x1 - x0, y1 - y0), Image.Resampling.BILINEAR)) >= 128
    region, colour = canvas[y0:y1, x0:x1], np.asarray(_colour(one.label))
    mask = mask[: region.shape[0], : region.shape[1]]
    inside = mask & (np.add.outer(*map(np.arange, mask.shape)) % 12 < 6) if one.crowd else mask
    region[inside] = np.round((1 - _OPACITY) * region[inside] + _OPACITY * colour)
    region[mask & ~_eroded(mask, line)] = colour


def _eroded(mask: NDArray[np.bool_], steps: int) -> NDArray[np.bool_]:
    """Returns a mask without its outermost pixels, removed `steps` times."""
    for _ in range(steps):
        wide = np.pad(mask, 1)
        mask = mask & wide[:-2, 1:-1] & wide[2:, 1:-1] & wide[1:-1, :-2] & wide[1:-1, 2:]
    return mask


def _draw_boxes(picture: Image.Image, boxes: Sequence[Box], colours: Sequence[Colour], line: int) -> None:
    """Draws boxes with a black or white edge, which shows on every photograph."""
    draw = ImageDraw.Draw(picture)
    for (x0, y0, x1, y1), colour in reversed(list(zip(boxes, colours, strict=True))):
        x0, y0 = min(max(x0, 0), picture.width - 1), min(max(y0, 0), picture.height - 1)
        x1, y1 = min(max(x1 - 1, x0), picture.width - 1), min(max(y1 - 1, y0), picture.height - 1)
        draw.rectangle((x0 - 1, y0 - 1, x1 + 1, y1 + 1), outline=ink_on(colour), width=line + 2)
        draw.rectangle((x0, y0, x1, y1), outline=colour, width=line)


def _text(one: Shown, names: Sequence[str], font: Font, room: float) -> str:
    name = plain_name(names[one.label], one.label)
    extra = " (crowd)" if one.crowd else "" if one.score is None else f" {one.score:.2f}"
    return shortened(name, font, room - font.getlength(extra)) + extra


def _entries(parts: Sequence[Sequence[Shown]], names: Sequence[str]) -> list[Entry]:
    """Returns a legend entry for each class, the most frequent first, with its count in every part."""
    counts = np.array([np.bincount([one.label for one in part], minlength=len(names)) for part in parts])
    total = counts.sum(0)
    present = sorted(np.flatnonzero(total).tolist(), key=lambda label: -total[label])
    listed, rest = present[:_MOST_CLASSES], present[_MOST_CLASSES:]
    entries = [Entry(plain_name(names[label], label), _numbers(counts[:, label]), _colour(label)) for label in listed]
    if rest:
        entries.append(Entry(f"and {len(rest)} more", _numbers(counts[:, rest].sum(1)), swatch=False))
    return entries or [Entry("no objects", "", swatch=False)]


def _numbers(counts: NDArray[np.int64]) -> str:
    return " / ".join(str(count) for count in counts)


def _view_size(size: HeightWidth, smallest: int, largest: int) -> HeightWidth:
    """Scales a size so that its longest side is between `smallest` and `largest`."""
    factor = min(max(max(size), smallest), largest) / max(size)
    return HeightWidth(max(1, round(size.height * factor)), max(1, round(size.width * factor)))


def _scaled(box: Box, scale: tuple[float, float]) -> Box:
    return box[0] * scale[0], box[1] * scale[1], box[2] * scale[0], box[3] * scale[1]


def _colour(label: int) -> Colour:
    """Returns a class's colour: lighter in the second dozen of classes, darker in the third, and so on."""
    turn, place = divmod(label, len(COLOURS))
    share, other = ((0.0, 0), (0.5, 255), (0.45, 0))[turn % 3]
    red, green, blue = (round((1 - share) * value + share * other) for value in COLOURS[place])
    return red, green, blue


def _area(box: Box) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])
