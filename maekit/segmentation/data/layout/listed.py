"""The images and label maps that a table lists."""

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from maekit.data.folders.listing import Names
from maekit.data.folders.shares import Share
from maekit.data.folders.splits import split_of
from maekit.data.tables.columns import choose_columns
from maekit.data.tables.paths import find_files
from maekit.data.tables.read import column_names, read_columns
from maekit.data.tables.rows import groups_of, require_both, require_once, require_table, splits_of, weights_of
from maekit.segmentation.data.layout.layout import Paired, Pairs, require_lossless
from maekit.system.numbers import plural


class Listed(NamedTuple):
    """The rows of a table in the order of their images' names, so that a table in another order is the same data.

    Attributes:
        table: the file.
        pairs: images with their label maps, and weights where the table has them.
        splits: what the split column says; empty where there is none.
        groups: the group of each row; empty where there is no such column.
        notes: which columns and files were taken, for the user.
    """

    table: Path
    pairs: Pairs
    splits: list[str]
    groups: list[str]
    notes: list[str]


def read_listed(table: Path, columns: dict[str, str | None], root: Path) -> Listed:
    """Reads a table of images and label maps.

    Args:
        table: the file.
        columns: of `path`, `mask`, `split`, `group` and `weight` the name that a flag gives, or None.
        root: folder of the data, where paths may begin; else they begin beside the table.

    Raises:
        UserError: the table, a column or a file is missing, an image is listed twice, a weight is no number above 0, or
            a label map is a JPEG.
    """
    require_table(table)
    chosen = choose_columns(table, column_names(table), columns)
    read, folders = read_columns(table, chosen.names()), [root, table.parent]
    images = find_files(table, read[chosen.path], folders)
    (mask,) = chosen.labels
    masks = find_files(table, read[mask], folders)
    require_once(table, images.names, read[mask])
    require_lossless(masks.root, masks.names)
    order = sorted(range(len(images.names)), key=images.names.__getitem__)
    weights = None if chosen.weight is None else weights_of(table, chosen.weight, read[chosen.weight])[order]
    names, labels = (Names(found.names[row] for row in order) for found in (images, masks))

    splits = [] if chosen.split is None else read[chosen.split]
    groups = [] if chosen.group is None else groups_of(table, chosen.group, read[chosen.group])
    notes = [f"{len(order):,} rows of {table.name}", chosen.note, images.note, masks.note, _shared(masks.names)]
    pairs = Pairs(images.root, masks.root, names, labels, weights=weights)
    splits, groups = ([part[row] for row in order] if part else [] for part in (splits, groups))
    return Listed(table, pairs, splits, groups, [note for note in notes if note])


def _shared(masks: Sequence[str]) -> str:
    """Returns a note on label maps that stand in several rows; empty if there is none."""
    several = [(name, count) for name, count in Counter(masks).items() if count > 1]
    if not several:
        return ""
    name, count = several[0]
    return f"{plural(len(several), 'label map')} of several images each, the first '{name}' of {count}"


def divide(listed: Listed, share: Share, held_out: Callable[[Pairs, list[str]], np.ndarray]) -> tuple[Paired, Paired]:
    """Divides the rows as their splits say, else into a share or a fold; test rows are set aside.

    Args:
        listed: the rows; their pairs with the table of colours where there is one.
        share: which images are for validation where the table does not say it.
        held_out: returns which of some pairs, whose groups may be empty, are for validation.

    Raises:
        UserError: a split is unknown or empty, or a group is on both sides.
    """
    table, notes = listed.table, list(listed.notes)
    test = [split_of(word) == "test" for word in listed.splits] or [False] * len(listed.pairs)
    kept = [row for row, aside in enumerate(test) if not aside]
    pairs = listed.pairs.take(kept)
    if listed.splits and share.fold is None:
        splits = splits_of(table, listed.splits, listed.groups)
        held = np.array([splits[row] == "val" for row in kept])
        notes.append("splits as the table says")
    else:
        held = held_out(pairs, [listed.groups[row] for row in kept] if listed.groups else [])
        notes.append(share.words() + (", groups whole" if listed.groups else ""))
        notes += ["its splits tell test rows alone"] if listed.splits else []
    notes += [f"{sum(test):,} test rows set aside"] if any(test) else []
    require_both(table, int((~held).sum()), int(held.sum()))
    train, val = (pairs.take(np.flatnonzero(part).tolist()) for part in (~held, held))
    return Paired(train, [], notes), Paired(val, [], [])
