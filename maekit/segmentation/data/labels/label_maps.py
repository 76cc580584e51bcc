"""The label maps of a data set, the coding they are read by, and what forbids training on them."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from maekit.base.data import Balance
from maekit.data.folders.duplicates import same_images
from maekit.errors import UserError
from maekit.segmentation.data.labels.coding import Coding, valued
from maekit.segmentation.data.labels.decision import Decision, decide
from maekit.segmentation.data.labels.evidence import MAX_READ, Evidence, read_evidence
from maekit.segmentation.data.labels.problems import contradiction, judge
from maekit.segmentation.data.layout.tree import SegTree

FEW = 100  # label maps that are read for nothing but to count classes


@dataclass(frozen=True)
class LabelMaps:
    """Label maps with their coding. A sample of them is read only where the coding or a check needs it.

    Attributes:
        tree: pairs of both splits and the class names.
        given: the coding by flags or of a known data set; None where the label maps must show it.
        allow_empty: whether classes and label maps without a counted pixel are allowed in training.
    """

    tree: SegTree
    given: Decision | None
    allow_empty: bool

    @cached_property
    def evidence(self) -> Evidence:
        """The content of up to 500 training label maps."""
        return read_evidence(self.tree.train.pairs)

    def balance(self) -> Balance:
        """Returns how many label maps have each class, of up to 500 of each split, or of 100 where none were read."""
        known = "evidence" in vars(self)
        parts = [self.evidence if known else read_evidence(self.tree.train.pairs, FEW)]
        parts.append(read_evidence(self.tree.val.pairs, MAX_READ if known else FEW))
        counts = [[len(part.maps_with(value)) for value in self.coding.classes] for part in parts]
        whole = (len(self.tree.train.pairs), len(self.tree.val.pairs))
        words = [
            f"{len(part.looks):,} of {count:,} {split}"
            for part, count, split in zip(parts, whole, ("training", "validation"), strict=True)
        ]
        few = not all(part.whole for part in parts)
        return Balance("label maps", counts[0], counts[1], f"Of {' and '.join(words)} label maps." if few else "")

    @cached_property
    def decision(self) -> Decision:
        """The coding, given or decided.

        Raises:
            UserError: the label maps fit no coding, or more than one.
        """
        return self.given or decide(self.evidence, self.tree.names)

    @property
    def coding(self) -> Coding:
        """The coding of the decision."""
        return self.decision.coding

    def require_consistent(self) -> None:
        """Raises a UserError if the label maps contradict the given coding and fit the other one."""
        contradicted = contradiction(self.coding, self.tree.names, self.evidence)
        if contradicted and not self.allow_empty:
            raise UserError(contradicted)

    def require_trainable(self) -> list[str]:
        """Reads up to 500 label maps of each split, and returns notes for the summary.

        Raises:
            UserError: a value is not a class, a label map or a class has no counted pixel, and `allow_empty` is false.
        """
        tree = self.tree
        val = read_evidence(tree.val.pairs)
        verdict = judge(self.coding, tree.names, self.evidence, val, allow_empty=self.allow_empty)
        if verdict.problems:
            raise UserError(verdict.problems[0])
        same = same_images(tree.train.pairs.image_paths(), tree.val.pairs.image_paths())
        return [*verdict.notes, *([same] if same else [])]


def given_coding(
    tree: SegTree, reduce_zero_label: bool | Literal["auto"], values: Sequence[int] | None, known: bool | None
) -> Decision | None:
    """Returns the coding given by colours, by flags or by a known data set; None where the label maps must show it.

    Args:
        tree: content of the data folder.
        reduce_zero_label: `data.reduce_zero_label`.
        values: `data.label_values`.
        known: whether 0 is unlabelled in this data set; None where that is not known.

    Raises:
        UserError: the values do not fit the classes, or contradict `reduce_zero_label`.
    """
    count, table = len(tree.names), tree.train.pairs.colours
    if table is not None:
        return Decision(Coding(count, False), f"by the colours of {table.path}")
    if values:
        return Decision(valued(values, count, reduce_zero_label))
    if reduce_zero_label != "auto":
        return Decision(Coding(count, reduce_zero_label))
    if known is None:
        return None
    return Decision(Coding(count, known), "as in the released ADE20K" if tree.published else "")
