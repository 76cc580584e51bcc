"""The rows of a table, whatever a model learns of them: files, splits, groups and weights."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from maekit.data.folders.listing import Listing, Names
from maekit.data.folders.text import read_text
from maekit.data.tables.columns import Columns, choose_columns
from maekit.data.tables.paths import Found, find_files
from maekit.data.tables.read import column_names, read_columns
from maekit.data.tables.rows import groups_of, require_once, require_table, weights_of
from maekit.errors import UserError
from maekit.system.folds import Fold
from maekit.system.plain import listed_names


@dataclass(frozen=True)
class TableFlags:
    """What the flags say of a table.

    Attributes:
        file: the table.
        columns: of `path`, `label`, `split`, `group` and `weight` the column's name, or None.
        classes: the classes in label order; None for those of the table, sorted.
        val_fraction: share to set aside for validation where neither splits nor a fold are given.
        split_seed: chooses that share, and the folds.
        fold: which part is validated on; None for none.
    """

    file: Path
    columns: dict[str, str | None]
    classes: tuple[str, ...] | None
    val_fraction: float
    split_seed: int
    fold: Fold | None


class Cells(NamedTuple):
    """A table as it was read.

    Attributes:
        table: its file.
        columns: which of its columns say what.
        read: the cells of these columns, by the column's name, one a row.
        found: the file of each row.
    """

    table: Path
    columns: Columns
    read: dict[str, list[str]]
    found: Found

    def labels(self) -> list[list[str]]:
        """Returns the cells of each column of labels."""
        return [self.read[name] for name in self.columns.labels]


class Rows(NamedTuple):
    """The rows of a table in a fixed order; `splits` and `groups` are empty where there is no such column."""

    all: Listing
    splits: list[str]
    groups: list[str]


class TableSplits(NamedTuple):
    """The two splits of a table, and how they were made, for the user."""

    train: Listing
    val: Listing
    origin: str


def given_classes(given: Sequence[str] | str) -> tuple[str, ...]:
    """Returns the classes that `data.classes` gives: a list, names with commas between, or a file with one a line.

    Raises:
        UserError: there are fewer than two, or one twice.
    """
    if isinstance(given, str):
        file = Path(given).expanduser()
        given = read_text(file).split("\n") if file.is_file() else listed_names(given)
    names = tuple(name.strip() for name in given if name.strip())
    if not 2 <= len(names) == len(set(names)):
        raise UserError(f"data.classes: got {', '.join(names[:8]) or 'no name'}, expected two names or more, each once")
    return names


def read_cells(flags: TableFlags, root: Path, *, several: bool = False, usual: Sequence[str] = ()) -> Cells:
    """Reads the columns of a table that matter, and finds its files.

    Args:
        flags: the table and what is known of it.
        root: folder of the data, where paths may begin; else they begin beside the table.
        several: whether the flag of the label's column may name several.
        usual: more names than `label` and the like that the label's column usually has.

    Raises:
        UserError: a file or a column is missing, or an image is listed twice.
    """
    table = flags.file
    require_table(table)
    columns = choose_columns(table, column_names(table), flags.columns, several=several, usual=usual)
    read = read_columns(table, columns.names())
    cells = Cells(table, columns, read, find_files(table, read[columns.path], [root, table.parent]))
    require_once(table, cells.found.names, [", ".join(row) for row in zip(*cells.labels(), strict=True)])
    return cells


def sorted_rows(cells: Cells, classes: tuple[str, ...], labels: np.ndarray) -> Rows:
    """Returns the rows by class, where each has one, and path, so that a table in another order is the same data.

    Args:
        cells: of the table.
        classes: one name a class, in label order; empty where the labels are values.
        labels: of each row, see `Listing.labels`.

    Raises:
        UserError: a weight is no number above 0.
    """
    names, columns = cells.found.names, cells.columns
    first = labels.tolist() if labels.ndim == 1 else [0] * len(names)
    order = sorted(range(len(names)), key=lambda row: (first[row], names[row]))
    weights = None
    if columns.weight is not None:
        weights = weights_of(cells.table, columns.weight, cells.read[columns.weight])[order]

    splits = [] if columns.split is None else cells.read[columns.split]
    groups = [] if columns.group is None else groups_of(cells.table, columns.group, cells.read[columns.group])
    listing = Listing(cells.found.root, classes, Names(names[row] for row in order), labels[order], weights=weights)
    return Rows(listing, *([part[row] for row in order] if part else [] for part in (splits, groups)))
