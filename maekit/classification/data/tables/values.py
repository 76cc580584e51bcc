"""Numbers from a table: one column a value."""

import math
from pathlib import Path

import numpy as np

from maekit.base.task_of import tasks_of
from maekit.classification.data.tables.division import divided
from maekit.classification.data.tables.rows import Cells, TableFlags, TableSplits, read_cells, sorted_rows
from maekit.errors import UserError
from maekit.system.numbers import plural, written_number

USUAL = ("value", "values", "score", "measurement")
LARGEST = 1e15  # whose square, summed over a data set, still is far below the largest float32
MAX_ROUNDING = 1e-3  # share of the standard deviation
MARKS, FAR = (99, 999, 9999, 99999, 999999, 32768), 5  # what marks missing values; quarters' distances from the median


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
    values = np.stack([_numbers(cells, name) for name in names], axis=1)
    for name, column in zip(names, values.T, strict=True):
        _require_precise(flags.file, name, column)
    marks = [line for name, column in zip(names, values.T, strict=True) if (line := _mark_note(name, column))]
    splits = divided(flags, cells, sorted_rows(cells, (), values.astype(np.float32)), *marks)
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
            numbers[row] = written_number(cell)
        except ValueError:
            raise UserError(
                f"{cells.table}: row {row + 2} has '{cell}' in '{name}', expected a number; mend it, or, where these "
                f"are names of classes, use {tasks_of('classes')}"
            ) from None
        if not math.isfinite(numbers[row]):
            raise UserError(f"{cells.table}: row {row + 2} has '{cell}' in '{name}', expected a finite number; mend it")
        if abs(numbers[row]) > LARGEST:
            raise UserError(
                f"{cells.table}: row {row + 2} has '{cell}' in '{name}', expected a number up to {LARGEST:g}; mend it, "
                "or give all in a larger unit"
            )
    return numbers


def _require_precise(table: Path, name: str, values: np.ndarray) -> None:
    """Refuses values [n] that lie so close together, far from 0, that 32 bits round much of their difference away.

    Raises:
        UserError: with the rounding and what to subtract.
    """
    deviation, rounding = values.std(), np.abs(values - values.astype(np.float32)).max()
    if 0 < deviation < rounding / MAX_ROUNDING:
        raise UserError(
            f"{table}: '{name}' is from {values.min():.12g} to {values.max():.12g}, which 32 bits round by up to "
            f"{rounding:.2g}, expected values that differ by more; subtract {values.min():.12g} from all"
        )


def _mark_note(name: str, values: np.ndarray) -> str:
    """Returns a note on a number such as -9999, far from the others, that may mark a missing value; else empty."""
    low, middle, high = np.percentile(values, (25, 50, 75))
    for end in (values.min(), values.max()):
        if abs(end) in MARKS and high > low and abs(end - middle) > FAR * (high - low):
            count = int((values == end).sum())
            where = f"'{name}' is {end:g} in {plural(count, 'row')}, far from all others"
            return f"{where}: if it marks a missing value, remove them"
    return ""
