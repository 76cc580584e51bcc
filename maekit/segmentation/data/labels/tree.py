"""What a folder of images with label maps holds, and the coding that is known before a label map is read."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from maekit.errors import UserError
from maekit.segmentation.data.labels.coding import Coding, valued
from maekit.segmentation.data.labels.decision import Decision
from maekit.segmentation.data.layout.layout import Paired, Pairs, pair_splits, set_aside


class SegTree(NamedTuple):
    """What a folder holds.

    Attributes:
        train: the training split, paired.
        val: the validation split, paired.
        names: one a class, in label order.
        notes: what is worth saying of how they were found.
        published: it is the data set of the recipes, whose coding is known.
    """

    train: Paired
    val: Paired
    names: tuple[str, ...]
    notes: tuple[str, ...] = ()
    published: bool = False


def given_coding(
    tree: SegTree, reduce_zero_label: bool | Literal["auto"], values: Sequence[int] | None, known: bool | None
) -> Decision | None:
    """Returns the coding that flags or a known data set give; None where the label maps must show it.

    Args:
        tree: what the folder holds.
        reduce_zero_label: as it was given.
        values: the value of each class, as given.
        known: whether 0 is unlabelled in these data; None where that is not known.

    Raises:
        UserError: the values do not fit the classes, or contradict `reduce_zero_label`.
    """
    count = len(tree.names)
    if values:
        return Decision(valued(values, count, reduce_zero_label))
    if reduce_zero_label != "auto":
        return Decision(Coding(count, reduce_zero_label))
    if known is None:
        return None
    return Decision(Coding(count, known), "as in the released ADE20K" if tree.published else "")


def read_splits(
    root: Path, class_names: Callable[[Path, Pairs], tuple[str, ...]], val_fraction: float, split_seed: int
) -> SegTree:
    """Pairs the images of both splits with their label maps; a share of the training ones serves where there is no val.

    Args:
        root: the data folder.
        class_names: names of the classes, from the folder and the training pairs.
        val_fraction: the share, above 0 and below 1.
        split_seed: chooses which images the share holds.

    Raises:
        UserError: the folder does not have the expected form.
    """
    train, val = pair_splits(root)
    names, notes = class_names(root, train.pairs), [*train.notes]
    if val is None:
        train, val = set_aside(train, val_fraction, split_seed)
        notes.append(f"no validation split: {val_fraction:g} of the images set aside, split_seed {split_seed}")
    if not len(val.pairs):
        raise UserError(f"{root}: one image with a label map and no validation split; add images")
    return SegTree(train, val, names, tuple(notes))
