"""Divides the rows of a table into training and validation: as its splits say, a share, or a fold."""

from pathlib import Path

import numpy as np

from maekit.classification.data.tables.rows import Cells, Rows, TableFlags, TableSplits
from maekit.data.folders.listing import Listing
from maekit.data.folders.shares import part_of_each
from maekit.data.folders.splits import split_of
from maekit.data.tables.folds import fold_of_each, require_pairs
from maekit.data.tables.rows import require_both, splits_of
from maekit.errors import UserError
from maekit.system.folds import Fold

BINS = 10  # of equally many images, in which values are spread evenly over folds


def divided(flags: TableFlags, cells: Cells, rows: Rows, *more: str) -> TableSplits:
    """Returns the training and the validation images, and how they were made.

    Classes, labels (iterative stratification) and the first value (in ten bins of equally many images) are spread
    evenly over folds, and over the share that is set aside.

    Args:
        flags: the table and what is known of it.
        cells: of the table.
        rows: its rows, with what a model learns of them.
        more: what else to say of them.

    Raises:
        UserError: a group is on both sides, a split has no image, or a class has too few.
    """
    train, val, how = _sides(flags, rows)
    origin = [f"{len(rows.all):,} rows of {cells.table.name}", cells.columns.note, cells.found.note, *more, how]
    return TableSplits(train, val, "; ".join(part for part in origin if part))


def _sides(flags: TableFlags, rows: Rows) -> tuple[Listing, Listing, str]:
    """The training and the validation images, and how they were told apart."""
    if flags.fold is not None:
        return _by_fold(flags, rows, flags.fold)
    if rows.splits:
        return _by_column(flags.file, rows)
    wholes = len(set(rows.groups)) or len(rows.all)
    count = max(min(round(1 / flags.val_fraction), wholes), 2)
    held_out = _folds(flags, rows, count) == 0
    share = f"no split column: {100 * held_out.mean():.0f} % of the images set aside, split_seed {flags.split_seed}"
    return (*_both(flags.file, rows.all, held_out), share + (", groups whole" if rows.groups else ""))


def _by_fold(flags: TableFlags, rows: Rows, fold: Fold) -> tuple[Listing, Listing, str]:
    """One fold to validate on; of a table with splits its test rows are set aside."""
    test = np.array([split_of(split) == "test" for split in rows.splits] or [False] * len(rows.all))
    kept = np.flatnonzero(~test).tolist()
    left = Rows(rows.all.take(kept), [], [rows.groups[row] for row in kept] if rows.groups else [])
    held_out = _folds(flags, left, fold.parts) == fold.number - 1
    aside = f", {int(test.sum()):,} test rows set aside" if test.any() else ""
    how = f"fold {fold.number} of {fold.parts}, split_seed {flags.split_seed}"
    return (*_both(flags.file, left.all, held_out), how + (", groups whole" if rows.groups else "") + aside)


def _folds(flags: TableFlags, rows: Rows, count: int) -> np.ndarray:
    """The fold of each row, by the kind of its labels: see `Listing.labels`."""
    listing, labels, groups = rows.all, rows.all.labels, rows.groups or None
    if labels.ndim == 1:
        require_pairs(labels, listing.classes, flags.file)
    elif labels.dtype == np.uint8:
        return part_of_each(groups or list(listing.names), labels > 0, [1 / count] * count, flags.split_seed)
    else:
        labels = labels[:, 0].argsort(kind="stable").argsort(kind="stable") * BINS // len(labels)
    return fold_of_each(listing.names, labels, count, flags.split_seed, groups)


def _by_column(table: Path, rows: Rows) -> tuple[Listing, Listing, str]:
    known = splits_of(table, rows.splits, rows.groups)
    used = [row for row, split in enumerate(known) if split != "test"]
    held_out = np.array([known[row] == "val" for row in used])
    aside = f"{len(known) - len(used):,} test rows set aside" if len(used) < len(known) else ""
    train, val = _both(table, rows.all.take(used), held_out)
    return train, val, ", ".join(part for part in ("splits as the table says", aside) if part)


def _both(table: Path, listing: Listing, held_out: np.ndarray) -> tuple[Listing, Listing]:
    train, val = (listing.take(np.flatnonzero(chosen).tolist()) for chosen in (~held_out, held_out))
    require_both(table, len(train), len(val))
    if train.labels.ndim > 1:
        return train, val
    empty = np.flatnonzero(np.bincount(train.labels, minlength=len(train.classes)) == 0)
    if len(empty):
        name = train.classes[int(empty[0])]
        raise UserError(f"{table}: class '{name}' has no training image, expected one or more; add some or remove it")
    return train, val
