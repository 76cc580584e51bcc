"""The two splits of a folder of images with label maps, and the names of its classes."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from maekit.data.folders.shares import Share
from maekit.errors import UserError
from maekit.segmentation.data.colours import ColourTable
from maekit.segmentation.data.layout.layout import Paired, Pairs, pair_splits, set_aside
from maekit.segmentation.data.layout.listed import Listed, divide


class SegTree(NamedTuple):
    """The content of a data folder.

    Attributes:
        train: the training split, paired.
        val: the validation split, paired.
        names: one a class, in label order.
        notes: how the files were found, for the summary.
        published: whether this is the data set of the recipes, whose coding is known.
    """

    train: Paired
    val: Paired
    names: tuple[str, ...]
    notes: tuple[str, ...] = ()
    published: bool = False

    def lines(self) -> Iterator[str]:
        """Returns a text for each pair of both splits."""
        return (line for part in (self.train, self.val) for line in part.pairs.lines())

    def coloured(self, table: ColourTable) -> "SegTree":
        """Returns the tree with label maps that are read by a table of colours."""
        train, val = (part._replace(pairs=replace(part.pairs, colours=table)) for part in (self.train, self.val))
        return self._replace(train=train, val=val)


def read_splits(
    root: Path,
    class_names: Callable[[Path, Pairs], tuple[str, ...]],
    share: Share,
    held_out: Callable[[Pairs, list[str]], np.ndarray],
) -> SegTree:
    """Pairs the images of both splits with their label maps; without a validation split some images are set aside.

    Args:
        root: the data folder.
        class_names: returns the class names, given the folder and the training pairs.
        share: which images are set aside where there is no validation split.
        held_out: returns which pairs, of which the groups may be given, a fold or whole groups hold, [n] bool.

    Raises:
        UserError: the folder does not have the expected form.
    """
    train, val = pair_splits(root)
    names, notes = class_names(root, train.pairs), [*train.notes]
    if val is None:
        whole = len(train.pairs)
        train, val = set_aside(train, share, lambda pairs: held_out(pairs, []))
        by_class = share.fold is not None or share.group_pattern is not None
        notes.append(share.describe() + (f", each class in its proportion by {whole:,} label maps" if by_class else ""))
    elif share.fold is not None:
        advice = "take it away, or give a folder without a validation split"
        raise UserError(f"data.fold: got {share.fold}, but {val.pairs.images} is a validation split; {advice}")
    mixed = share.overlap(list(train.pairs.image_names), list(val.pairs.image_names))
    if mixed:
        raise UserError(mixed)
    if not len(val.pairs):
        raise UserError(f"{root}: one image with a label map and no validation split; add images")
    return SegTree(train, val, names, tuple(notes))


def read_table_splits(
    listed: Listed,
    root: Path,
    class_names: Callable[[Path, Pairs], tuple[str, ...]],
    share: Share,
    held_out: Callable[[Pairs, list[str]], np.ndarray],
) -> SegTree:
    """Divides the rows of a table; see `read_splits` for the arguments.

    Raises:
        UserError: the table cannot be divided, or there are no class names.
    """
    names = class_names(root, listed.pairs)
    train, val = divide(listed, share, held_out)
    return SegTree(train, val, names, tuple(train.notes))
