"""Numbers from a table: one column a value."""

import math
from pathlib import Path

import numpy as np

from maekit.base.task_of import tasks_of
from maekit.classification.data.tables.division import divided
from maekit.classification.data.tables.rows import Cells, TableFlags, TableSplits, read_cells, sorted_rows
from maekit.errors import UserError

USUAL = ("value", "values", "score", "measurement")


def read_values(flags: TableFlags, root: Path) -> tuple[TableSplits, tuple[str, ...]]:
    """Reads a table of values and divides its images; returns the names of the values too.

    Args:
        flags: the table and what is known of it.
        root: folder of the data, where paths may begin; else they begin beside the table.

    Raises:
        UserError: as `read_table`; a cell is no finite number, or a value is the same in all images of a split.
    """
    cells = read_cells(flags, root, several=True, usual=USUAL)
    names = cells.columns.labels
    values = np.stack([_numbers(cells, name) for name in names], axis=1).astype(np.float32)
    splits = divided(flags, cells, sorted_rows(cells, (), values))
    for split, listing in (("training", splits.train), ("validation", splits.val)):
        for place, name in enumerate(names):
            column = listing.labels[:, place]
            if (column == column[0]).all():
                raise UserError(
                    f"{flags.file}: '{name}' is {column[0]:g} in all {len(column):,} {split} images, expected numbers "
                    "that differ; name another column with --data.label_column, or other images"
                )
    return splits, names


def _numbers(cells: Cells, name: str) -> np.ndarray:
    numbers = np.empty(len(cells.read[name]))
    for row, cell in enumerate(cells.read[name]):
        try:
            numbers[row] = float(cell)
        except ValueError:
            raise UserError(
                f"{cells.table}: row {row + 2} has '{cell}' in '{name}', expected a number; mend it, or, where these "
                f"are names of classes, use {tasks_of('classes')}"
            ) from None
        if not math.isfinite(numbers[row]):
            raise UserError(f"{cells.table}: row {row + 2} has '{cell}' in '{name}', expected a finite number; mend it")
    return numbers
