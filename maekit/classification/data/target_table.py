"""Images whose target is no single class: from a table alone, or made pairs of digits."""

from abc import abstractmethod
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import numpy as np

from maekit.base.findings import Findings
from maekit.base.spec import DataSpec
from maekit.base.task_of import tasks_of
from maekit.classification.data.check import check_table
from maekit.classification.data.labelled_images import Splits
from maekit.classification.data.table_images import TableImages
from maekit.classification.data.tables.rows import TableSplits
from maekit.data.digit_pairs import TABLE, make_pairs, pairs_root
from maekit.data.folders.layout import require_folder
from maekit.data.tables.read import tables_in
from maekit.errors import UserError


@dataclass(kw_only=True, eq=False, repr=False)
class TargetTable(TableImages):
    """Images of a table, which says what a model learns of each.

    Args:
        synthetic: made data to use where no root is given: `digits` are images of two of scikit-learn's handwritten
            digits, with a table.
        val_fraction: share of the images set aside for validation where the table has no split column, above 0 and
            below 1.
        table: a CSV, TSV or Parquet file with a row for each image, whose paths begin in `root` or beside it; null for
            the only one in `root`.
        fold: validate on one of k equal parts and train on the others, as 2/5; what is learned is spread evenly over
            them.

    Attributes:
        made_column: of the made data's table, the column of this target.
    """

    expected: ClassVar[str] = "with a table that has a row for each image"
    made_column: ClassVar[str]

    def _require_table(self) -> None:
        """A table may be found in the folder."""

    @abstractmethod
    def read_target(self, table: Path, root: Path) -> TableSplits:
        """Reads a table and divides its images.

        Raises:
            UserError: the table or a file is missing or wrong.
        """

    def read_splits(self, root: Path) -> Splits:
        """Reads the table: the one that is given, the made data's, or the only one in the folder."""
        table = Path(self.table) if self.table is not None else self._only_table(root)
        found = self.read_target(table, root)
        note = "" if self.table is not None else f"{table.name} is the only table in the folder; "
        return Splits(found.train, found.val, found.train.classes, note + found.origin)

    def _only_table(self, root: Path) -> Path:
        require_folder(root)
        names = tables_in(root)
        if len(names) == 1:
            return root / names[0]
        what = f"{len(names)} tables ({', '.join(names[:4])})" if names else "no table"
        raise UserError(
            f"{root}: got {what} and no data.table, expected a CSV, TSV or Parquet file with a row for each image; "
            f"give --data.table FILE (class folders have one class an image: for these use {tasks_of('classes')})"
        )

    def label_flag(self) -> str | None:
        """Returns the column of what is learned: the flag's, or the made data's own."""
        made = self.label_column is None and self.table is None and self.root is None
        return self.made_column if made else self.label_column

    def spec(self) -> DataSpec:
        """Returns the names found and the image size asked for."""
        return replace(super().spec(), target=self.target)

    def sample_weights(self) -> np.ndarray | None:
        """Returns the weights by which training images are drawn, [images]; None draws each once an epoch."""
        return self._read().train.weights

    def notes(self) -> list[str]:
        """Returns what the summary adds, with how images are drawn."""
        return [*super().notes(), *(["images are drawn by their weights"] if self.weight_column else [])]

    @classmethod
    def digits_root(cls) -> Path:
        """Returns the cached folder of images of two digits, made by the first call."""
        return pairs_root()

    @classmethod
    def make(cls, root: Path) -> str:
        """Writes images of two digits with a table; see `make_pairs`."""
        return (
            f"{make_pairs(root)}: --data.root {root} --data.table {root / TABLE} --data.label_column {cls.made_column}"
        )

    def check(self, *, classes: int | None = None, full: bool = False) -> Findings:
        """Verifies the table, the number of labels and the files."""
        return check_table(self, self._read, classes=classes, full=full)
