"""Images with one number or several each, as the data of a task."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import numpy as np

from maekit.base.spec import DataSpec, Target
from maekit.classification.data.tables.rows import TableSplits
from maekit.classification.data.tables.values import read_values
from maekit.classification.data.target_table import TargetTable


@dataclass(kw_only=True, eq=False, repr=False)
class ValueTable(TargetTable):
    """A table with a number or several in each row.

    Args:
        label_column: its column of the values, or several with commas between: age,weight; null: the one with a usual
            name, such as `value`.
    """

    published: ClassVar[DataSpec] = DataSpec(
        (), (224, 224), target="values", value_names=("value",), value_mean=(0.0,), value_std=(1.0,)
    )
    target: ClassVar[Target] = "values"
    made_column: ClassVar[str] = "sum"

    def __post_init__(self) -> None:
        super().__post_init__()
        self._names: tuple[str, ...] = ()

    def read_target(self, table: Path, root: Path) -> TableSplits:
        """Reads the values of each image; see `read_values`."""
        splits, self._names = read_values(self.table_flags(table, None), root)
        return splits

    def spec(self) -> DataSpec:
        """Returns the names of the values, and their mean and standard deviation over the training images."""
        values = self._read().train.labels.astype(np.float64)
        mean, std = (tuple(numbers.tolist()) for numbers in (values.mean(0), values.std(0)))
        return replace(super().spec(), value_names=self._names, value_mean=mean, value_std=std)

    def summary(self) -> str:
        """Returns counts, values with their mean and deviation, folder and origin in one line."""
        train, val, _, origin = self._read()
        spec = self.spec()
        values = zip(spec.value_names, spec.value_mean, spec.value_std, strict=True)
        what = ", ".join(f"{name} (mean {mean:.4g}, deviation {std:.4g})" for name, mean, std in values)
        counts = f"{len(train):,} training and {len(val):,} validation images with {what}"
        return f"{counts} in {self.data_root()} ({'; '.join((origin, *self.notes()))})"
