"""The typed dicts of COCO's annotations."""

from typing import NotRequired, TypedDict


class PlainRle(TypedDict):
    """Run lengths of a mask: `size` is height and width, `counts` are numbers of pixels, background first."""

    size: list[int]
    counts: list[int]


class TextRle(TypedDict):
    """Run lengths of a mask in COCO's compressed form."""

    size: list[int]
    counts: str


Segmentation = list[list[float]] | PlainRle | TextRle


class Annotation(TypedDict):
    """One object of an image, in the pixels of its file.

    Attributes:
        id: of the annotation.
        image_id: of its image.
        category_id: of its class.
        bbox: x y width height in pixels.
        area: in square pixels; if missing, that of the mask.
        iscrowd: 1 if it stands for many objects.
        segmentation: polygons x0 y0 x1 y1 ..., or run lengths; empty, null or missing for an object with a box only.
    """

    id: NotRequired[int]
    image_id: NotRequired[int]
    category_id: int
    bbox: list[float]
    area: NotRequired[float]
    iscrowd: NotRequired[int]
    segmentation: NotRequired[Segmentation | None]
