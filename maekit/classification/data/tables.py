"""Class labels from a table: one row an image, its columns the path, the class, the split, the group, the weight."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from maekit.data.folders.listing import Listing, Names, files_in
from maekit.data.folders.shares import Fold
from maekit.data.folders.splits import SPLIT_NAMES, SplitName, split_of
from maekit.data.folders.text import read_text
from maekit.data.tables.columns import Columns, choose_columns
from maekit.data.tables.folds import fold_of_each, require_pairs
from maekit.data.tables.paths import find_files
from maekit.data.tables.read import column_names, read_columns
from maekit.errors import UserError, nearest

MISSING = {"", "nan", "null", "none", "na", "n/a"}


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


class TableSplits(NamedTuple):
    """The two splits of a table, and how they were made, for the user."""

    train: Listing
    val: Listing
    origin: str


class _Rows(NamedTuple):
    """The rows of a table by class and path; `splits` and `groups` are empty where there is no such column."""

    all: Listing
    splits: list[str]
    groups: list[str]


def given_classes(given: Sequence[str] | str) -> tuple[str, ...]:
    """Returns the classes that `data.classes` gives: a list, names with commas between, or a file with one a line.

    Raises:
        UserError: there are fewer than two, or one twice.
    """
    if isinstance(given, str):
        file = Path(given).expanduser()
        given = read_text(file).split("\n") if file.is_file() else given.split(",")
    names = tuple(name.strip() for name in given if name.strip())
    if not 2 <= len(names) == len(set(names)):
        raise UserError(f"data.classes: got {', '.join(names[:8]) or 'no name'}, expected two names or more, each once")
    return names


def read_table(flags: TableFlags, root: Path) -> TableSplits:
    """Reads a table and divides its images.

    Args:
        flags: the table and what is known of it.
        root: folder of the data, where paths may begin; else they begin beside the table.

    Raises:
        UserError: a file, a label or a weight is missing or wrong, a row is there twice, a group is on both sides, or
            a split has no image.
    """
    table = flags.file
    if not table.is_file():
        raise UserError(
            f"{table}: no such table{nearest(table.name, sorted(files_in(table.parent)))}; give --data.table FILE"
        )
    columns = choose_columns(table, column_names(table), flags.columns)
    read = read_columns(table, columns.names())
    found = find_files(table, read[columns.path], [root, table.parent])
    _require_once(table, found.names, read[columns.label])
    classes = _classes(table, read[columns.label], flags.classes)
    rows = _sorted_rows(flags, columns, read, Listing(found.root, classes, Names(found.names), np.empty(0, np.int32)))
    train, val, how = _divided(flags, rows)
    origin = [f"{len(rows.all):,} rows of {table.name}", columns.note, found.note, how]
    return TableSplits(train, val, "; ".join(part for part in origin if part))


def _require_once(table: Path, names: Sequence[str], labels: Sequence[str]) -> None:
    """Refuses an image that is listed twice: with two labels, or in two rows that count it twice."""
    twice = [name for name, count in Counter(names).items() if count > 1]
    if not twice:
        return
    rows = [row for row, name in enumerate(names) if name == twice[0]]
    said = sorted({labels[row] for row in rows})
    what = f"with the labels {', '.join(said)}" if len(said) > 1 else f"with one label, '{said[0]}'"
    places = ", ".join(str(row + 2) for row in rows[:4])
    raise UserError(
        f"{table}: {len(twice):,} images are listed more than once, the first '{twice[0]}' in rows {places} {what}; "
        "expected one row an image: remove the others"
    )


def _classes(table: Path, labels: Sequence[str], given: tuple[str, ...] | None) -> tuple[str, ...]:
    """The classes in label order: those given, else those of the table, sorted as class folders are."""
    gone = [row for row, label in enumerate(labels) if label.casefold() in MISSING]
    if gone:
        raise UserError(
            f"{table}: {len(gone):,} rows have no label, the first is row {gone[0] + 2} ('{labels[gone[0]]}'); add it, "
            "or remove the row"
        )
    found = tuple(sorted(set(labels)))
    if given is not None:
        known = set(given)
        other = next((label for label in labels if label not in known), None)
        if other is not None:
            row = labels.index(other) + 2
            raise UserError(
                f"{table}: row {row} has label '{other}', expected one of the {len(given)} classes of "
                f"--data.classes{nearest(other, given)}; mend the row or the list"
            )
        return given
    if len(found) < 2:
        raise UserError(f"{table}: one class only ('{found[0]}'), expected two or more; add images of another class")
    return found


def _sorted_rows(flags: TableFlags, columns: Columns, read: dict[str, list[str]], listing: Listing) -> _Rows:
    """The rows by class and path, so that a table in another order is the same data."""
    place = {name: number for number, name in enumerate(listing.classes)}
    labels = np.array([place[label] for label in read[columns.label]], dtype=np.int32)
    names = list(listing.names)
    order = sorted(range(len(names)), key=lambda row: (labels[row], names[row]))
    weights = None if columns.weight is None else _weights(flags.file, columns.weight, read[columns.weight])[order]

    def column(name: str | None) -> list[str]:
        return [] if name is None else [read[name][row] for row in order]

    ordered = Listing(listing.root, listing.classes, Names(names[row] for row in order), labels[order], weights=weights)
    return _Rows(ordered, column(columns.split), column(columns.group))


def _weights(table: Path, column: str, values: Sequence[str]) -> np.ndarray:
    weights = np.empty(len(values), dtype=np.float32)
    for row, value in enumerate(values):
        try:
            weights[row] = float(value)
        except ValueError:
            weights[row] = np.nan
        if not 0 < weights[row] < np.inf:
            raise UserError(f"{table}: row {row + 2} has '{value}' in '{column}', expected a weight above 0; mend it")
    return weights


def _divided(flags: TableFlags, rows: _Rows) -> tuple[Listing, Listing, str]:
    """The training and the validation images, and how they were told apart."""
    if flags.fold is not None:
        return _by_fold(flags, rows, flags.fold)
    if rows.splits:
        return _by_column(flags.file, rows)
    wholes = len(set(rows.groups)) or len(rows.all)
    count = max(min(round(1 / flags.val_fraction), wholes), 2)
    folds = _folds(flags, rows, count)
    held_out = folds == 0
    share = f"no split column: {100 * held_out.mean():.0f} % of the images set aside, split_seed {flags.split_seed}"
    return (*_both(flags.file, rows.all, held_out), share + (", groups whole" if rows.groups else ""))


def _by_fold(flags: TableFlags, rows: _Rows, fold: Fold) -> tuple[Listing, Listing, str]:
    """One fold to validate on; of a table with splits its test rows are set aside."""
    test = np.array([split_of(split) == "test" for split in rows.splits] or [False] * len(rows.all))
    kept = np.flatnonzero(~test).tolist()
    left = _Rows(rows.all.take(kept), [], [rows.groups[row] for row in kept] if rows.groups else [])
    held_out = _folds(flags, left, fold.parts) == fold.number - 1
    aside = f", {int(test.sum()):,} test rows set aside" if test.any() else ""
    how = f"fold {fold.number} of {fold.parts}, split_seed {flags.split_seed}"
    return (*_both(flags.file, left.all, held_out), how + (", groups whole" if rows.groups else "") + aside)


def _folds(flags: TableFlags, rows: _Rows, count: int) -> np.ndarray:
    require_pairs(rows.all.labels, rows.all.classes, flags.file)
    return fold_of_each(rows.all.names, rows.all.labels, count, flags.split_seed, rows.groups or None)


def _by_column(table: Path, rows: _Rows) -> tuple[Listing, Listing, str]:
    known: list[SplitName | None] = [split_of(split) for split in rows.splits]
    if None in known:
        word = rows.splits[known.index(None)]
        usual = ", ".join(name for names in SPLIT_NAMES.values() for name in names[:2])
        raise UserError(f"{table}: got '{word}' as a split, expected one of {usual}; mend the rows")
    if "val" not in known and "test" in known:
        raise UserError(
            f"{table}: its rows are of training and test, none of validation; name some rows `val`, "
            "or give --data.fold 1/5, which divides the training rows"
        )
    _require_whole_groups(table, known, rows.groups)
    used = [row for row, split in enumerate(known) if split != "test"]
    held_out = np.array([known[row] == "val" for row in used])
    aside = f"{len(known) - len(used):,} test rows set aside" if len(used) < len(known) else ""
    train, val = _both(table, rows.all.take(used), held_out)
    return train, val, ", ".join(part for part in ("splits as the table says", aside) if part)


def _require_whole_groups(table: Path, splits: Sequence[str | None], groups: Sequence[str]) -> None:
    side: dict[str, str | None] = {}
    for split, group in zip(splits, groups, strict=False):  # without a group column there are none
        if side.setdefault(group, split) != split:
            raise UserError(
                f"{table}: group '{group}' is in {side[group]} and in {split}, expected one side; mend its rows, leave "
                "--data.group_column out, or give --data.fold 1/5, which keeps groups whole"
            )


def _both(table: Path, listing: Listing, held_out: np.ndarray) -> tuple[Listing, Listing]:
    train, val = (listing.take(np.flatnonzero(chosen).tolist()) for chosen in (~held_out, held_out))
    for part, name in ((train, "training"), (val, "validation")):
        if not len(part):
            raise UserError(f"{table}: no row is of {name}, expected one or more; mend its split column")
    empty = np.flatnonzero(np.bincount(train.labels, minlength=len(train.classes)) == 0)
    if len(empty):
        name = train.classes[int(empty[0])]
        raise UserError(f"{table}: class '{name}' has no training image, expected one or more; add some or remove it")
    return train, val
