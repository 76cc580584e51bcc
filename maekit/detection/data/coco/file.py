"""One split of a COCO data set: its images and their objects, in arrays that workers share."""

from array import array
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np

from maekit.base.identity import Split, fingerprint
from maekit.data.folders.listing import Names
from maekit.detection.data.annotation import Annotation
from maekit.detection.data.coco.categories import CategoryCollector, same_names
from maekit.detection.data.coco.collect import ImageCollector, ObjectCollector, table
from maekit.detection.data.coco.entries import AnnotationEntry, CategoryEntry, ImageEntry
from maekit.detection.data.coco.find_images import Disk, Resolved, best_folder, join, resolve
from maekit.detection.data.coco.json_lists import read_lists
from maekit.detection.data.coco.objects import Objects, Remarks, join_objects
from maekit.detection.data.coco.sizes import fill_sizes, upright_size
from maekit.detection.data.coco.values import Tally
from maekit.detection.data.yolo.find import YoloSplit, notes_of
from maekit.detection.data.yolo.labels import YoloObject, read_labels
from maekit.errors import UserError
from maekit.system.size import HeightWidth


class Found(NamedTuple):
    """How the images that a file lists were found.

    Attributes:
        absent: places of the images that were not found.
        near: images found under another name than the listed one.
        hint: where the first absent image may be; empty, or begins with a semicolon.
        repeated: number of listed names minus the number of different ones.
    """

    absent: list[int]
    near: Tally
    hint: str
    repeated: int


@dataclass(frozen=True, eq=False)
class CocoFile:
    """The content of one annotation file, with the folder of its images.

    Attributes:
        path: the file.
        folder: that the images' names are relative to.
        image_ids: [N] int64, ascending.
        names: N file names, as they are on disk where they were found.
        sizes: [N, 2] int64, height and width.
        categories: name of each category by ascending id, without `roots`.
        roots: name of each category that only groups others and has no object, so that it is no class.
        objects: the annotations.
        order: [A] int64, places of the annotations, sorted by image, then in the file's order.
        starts: [N + 1] int64, where the annotations of each image begin in `order`.
        remarks: what is wrong with single annotations.
        found: how the listed names were found.
        sized: number of images whose size the file lacks, so that it was read from the picture.
        notes: what else was odd, one line each.
        masks: whether shapes are learned and measured; else boxes alone, also of objects that have no shape.
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
    notes: tuple[str, ...] = ()
    masks: bool = True

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

    @cached_property
    def learned(self) -> np.ndarray:
        """[A] bool, which annotations training uses: of single objects with a shape, or with a box."""
        usable = self.objects.masked | (self.objects.boxed & (not self.masks))
        return np.asarray(usable & ~self.objects.crowd)

    def learned_in(self, index: int) -> list[int]:
        """Returns the places of one image's annotations that training uses."""
        places = self.order[self.starts[index] : self.starts[index + 1]]
        return list(places[self.learned[places]].tolist())

    def present(self) -> np.ndarray:
        """Returns [N, C] bool, which classes have an object in each image, in the order of the categories."""
        objects, known = self.objects, np.array(list(self.categories))
        found = np.zeros((len(self), len(known)), dtype=bool)
        used = (objects.image >= 0) & np.isin(objects.category_ids, known)
        found[objects.image[used], np.searchsorted(known, objects.category_ids[used])] = True
        return found

    def take(self, keep: np.ndarray, *notes: str) -> "CocoFile":
        """Returns the images that [N] bool keeps, with their annotations and more notes."""
        chosen = np.flatnonzero(keep)
        place = np.append(np.where(keep, np.cumsum(keep) - 1, -1), -1)  # the last one for images that are not listed
        kept = np.flatnonzero(place[self.objects.image] >= 0)
        objects = self.objects.take(kept, place[self.objects.image[kept]])
        order = np.argsort(objects.image, kind="stable")
        return replace(
            self,
            image_ids=self.image_ids[chosen],
            names=Names(self.names[index] for index in chosen.tolist()),
            sizes=self.sizes[chosen],
            objects=objects,
            order=order,
            starts=np.searchsorted(objects.image[order], np.arange(len(chosen) + 1)),
            found=self.found._replace(absent=[int(place[index]) for index in self.found.absent if keep[index]]),
            notes=(*self.notes, *notes),
        )

    def trainable(self) -> np.ndarray:
        """Returns the images, ascending, with at least one object that training uses."""
        return np.unique(self.objects.image[self.learned])

    def truth(self, index: int) -> list[Annotation]:
        """Returns one image's annotations as COCO writes them; of one without a shape `segmentation` is empty."""
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
        The content, None without any usable image or category, and one line for each kind of problem: unusable
        entries, repeated ids, categories that are not listed.

    Raises:
        UserError: the file is cut short, not JSON or of another form.
    """
    images, objects, categories = _collect(path)
    problems = [line for part in (images, categories, objects) for line in part.problems()]
    for key, names, bad in (("images", images.names, images.bad), ("categories", categories.names, categories.bad)):
        if not names and not bad:
            problems.append(f'{path}: "{key}" is empty, expected at least one; write the file again')
    if not images.names or not categories.names:
        return None, problems
    return _joined(path, folders, images, objects, categories, problems), problems


def scan_yolo(split: YoloSplit) -> tuple[CocoFile | None, list[str]]:
    """Reads images and label files in YOLO's form into what COCO's form gives; see `scan_coco`."""
    path = split.source
    images, objects, categories = ImageCollector(path), ObjectCollector(path), CategoryCollector(path)
    problems, without, repeated = list[str](), 0, Tally()
    for number, name in split.classes.items():
        categories.take(CategoryEntry(id=number, name=name))
    for index, name in enumerate(split.names):
        images.take(ImageEntry(id=index + 1, file_name=name))
        label = split.label(index)
        try:
            found, twice = read_labels(label, split.classes)
            size = upright_size(join(split.folder, name)) if found else HeightWidth(0, 0)
        except UserError as error:
            problems.append(str(error))
            continue
        without += not found
        for line in twice:
            repeated.add(f"{label}:{line}")
        if found:
            images.sizes[-2:] = array("q", size)
        for one in found:
            objects.take(_entry(one, index + 1, len(objects.ids) + 1, size))
    file = _joined(path, (split.folder,), images, objects, categories, problems)
    return replace(file, sized=0, notes=notes_of(split, without, repeated.count, repeated.first)), problems


def _entry(one: YoloObject, image: int, ident: int, size: HeightWidth) -> AnnotationEntry:
    box, polygon = one.in_pixels(size)
    return AnnotationEntry(
        image_id=image, category_id=one.label, id=ident, bbox=box, segmentation=[polygon] * bool(polygon)
    )


def _joined(
    path: Path,
    folders: Sequence[Path],
    images: ImageCollector,
    objects: ObjectCollector,
    categories: CategoryCollector,
    problems: list[str],
) -> CocoFile:
    """Joins images, annotations and categories by their ids, and adds what is wrong to the problems."""
    by_id = np.argsort(np.asarray(images.ids), kind="stable")
    ids, sizes = np.asarray(images.ids)[by_id], table(images.sizes, 2)[by_id]
    listed = [images.names[index] for index in by_id.tolist()]
    folder, resolved = _find_images(path, listed, folders)
    sized, unreadable = fill_sizes(str(folder), resolved.names, set(resolved.absent), sizes)
    owners = np.asarray(objects.images)
    place = np.searchsorted(ids, owners).clip(max=len(ids) - 1)
    found, remarks = join_objects(objects, np.where(ids[place] == owners, place, -1), sizes)
    roots = categories.roots(set(np.unique(found.category_ids).tolist()))
    names = {ident: name for ident, name in sorted(categories.names.items()) if ident not in roots}
    problems += [*_repeated_id(path, ids), *unreadable]
    problems += [*same_names(path, names), *_unlisted_category(path, found, ids, names)]
    order = np.argsort(found.image, kind="stable")
    return CocoFile(
        path=path,
        folder=folder,
        image_ids=ids,
        names=Names(resolved.names),
        sizes=sizes,
        categories=names,
        roots=roots,
        objects=found,
        order=order,
        starts=np.searchsorted(found.image[order], np.arange(len(ids) + 1)),
        remarks=remarks,
        found=Found(resolved.absent, resolved.near, resolved.hint, len(listed) - len(set(listed))),
        sized=sized,
    )


def _find_images(path: Path, listed: Sequence[str], folders: Sequence[Path]) -> tuple[Path, Resolved]:
    """Returns the folder with most of the listed images, or else the file's own or the one above, and where each is."""
    others = [path.parent, *([path.parent.parent] if path.parent.name.lower() == "annotations" else [])]
    disk = Disk()
    folder = best_folder(listed, folders, others, disk)
    return folder, resolve(listed, folder, others, disk)


def _collect(path: Path) -> tuple[ImageCollector, ObjectCollector, CategoryCollector]:
    images, objects, categories = ImageCollector(path), ObjectCollector(path), CategoryCollector(path)
    lists = read_lists(path)
    images.read(lists.images)
    objects.read(lists.annotations)
    categories.read(lists.categories)
    return images, objects, categories


def _repeated_id(path: Path, ids: np.ndarray) -> list[str]:
    twice = ids[1:][ids[1:] == ids[:-1]]
    if not len(twice):
        return []
    more = f" ({len(np.unique(twice)):,} such ids)" if len(np.unique(twice)) > 1 else ""
    advice = "give each image its own id and let its annotations name it"
    return [f'{path}: image id {twice[0]} stands more than once in "images"{more}; {advice}']


def _unlisted_category(path: Path, objects: Objects, image_ids: np.ndarray, categories: dict[int, str]) -> list[str]:
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
