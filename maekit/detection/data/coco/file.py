"""One split of a COCO data set: its images and their objects, in arrays that workers share."""

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from maekit.base.identity import Split, fingerprint
from maekit.data.folders.listing import Names
from maekit.detection.data.annotation import Annotation
from maekit.detection.data.coco.categories import CategoryCollector, same_names
from maekit.detection.data.coco.collect import ImageCollector, ObjectCollector, table
from maekit.detection.data.coco.json_lists import read_lists
from maekit.detection.data.coco.names import Disk, best_folder, join, resolve
from maekit.detection.data.coco.objects import Objects, Remarks, join_objects
from maekit.detection.data.coco.sizes import fill_sizes
from maekit.detection.data.coco.values import Tally
from maekit.system.size import HeightWidth


class Found(NamedTuple):
    """How the images that a file lists were found.

    Attributes:
        absent: places of those that were not.
        near: those that are there under another name than the listed one.
        hint: what else is known of the first absent one; empty or beginning with a semicolon.
        repeated: listed names beyond the number of different ones.
    """

    absent: list[int]
    near: Tally
    hint: str
    repeated: int


@dataclass(frozen=True, eq=False)
class CocoFile:
    """What one annotation file says, with the folder of its images.

    Attributes:
        path: the file.
        folder: the images' names are relative to it.
        image_ids: [N] int64, ascending.
        names: N file names, as they are on disk where they were found.
        sizes: [N, 2] int64, height and width.
        categories: name of each category by ascending id, without `roots`.
        roots: name of each category that only groups others and has no object; no class.
        objects: the annotations.
        order: [A] int64, places of the annotations, those of one image after each other, in the file's order.
        starts: [N + 1] int64, where in `order` each image's begin.
        remarks: on single annotations.
        found: how the listed names were found.
        sized: number of images whose size the file does not say; it was read from the picture.
    """

    path: Path
    folder: Path
    image_ids: np.ndarray
    names: Names
    sizes: np.ndarray
    categories: dict[int, str]
    roots: dict[int, str]
    objects: Objects
    order: np.ndarray
    starts: np.ndarray
    remarks: Remarks
    found: Found
    sized: int

    def __len__(self) -> int:
        return len(self.image_ids)

    def image(self, index: int) -> str:
        """Returns the path of one image."""
        return join(self.folder, self.names[index])

    def identity(self) -> Split:
        """Returns the number of images and a fingerprint of their names and of their objects' classes and boxes."""
        objects = self.objects
        found = fingerprint(*self.names.content(), objects.image, objects.category_ids, objects.boxes)
        return Split(len(self), found)

    def size(self, index: int) -> HeightWidth:
        """Returns the size of one image in pixels."""
        return HeightWidth(*self.sizes[index].tolist())

    def shapes_of(self, index: int) -> list[int]:
        """Returns the places of those of one image's annotations that have a shape."""
        places = self.order[self.starts[index] : self.starts[index + 1]]
        return list(places[self.objects.masked[places]].tolist())

    def trainable(self) -> np.ndarray:
        """Returns the images, ascending, with at least one shape that is not a crowd's."""
        return np.unique(self.objects.image[self.objects.masked & ~self.objects.crowd])

    def truth(self, index: int) -> list[Annotation]:
        """Returns one image's annotations as COCO writes them.

        One without a shape has an empty `segmentation`; one with neither shape nor box is left out.
        """
        size, image_id, objects = self.size(index), int(self.image_ids[index]), self.objects
        found: list[Annotation] = []
        places = self.order[self.starts[index] : self.starts[index + 1]]
        for place in places[objects.masked[places] | objects.boxed[places]].tolist():
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


def scan_coco(path: Path, *folders: Path) -> tuple[CocoFile | None, list[str]]:
    """Reads an annotation file to its end, whatever is wrong with its entries, and finds its images.

    An image is opened only if the file lacks its size.

    Args:
        path: the file.
        folders: where its images may be; the one with most of them is taken.

    Returns:
        What could be read, None if too little, and one line for each kind of thing that is wrong: entries without what
        they need, ids that are given twice, categories that are not listed.

    Raises:
        UserError: it is cut short or of another form.
    """
    images, objects, categories = _collect(path)
    problems = [line for part in (images, categories, objects) for line in part.problems()]
    for key, many, part in (("images", images.names, images), ("categories", categories.names, categories)):
        if not many and not part.bad:
            problems.append(f'{path}: "{key}" is empty, expected at least one; write the file again')
    if not images.names or not categories.names:
        return None, problems
    by_id = np.argsort(np.asarray(images.ids), kind="stable")
    ids = np.asarray(images.ids)[by_id]
    problems += _given_twice(path, ids)
    listed, others = [images.names[index] for index in by_id.tolist()], _nearby(path)
    disk = Disk()
    folder = best_folder(listed, folders, others, disk)
    resolved = resolve(listed, folder, others, disk)
    sizes = table(images.sizes, 2)[by_id]
    sized, unreadable = fill_sizes(str(folder), resolved.names, set(resolved.absent), sizes)
    problems += unreadable
    owners = np.asarray(objects.images)
    place = np.searchsorted(ids, owners).clip(max=len(ids) - 1)
    found, remarks = join_objects(objects, np.where(ids[place] == owners, place, -1), sizes)
    roots = categories.roots(set(np.unique(found.category_ids).tolist()))
    names = {ident: name for ident, name in sorted(categories.names.items()) if ident not in roots}
    problems += [*same_names(path, names), *_not_listed(path, found, ids, names)]
    order = np.argsort(found.image, kind="stable")
    starts = np.searchsorted(found.image[order], np.arange(len(ids) + 1))
    finds = Found(resolved.absent, resolved.near, resolved.hint, len(listed) - len(set(listed)))
    parts = (Names(resolved.names), sizes, names, roots, found, order, starts, remarks, finds, sized)
    return CocoFile(path, folder, ids, *parts), problems


def _collect(path: Path) -> tuple[ImageCollector, ObjectCollector, CategoryCollector]:
    images, objects, categories = ImageCollector(path), ObjectCollector(path), CategoryCollector(path)
    lists = read_lists(path)
    images.read(lists.images)
    objects.read(lists.annotations)
    categories.read(lists.categories)
    return images, objects, categories


def _nearby(path: Path) -> list[Path]:
    """Returns the folders beside the images' own that listed names may be relative to."""
    return [path.parent, *([path.parent.parent] if path.parent.name.lower() == "annotations" else [])]


def _given_twice(path: Path, ids: np.ndarray) -> list[str]:
    twice = ids[1:][ids[1:] == ids[:-1]]
    if not len(twice):
        return []
    more = f" ({len(np.unique(twice)):,} such ids)" if len(np.unique(twice)) > 1 else ""
    advice = "give each image its own id and let its annotations name it"
    return [f'{path}: image id {twice[0]} stands more than once in "images"{more}; {advice}']


def _not_listed(path: Path, objects: Objects, image_ids: np.ndarray, categories: dict[int, str]) -> list[str]:
    wrong = np.flatnonzero((objects.image >= 0) & ~np.isin(objects.category_ids, list(categories)))
    if not len(wrong):
        return []
    first = int(wrong[0])
    of = f"{path}: {objects.where(first, image_ids)}"
    known = f"{len(categories):,} ids from {min(categories)} to {max(categories)}"
    more = f" ({len(wrong):,} such annotations)" if len(wrong) > 1 else ""
    return [
        f'{of} has category_id {objects.category_ids[first]}, which is not in "categories" ({known}){more}; '
        "add the category or mend the annotation"
    ]
