"""One split of a COCO data set: its images and their objects, in arrays that workers share."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from maekit.data.coco_collect import ImageCollector, ObjectCollector, lacking, table, whole
from maekit.data.coco_objects import Objects, Remarks, join
from maekit.data.coco_stream import read_lists
from maekit.data.identity import Split, fingerprint
from maekit.data.listing import Names
from maekit.errors import UserError


@dataclass(frozen=True, eq=False)
class CocoFile:
    """What one annotation file says, with the folder of its images.

    Attributes:
        path: the file.
        folder: the images' names are relative to it.
        image_ids: [N] int64, ascending.
        names: N file names.
        sizes: [N, 2] int64, height and width.
        categories: name of each category by ascending id.
        objects: the annotations.
        order: [A] int64, places of the annotations, those of one image after each other, in the file's order.
        starts: [N + 1] int64, where in `order` each image's begin.
        remarks: on single annotations.
    """

    path: Path
    folder: Path
    image_ids: np.ndarray
    names: Names
    sizes: np.ndarray
    categories: dict[int, str]
    objects: Objects
    order: np.ndarray
    starts: np.ndarray
    remarks: Remarks

    def __len__(self) -> int:
        return len(self.image_ids)

    def image(self, index: int) -> str:
        """Returns the path of one image."""
        return f"{self.folder}/{self.names[index]}"

    def identity(self) -> Split:
        """Returns the number of images and a fingerprint of their names and of their objects' classes and boxes."""
        objects = self.objects
        found = fingerprint(*self.names.content(), objects.image, objects.category_ids, objects.boxes)
        return Split(len(self), found)

    def size(self, index: int) -> tuple[int, int]:
        """Returns height and width of one image."""
        height, width = self.sizes[index].tolist()
        return height, width

    def shapes_of(self, index: int) -> list[int]:
        """Returns the places of those of one image's annotations that have a shape."""
        places = self.order[self.starts[index] : self.starts[index + 1]]
        return list(places[self.objects.masked[places]].tolist())

    def trainable(self) -> np.ndarray:
        """Returns the images, ascending, with at least one shape that is not a crowd's."""
        return np.unique(self.objects.image[self.objects.masked & ~self.objects.crowd])

    def truth(self, index: int) -> list[dict[str, Any]]:
        """Returns one image's annotations as COCO writes them; those without a shape are left out."""
        size, image_id, objects = self.size(index), int(self.image_ids[index]), self.objects
        found = []
        for place in self.shapes_of(index):
            box, area = objects.box_and_area(place, size)
            found.append(
                {
                    "id": int(objects.ids[place]),
                    "image_id": image_id,
                    "category_id": int(objects.category_ids[place]),
                    "bbox": box,
                    "area": area,
                    "iscrowd": int(objects.crowd[place]),
                    "segmentation": objects.segmentation(place, size),
                }
            )
        return found


def read_coco(path: Path, folder: Path) -> CocoFile:
    """Reads an annotation file; no image is looked at.

    Raises:
        UserError: it is cut short or of another form, an id of images or categories stands twice, or an annotation has
            a category that is not listed.
    """
    images, objects, categories = ImageCollector(path), ObjectCollector(path), CategoryCollector(path)
    read_lists(path, {"images": images, "annotations": objects, "categories": categories})
    for empty in [key for key, many in (("images", images.names), ("categories", categories.names)) if not many]:
        raise UserError(f'{path}: "{empty}" is empty, expected at least one; write the file again')
    by_id = np.argsort(np.asarray(images.ids), kind="stable")
    ids = np.asarray(images.ids)[by_id]
    _require_once(path, ids)
    owners = np.asarray(objects.images)
    place = np.searchsorted(ids, owners).clip(max=len(ids) - 1)
    sizes = table(images.sizes, 2)[by_id]
    found, remarks = join(objects, np.where(ids[place] == owners, place, -1), sizes)
    _require_known(path, found, ids, categories.names)
    order = np.argsort(found.image, kind="stable")
    starts = np.searchsorted(found.image[order], np.arange(len(ids) + 1))
    names = Names(images.names[index] for index in by_id.tolist())
    in_order = {ident: categories.names[ident] for ident in sorted(categories.names)}
    return CocoFile(path, folder, ids, names, sizes, in_order, found, order, starts, remarks)


class CategoryCollector:
    """Ids and names of the categories of one file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.names: dict[int, str] = {}

    def __call__(self, place: int, entry: Any) -> None:
        """Takes one entry.

        Raises:
            UserError: it has no whole id or no name, or one that another has.
        """
        ident, name = whole(self.path, "categories", place, entry, "id"), entry.get("name")
        if not isinstance(name, str) or not name.strip():
            raise lacking(self.path, "categories", place, entry, "name", "that is text")
        for key, value, known in (("id", ident, self.names.keys()), ("name", name.strip(), self.names.values())):
            if value in known:
                where = f"{self.path}: categories[{place}]"
                raise UserError(f"{where} has {key} {value!r}, which another category has; give each category its own")
        self.names[ident] = name.strip()


def _require_once(path: Path, ids: np.ndarray) -> None:
    twice = ids[1:][ids[1:] == ids[:-1]]
    if len(twice):
        more = f" ({len(np.unique(twice)):,} such ids)" if len(np.unique(twice)) > 1 else ""
        advice = "give each image its own id and let its annotations name it"
        raise UserError(f'{path}: image id {twice[0]} stands more than once in "images"{more}; {advice}')


def _require_known(path: Path, objects: Objects, image_ids: np.ndarray, categories: dict[int, str]) -> None:
    wrong = np.flatnonzero((objects.image >= 0) & ~np.isin(objects.category_ids, list(categories)))
    if len(wrong):
        first = int(wrong[0])
        of = f"{path}: {objects.where(first, image_ids)}"
        known = f"{len(categories):,} ids from {min(categories)} to {max(categories)}"
        more = f" ({len(wrong):,} such annotations)" if len(wrong) > 1 else ""
        raise UserError(
            f'{of} has category_id {objects.category_ids[first]}, which is not in "categories" ({known}){more}; '
            "add the category or mend the annotation"
        )
