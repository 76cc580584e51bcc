"""What a folder of images with label maps holds, and the coding that is known before a label map is read."""

from collections.abc import Sequence
from typing import Literal, NamedTuple

from maekit.data.seg_coding import Coding, valued
from maekit.data.seg_decision import Decision
from maekit.data.seg_layout import Paired


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
