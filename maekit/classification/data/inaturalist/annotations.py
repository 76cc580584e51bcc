"""One annotation file of the iNaturalist competitions, read into arrays, or what is wrong with it in one line."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from msgspec import Struct

from maekit.data.folders.listing import Listing, Names
from maekit.data.folders.text import read_json
from maekit.errors import UserError

FORM = 'expected an object with the lists "images", "annotations" and "categories"'
NAMES_FILE = "categories.json"


class Photo(Struct, gc=False):
    """An entry of "images"."""

    id: int | str
    file_name: str


class Annotation(Struct, gc=False):
    """An entry of "annotations"."""

    image_id: int | str
    category_id: int


class Category(Struct, gc=False):
    """An entry of "categories", or of categories.json."""

    id: int
    name: int | str
    common_name: str | int | float | None = None
    supercategory: str | int | float | None = None

    def readable(self) -> str:
        """Returns the name for people: the common name in brackets; the supercategory before a bare number."""
        name, common, above = (str(part or "").strip() for part in (self.name, self.common_name, self.supercategory))
        name = name or str(self.id)
        if name.isdecimal() and above:
            name = f"{above} {name}"
        return f"{name} ({common})" if common and common != name else name


class AnnotationFile(Struct):
    """The lists of a file such as train2018.json that are used."""

    images: list[Photo]
    annotations: list[Annotation]
    categories: list[Category]


class Annotations(NamedTuple):
    """What one file holds.

    Attributes:
        path: the file.
        names: path of each image, relative to the data folder.
        category_ids: [number of images] int64, the category of each image.
        categories: name for people of each category, by ascending id; it ends in a number where names are withheld.
        folders: the first folder in the images' paths; one, as a rule.
    """

    path: Path
    names: Names
    category_ids: np.ndarray
    categories: dict[int, str]
    folders: frozenset[str]

    def listing(self, class_ids: tuple[str, ...]) -> Listing:
        """Returns the images with the places of their categories as labels."""
        labels = np.searchsorted(np.array(list(self.categories)), self.category_ids).astype(np.int32)
        return Listing(self.path.parent, class_ids, self.names, labels)


def read_annotations(path: Path) -> Annotations:
    """Reads a file such as train2018.json.

    Raises:
        UserError: it is cut short, of another form, or its parts do not agree.
    """
    content = read_json(path, AnnotationFile, FORM)
    categories = _readable_names(path, content.categories)
    if not content.images:
        raise UserError(f'{path}: "images" is empty, expected at least one; download the file again')
    _require_once(path, [image.id for image in content.images], 'image id {} stands more than once in "images"')
    _require_once(path, [entry.image_id for entry in content.annotations], "image {} has more than one annotation")
    category_of = {entry.image_id: entry.category_id for entry in content.annotations}
    _require_pairs(path, content.images, category_of)
    _require_known(path, category_of, categories)
    category_ids = np.fromiter((category_of[image.id] for image in content.images), np.int64, len(content.images))
    folders = frozenset(image.file_name.partition("/")[0] for image in content.images if "/" in image.file_name)
    names = Names(image.file_name for image in content.images)
    return Annotations(path, names, category_ids, categories, folders)


def _readable_names(path: Path, entries: list[Category]) -> dict[int, str]:
    """Returns the name for people of each category, by ascending id.

    Names that are bare numbers, as 2018's and 2019's files have them, are taken from categories.json beside the file
    where it lies there and names the same ids. A name that two categories share gets its id after it.
    """
    ids = [entry.id for entry in entries]
    _require_once(path, ids, 'category id {} stands more than once in "categories"')
    if len(ids) < 2:
        raise UserError(f'{path}: {len(ids)} entries in "categories", expected two or more; download the file again')
    beside = path.with_name(NAMES_FILE)
    if all(str(entry.name).isdecimal() for entry in entries) and beside.is_file():
        expected = 'expected a list of objects with "id" and "name"; download it again or remove it'
        named = read_json(beside, list[Category], expected)
        entries = named if {entry.id for entry in named} == set(ids) else entries
    names = {entry.id: entry.readable() for entry in entries}
    count = Counter(names.values())
    return {ident: names[ident] if count[names[ident]] == 1 else f"{names[ident]} ({ident})" for ident in sorted(names)}


def _require_once(path: Path, values: Sequence[int | str], complaint: str) -> None:
    if len(set(values)) == len(values):
        return
    twice = [value for value, count in Counter(values).items() if count > 1]
    more = f" ({len(twice):,} such ids)" if len(twice) > 1 else ""
    raise UserError(f"{path}: {complaint.format(twice[0])}{more}; download the file again, or remove the surplus")


def _require_pairs(path: Path, images: list[Photo], category_of: dict[int | str, int]) -> None:
    bare = [image for image in images if image.id not in category_of]
    if bare:
        first = f"the first: id {bare[0].id}, {bare[0].file_name}"
        raise UserError(f"{path}: {len(bare):,} images without an annotation ({first}); remove them or annotate them")
    if len(category_of) > len(images):
        strays = category_of.keys() - {image.id for image in images}
        first = f"image_id {min(strays, key=str)}"
        raise UserError(
            f'{path}: {len(strays):,} annotations of images that are not in "images" ({first}); remove them'
        )


def _require_known(path: Path, category_of: dict[int | str, int], categories: dict[int, str]) -> None:
    for image, category in category_of.items():
        if category not in categories:
            known = f"{len(categories):,} ids from {min(categories)} to {max(categories)}"
            raise UserError(
                f'{path}: image {image} has category_id {category}, which is not in "categories" ({known}); '
                "use the lists of one file, or add the category"
            )
