"""One annotation file of the iNaturalist competitions, read into arrays, or what is wrong with it in one line."""

import json
from collections import Counter
from collections.abc import Hashable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from maekit.data.folders.listing import Listing, Names
from maekit.errors import UserError

TABLES = ("images", "annotations", "categories")
FORM = 'expected an object with the lists "images", "annotations" and "categories"'
NAMES_FILE = "categories.json"


class Annotations(NamedTuple):
    """What one file says.

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
    content = _load(path)
    lists = content if isinstance(content, dict) else {}
    missing = [f'"{key}"' for key in TABLES if not isinstance(lists.get(key), list)]
    if missing:
        raise UserError(f"{path}: not an annotation file (it has no list {' and no '.join(missing)}); {FORM}")
    categories = read_categories(path, content["categories"])
    image_ids = _column(path, content, "images", "id", int | str)
    names = _column(path, content, "images", "file_name", str)
    owners = _column(path, content, "annotations", "image_id", int | str)
    category_ids = _column(path, content, "annotations", "category_id", int)
    if not names:
        raise UserError(f'{path}: "images" is empty, expected at least one; download the file again')
    _require_once(path, image_ids, 'image id {} stands more than once in "images"')
    _require_once(path, owners, "image {} has more than one annotation")
    category_of = dict(zip(owners, category_ids, strict=True))
    _require_pairs(path, image_ids, names, category_of)
    _require_known(path, category_of, categories)
    found = np.fromiter((category_of[image] for image in image_ids), dtype=np.int64, count=len(image_ids))
    folders = frozenset(name.partition("/")[0] for name in names if "/" in name)
    return Annotations(path, Names(names), found, categories, folders)


def read_categories(path: Path, entries: list[Any]) -> dict[int, str]:
    """Returns the name for people of each category, by ascending id.

    Names that are bare numbers, as 2018's and 2019's files have them, are taken from categories.json beside the file
    where it lies there and names the same ids. A common name is added in brackets; a bare number gets its
    supercategory before it.
    """
    content = {"categories": entries}
    ids = _column(path, content, "categories", "id", int)
    names = _column(path, content, "categories", "name", int | str)
    _require_once(path, ids, 'category id {} stands more than once in "categories"')
    if len(ids) < 2:
        raise UserError(f'{path}: {len(ids)} entries in "categories", expected two or more; download the file again')
    given = _given_names(path, ids) if all(str(name).isdecimal() for name in names) else {}
    read = {entry["id"]: _readable(given.get(entry["id"], entry)) for entry in entries}
    count = Counter(read.values())
    return {ident: read[ident] if count[read[ident]] == 1 else f"{read[ident]} ({ident})" for ident in sorted(read)}


def _readable(entry: dict[str, Any]) -> str:
    name, common, above = (str(entry.get(key) or "").strip() for key in ("name", "common_name", "supercategory"))
    name = name or str(entry["id"])
    if name.isdecimal() and above:
        name = f"{above} {name}"
    return f"{name} ({common})" if common and common != name else name


def _given_names(path: Path, ids: list[int]) -> dict[int, dict[str, Any]]:
    """Returns the entries of categories.json by id, or none where it does not lie beside the file or fits other ids."""
    beside = path.with_name(NAMES_FILE)
    if not beside.is_file():
        return {}
    entries = _load(beside)
    if not isinstance(entries, list) or not all(isinstance(entry, dict) and "name" in entry for entry in entries):
        raise UserError(f'{beside}: expected a list of objects with "id" and "name"; download it again or remove it')
    named = {entry.get("id"): entry for entry in entries}
    return named if named.keys() == set(ids) else {}


def _load(path: Path) -> Any:
    try:
        return json.loads(path.read_bytes())
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        size = path.stat().st_size
        reason = " ".join(str(error).split())
        raise UserError(
            f"{path}: not whole or not JSON ({reason}; the file has {size:,} bytes); download and unpack it again"
        ) from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); mend its permissions or links") from None


def _column(path: Path, content: dict[str, Any], table: str, key: str, kind: Any) -> list[Any]:
    """Returns one value of each object of a list, refusing the first object that has none of the right kind."""
    entries = content[table]
    try:
        column = [entry[key] for entry in entries]
        if all(isinstance(value, kind) for value in column):
            return column
    except (KeyError, TypeError, IndexError):
        pass
    at, entry = next(
        (at, entry)
        for at, entry in enumerate(entries)
        if not isinstance(entry, dict) or not isinstance(entry.get(key), kind)
    )
    got = repr(entry.get(key)) if isinstance(entry, dict) and key in entry else "none"
    raise UserError(f"{path}: {table}[{at}] has {key} {got[:60]}, expected one {_word(kind)}; {FORM}")


def _word(kind: Any) -> str:
    return "that is text" if kind is str else "that is a whole number" if kind is int else "that is text or a number"


def _require_once(path: Path, values: Iterable[Hashable], complaint: str) -> None:
    twice = [value for value, count in Counter(values).items() if count > 1]
    if twice:
        more = f" ({len(twice):,} such ids)" if len(twice) > 1 else ""
        raise UserError(f"{path}: {complaint.format(twice[0])}{more}; download the file again, or remove the surplus")


def _require_pairs(path: Path, image_ids: list[Any], names: list[str], category_of: dict[Any, int]) -> None:
    bare = [place for place, image in enumerate(image_ids) if image not in category_of]
    if bare:
        first = f"the first: id {image_ids[bare[0]]}, {names[bare[0]]}"
        raise UserError(f"{path}: {len(bare):,} images without an annotation ({first}); remove them or annotate them")
    strays = category_of.keys() - set(image_ids)
    if strays:
        first = min(strays, key=str)
        raise UserError(
            f'{path}: {len(strays):,} annotations of images that are not in "images" (image_id {first}); remove them'
        )


def _require_known(path: Path, category_of: dict[Any, int], categories: dict[int, str]) -> None:
    for image, category in category_of.items():
        if category not in categories:
            known = f"{len(categories):,} ids from {min(categories)} to {max(categories)}"
            raise UserError(
                f'{path}: image {image} has category_id {category}, which is not in "categories" ({known}); '
                "use the lists of one file, or add the category"
            )
