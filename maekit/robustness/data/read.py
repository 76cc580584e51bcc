"""Reading the robustness data sets: which are there, and among which classes a prediction is chosen."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from maekit.base.spec import DataSpec
from maekit.data.folders.listing import Listing, list_classes, require_images, sub_folders
from maekit.errors import UserError, nearest
from maekit.robustness.data.batch import Part
from maekit.robustness.data.layout import class_root, find_cells
from maekit.robustness.data.sets import CORRUPTED, SETS, SEVERITIES, WHOLE, Cell, cells, published, title


@dataclass(frozen=True)
class RobustnessSpec(DataSpec):
    """What a model is built from; `class_ids` are all class folders of all data sets, sorted.

    Attributes:
        folders: one folder of each class, for messages.
        candidates: for a data set with its own classes: those among which a prediction is chosen.
    """

    folders: tuple[str, ...] = ()
    candidates: dict[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class Reading:
    """The data sets on disk.

    Attributes:
        parts: the images, in the order of `cells()`.
        classes: names of all class folders, sorted.
        folders: one folder of each class.
        candidates: see RobustnessSpec.
    """

    parts: tuple[Part, ...]
    classes: tuple[str, ...]
    folders: tuple[str, ...]
    candidates: dict[str, tuple[str, ...]]


def read_sets(folders: dict[str, Path]) -> Reading:
    """Lists the images of the data sets in their folders.

    Raises:
        UserError: a folder does not have the data set's form, or holds classes that are not its own.
    """
    listings: dict[int, Listing] = {}
    candidates = {}
    for name, folder in folders.items():
        if name == CORRUPTED:
            listings |= {number: list_part(place) for number, place in find_cells(folder).items()}
            continue
        listing = list_part(class_root(name, folder))
        listings[SETS.index(name)] = listing
        if own := published(name).classes:
            candidates[name] = _candidates(name, listing, own)
    where: dict[str, str] = {}
    for listing in listings.values():
        for ident in listing.classes:
            where.setdefault(ident, f"{listing.root}/{ident}")
    classes = tuple(sorted(where))
    place = {ident: label for label, ident in enumerate(classes)}
    parts = [
        Part(number, listing, np.array([place[ident] for ident in listing.classes]))
        for number, listing in listings.items()
    ]
    return Reading(tuple(parts), classes, tuple(where[ident] for ident in classes), candidates)


def list_part(folder: Path) -> Listing:
    """Lists the class folders of one cell.

    Raises:
        UserError: there are none, or one is empty.
    """
    classes = sub_folders(folder)
    if not classes:
        raise UserError(f"{folder}: no class folders in it; unpack its archive again")
    listing = list_classes(folder, classes)
    require_images(listing)
    return listing


def absent(reading: Reading) -> list[str]:
    """Returns what is missing, one entry a data set or corruption: `ImageNet-R`, `snow 3 4`."""
    there = {part.cell for part in reading.parts}
    return describe_cells([cell for number, cell in enumerate(cells()) if number not in there])


def describe_cells(missing: list[Cell]) -> list[str]:
    """Returns one entry for each data set or corruption with missing cells: `ImageNet-R`, `snow 3 4`.

    A corruption without any severity is named alone, and so is ImageNet-C without any corruption.
    """
    corrupted = [cell for cell in missing if cell.name == CORRUPTED]
    named = [title(cell.name) for cell in missing if cell.name != CORRUPTED]
    if len(corrupted) == len(cells()) - len(WHOLE):
        return [*named, title(CORRUPTED)]
    severities: dict[str, list[int]] = {}
    for cell in corrupted:
        severities.setdefault(cell.corruption, []).append(cell.severity)
    for corruption, which in severities.items():
        named.append(corruption if len(which) == len(SEVERITIES) else " ".join(map(str, (corruption, *which))))
    return named


def _candidates(name: str, listing: Listing, own: tuple[str, ...]) -> tuple[str, ...]:
    """Returns the classes among which a prediction is chosen: the published ones, even if folders are missing.

    Choosing among fewer would make an incomplete copy look easier than it is. A user's own data, in which no folder is
    a published class, has the classes of its folders.
    """
    foreign = [ident for ident in listing.classes if ident not in own]
    if len(foreign) == len(listing.classes):
        return listing.classes
    if foreign:
        raise UserError(
            f"{listing.root / foreign[0]}: '{foreign[0]}' is none of {title(name)}'s {len(own)} classes"
            f"{nearest(foreign[0], own)}; remove the folder"
        )
    return own
