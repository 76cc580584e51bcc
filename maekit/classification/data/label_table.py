"""Images with any number of labels each, as the data of a task."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from maekit.base.spec import DataSpec, Target
from maekit.classification.data.tables.labels import read_labels
from maekit.classification.data.tables.rows import TableSplits, given_classes
from maekit.classification.data.target_table import TargetTable
from maekit.errors import UserError


@dataclass(kw_only=True, eq=False, repr=False)
class LabelTable(TargetTable):
    """A table with any number of labels in each row.

    Args:
        label_column: its column of the labels' names, as `cat;dog`; or columns of 0 and 1, one a label, with commas
            between: cat,dog,cow; null: the one with a usual name, such as `labels`.
        label_separator: stands between the labels of a row, a blank too; null: the first of ; | and , that some row
            has, or none where the cells are lists, as ['cat', 'dog'].
        classes: the labels in order: names, or a file with one a line; null: all of the table, sorted.
    """

    published: ClassVar[DataSpec] = DataSpec(("label_0", "label_1"), (224, 224), target="labels")
    target: ClassVar[Target] = "labels"
    made_column: ClassVar[str] = "labels"

    label_separator: str | None = None
    classes: list[str] | str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.label_separator == "":
            raise UserError("data.label_separator: got nothing, expected a mark such as ; or |, or a blank")

    def read_target(self, table: Path, root: Path) -> TableSplits:
        """Reads the labels of each image; see `read_labels`."""
        classes = None if self.classes is None else given_classes(self.classes)
        return read_labels(self.table_flags(table, classes), root, self.label_separator)

    def summary(self) -> str:
        """Returns counts, labels an image, folder and origin in one line."""
        train, val, names, origin = self._read()
        counts = f"{len(train):,} training and {len(val):,} validation images of {len(names):,} labels"
        each = f"{train.labels.sum() / len(train):.2f} labels an image"
        return f"{counts} in {self.data_root()} ({'; '.join((each, origin, *self.notes()))})"
