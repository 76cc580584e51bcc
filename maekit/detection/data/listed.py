"""A table that says which images of an annotation file are for training, and what each counts; it has no labels."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np

from maekit.data.folders.shares import Share
from maekit.data.folders.splits import split_of
from maekit.data.tables.columns import choose_columns
from maekit.data.tables.read import column_names, read_columns
from maekit.data.tables.rows import groups_of, require_both, require_once, require_table, splits_of, weights_of
from maekit.errors import UserError, nearest

BOXES = {"xmin", "ymin", "xmax", "ymax", "bbox"}  # columns of tables that have a row for each box


class Rows(NamedTuple):
    """The columns of a table; `splits` and `groups` are empty and `weights` None where there is no such column."""

    paths: list[str]
    splits: list[str]
    groups: list[str]
    weights: np.ndarray | None
    note: str


class Images(NamedTuple):
    """The images of an annotation file: N names in a folder, [N, C] bool of the classes in each, C class names."""

    file: Path
    folder: Path
    names: Sequence[str]
    present: np.ndarray
    classes: Sequence[str]


class Sides(NamedTuple):
    """Which images are for training and for validation, each [N] bool, and how that was decided, for the user."""

    train: np.ndarray
    val: np.ndarray
    notes: list[str]


@dataclass(frozen=True)
class Listed:
    """A table with a row for each image of an annotation file.

    Attributes:
        table: the file.
        columns: of `path`, `split`, `group` and `weight` the name that a flag gives, or None.
        root: the data folder, in which paths may begin; else they begin beside the table or the images.
    """

    table: Path
    columns: dict[str, str | None]
    root: Path

    @cached_property
    def rows(self) -> Rows:
        """The rows.

        Raises:
            UserError: the table or a column is missing, it has a row for each box, or a weight is no number above 0.
        """
        require_table(self.table)
        names = column_names(self.table)
        box = next((name for name in names if name.casefold().replace("_", "") in BOXES), None)
        if box is not None:
            raise UserError(
                f"{self.table}: a row for each box (column '{box}'), expected a row for each image: boxes and shapes "
                "are read from COCO's or YOLO's files, since Mask R-CNN learns shapes; leave --data.table out, or list "
                "images"
            )
        chosen = choose_columns(self.table, names, self.columns)
        read = read_columns(self.table, chosen.names())
        weights = None if chosen.weight is None else weights_of(self.table, chosen.weight, read[chosen.weight])
        splits = [] if chosen.split is None else read[chosen.split]
        groups = [] if chosen.group is None else groups_of(self.table, chosen.group, read[chosen.group])
        paths = [os.path.normpath(path.replace("\\", "/")) for path in read[chosen.path]]
        return Rows(paths, splits, groups, weights, chosen.note)

    def row_of_each(self, images: Images) -> np.ndarray:
        """Returns the row of each image, [N] int64; -1 of those that the table does not list.

        Raises:
            UserError: a row's image is not in the annotation file, or in two rows.
        """
        require_once(self.table, self.rows.paths)
        found = self.row_of_some(images.folder, images.names)
        self._require_all(images, found)
        return found

    def row_of_some(self, folder: Path, images: Sequence[str]) -> np.ndarray:
        """Returns the row of each of some images of a folder, [n] int64, -1 of those that the table does not list.

        Paths are compared first, then names of files, then these without their endings, where only one file has it.
        """
        starts = dict.fromkeys(map(str, (folder, self.root, self.table.parent)))
        places = list(enumerate(self.rows.paths))
        by_path = {
            f"{'' if path.startswith('/') else start + '/'}{path}": at for start in starts for at, path in places
        }
        whole = [os.path.normpath(f"{folder}/{name}") for name in images]
        found = np.array([by_path.get(path, -1) for path in whole], dtype=np.int64)
        for short in (_name, _stem):
            ours, theirs = _alone(map(short, whole)), _alone(map(short, self.rows.paths))
            for key in ours.keys() & theirs.keys():
                if found[ours[key]] < 0:
                    found[ours[key]] = theirs[key]
        return found

    def weights(self, folder: Path, images: Sequence[str]) -> np.ndarray | None:
        """Returns what each of some images of the table counts, [n] float32; None without such a column."""
        weights = self.rows.weights
        return None if weights is None else np.asarray(weights[self.row_of_some(folder, images)])

    def sides(self, images: Images, share: Share) -> Sides:
        """Divides the images as the table's splits say, else into a share or a fold.

        Raises:
            UserError: see `row_of_each`; a split is unknown or empty, a group is on both sides, or a fold cannot be
                made.
        """
        rows, place = self.rows, self.row_of_each(images)
        words = [rows.splits[row] if rows.splits and row >= 0 else "" for row in place]
        test = np.array([split_of(word) == "test" for word in words]) & bool(rows.splits)
        kept: list[int] = np.flatnonzero((place >= 0) & ~test).tolist()
        notes = [f"{len(rows.paths):,} rows of {self.table.name}", rows.note]
        if rows.splits and share.fold is None:
            splits = splits_of(self.table, rows.splits, rows.groups)
            held = np.array([splits[place[index]] == "val" for index in kept])
            notes.append("splits as the table says")
        else:
            names = [images.names[index] for index in kept]
            groups = [rows.groups[place[index]] for index in kept] if rows.groups else []
            held = share.held_out(names, images.present[kept], groups, images.classes, images.file)
            notes.append(share.words() + (", groups whole" if groups else ""))
        notes += ["its splits tell test rows alone"] if rows.splits else []
        require_both(self.table, int((~held).sum()), int(held.sum()))
        train, val = np.zeros((2, len(place)), dtype=bool)
        train[kept], val[kept] = ~held, held
        absent = int((place < 0).sum())
        notes += [f"{int(test.sum()):,} test rows set aside"] if test.any() else []
        notes += [f"{absent:,} images of {images.file.name} are not in the table and are left out"] if absent else []
        return Sides(train, val, [note for note in notes if note])

    def _require_all(self, images: Images, found: np.ndarray) -> None:
        paths = self.rows.paths
        absent = sorted({*range(len(paths))} - {*found.tolist()})
        if absent:
            first = paths[absent[0]]
            near = nearest(_name(first), [_name(name) for name in images.names])
            raise UserError(
                f"{self.table}: {len(absent):,} of {len(paths):,} paths are no image of {images.file}, the first "
                f"'{first}' (row {absent[0] + 2}){near}; mend them, or take the rows out"
            )


def _name(path: str) -> str:
    return path.rpartition("/")[2]


def _stem(path: str) -> str:
    name = _name(path)
    return name.rpartition(".")[0] or name


def _alone(keys: "map[str]") -> dict[str, int]:
    """The place of each key that stands once."""
    places: dict[str, list[int]] = {}
    for place, key in enumerate(keys):
        places.setdefault(key, []).append(place)
    return {key: found[0] for key, found in places.items() if len(found) == 1}
