"""Images of a table as the data of a task: the flags that every such data set has."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from maekit.classification.data.labelled_images import LabelledImages
from maekit.classification.data.tables.rows import TableFlags
from maekit.errors import UserError
from maekit.system.folds import parse_fold
from maekit.system.ranges import check_range

KINDS = ("path", "label", "split", "group", "weight")


@dataclass(kw_only=True, eq=False, repr=False)
class TableImages(LabelledImages):
    """A table with a row for each image.

    Args:
        synthetic: made data to use where no root is given: `digits` are scikit-learn's handwritten digits.
        val_fraction: share of each class set aside for validation where there is no val folder, above 0 and
            below 1.
        split_seed: chooses which images that share, or a fold, holds.
        table: a CSV, TSV or Parquet file with a row for each image, instead of class folders; its paths begin in
            `root` or beside it.
        path_column: the table's column of the images' paths; null: the one with a usual name, such as `file`.
        label_column: its column of the classes; null: likewise, such as `label`.
        split_column: its column that says train, val or test; null: likewise, such as `split`, if there is one. Images
            of test are set aside.
        group_column: its column of what images have in common, such as the patient; a group is never divided between
            training and validation.
        weight_column: its column of what each image counts, above 0.
        fold: validate on one of k equal parts and train on the others, as 2/5; each class is spread evenly over them.
    """

    synthetic: Literal["digits"] | None = None
    val_fraction: float
    split_seed: int = 0
    table: str | None = None
    path_column: str | None = None
    label_column: str | None = None
    split_column: str | None = None
    group_column: str | None = None
    weight_column: str | None = None
    fold: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.val_fraction < 1:
            raise UserError(f"data.val_fraction: got {self.val_fraction}, expected above 0 and below 1")
        check_range("data.split_seed", self.split_seed, "[0, inf)")
        self._fold = None if self.fold is None else parse_fold(self.fold)
        self._require_table()

    def _require_table(self) -> None:
        """Refuses a column where there is no table."""
        of_table = ("path_column", "label_column", "split_column", "group_column", "weight_column")
        given = [name for name in of_table if getattr(self, name) is not None]
        if self.table is None and given:
            raise UserError(f"got data.{given[0]} without data.table, expected both; add --data.table FILE")

    @property
    def folded(self) -> bool:
        """Whether the validation images are one fold of all, and the training images the others."""
        return self.fold is not None

    def data_root(self) -> Path:
        """Returns the absolute path of the data folder, which is the table's without another one."""
        if self.root is None and self.table is not None:
            return Path(self.table).expanduser().absolute().parent
        return super().data_root()

    def label_flag(self) -> str | None:
        """Returns the name of the label's column, or names with commas between; None for the usual one."""
        return self.label_column

    def table_flags(self, table: Path, classes: tuple[str, ...] | None) -> TableFlags:
        """Returns what the flags say of a table, whose classes may be given."""
        columns: dict[str, str | None] = {kind: getattr(self, f"{kind}_column") for kind in KINDS}
        columns["label"] = self.label_flag()
        return TableFlags(
            table.expanduser().absolute(), columns, classes, self.val_fraction, self.split_seed, self._fold
        )
