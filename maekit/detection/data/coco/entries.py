"""One entry of each list of a COCO file, as msgspec decodes it.

An entry is unusable without the values that have a type. Tools write those typed `object` in many ways (numbers as
text, null, missing); who uses them decides what they mean.
"""

from msgspec import Struct

Number = int | float | str
"""A number, also one that is written as text; see `whole_number`."""


class ImageEntry(Struct, kw_only=True):
    """An entry of "images"; LVIS has `coco_url` instead of `file_name`."""

    id: Number
    file_name: str | None = None
    coco_url: str | None = None
    height: Number | None = None
    width: Number | None = None


class CategoryEntry(Struct, kw_only=True):
    """An entry of "categories"."""

    id: Number
    name: str | int
    supercategory: object = None


class AnnotationEntry(Struct, kw_only=True):
    """An entry of "annotations".

    Attributes:
        segments_info: only panoptic files have it, so another value than null is an error that names it.
    """

    image_id: Number
    category_id: Number
    id: object = None
    iscrowd: object = None
    area: object = None
    bbox: object = None
    segmentation: object = None
    segments_info: None = None
