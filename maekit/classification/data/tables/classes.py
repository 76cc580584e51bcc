"""Class labels from a table: one row an image, its columns the path, the class, the split, the group, the weight."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from maekit.classification.data.tables.division import divided
from maekit.classification.data.tables.labels import require_one_label
from maekit.classification.data.tables.rows import TableFlags, TableSplits, read_cells, sorted_rows
from maekit.data.folders.alike import require_distinct
from maekit.data.tables.rows import MISSING
from maekit.errors import UserError, nearest


def read_table(flags: TableFlags, root: Path, usual: Sequence[str] = ()) -> TableSplits:
    """Reads a table and divides its images.

    Args:
        flags: the table and what is known of it.
        root: folder of the data, where paths may begin; else they begin beside the table.
        usual: more names that the label's column usually has.

    Raises:
        UserError: a file, a label or a weight is missing or wrong, a row is there twice, a group is on both sides, or
            a split has no image.
    """
    cells = read_cells(flags, root, usual=usual)
    (labels,) = cells.labels()
    classes = _classes(flags.file, labels, flags.classes)
    place = {name: number for number, name in enumerate(classes)}
    numbers = np.array([place[label] for label in labels], dtype=np.int32)
    return divided(flags, cells, sorted_rows(cells, classes, numbers))


def _classes(table: Path, labels: Sequence[str], given: tuple[str, ...] | None) -> tuple[str, ...]:
    """The classes in label order: those given, else those of the table, sorted as class folders are."""
    if given is None:
        require_one_label(table, labels)
    gone = [row for row, label in enumerate(labels) if label.casefold() in MISSING and label not in (given or ())]
    if gone:
        raise UserError(
            f"{table}: {len(gone):,} rows have no label, the first is row {gone[0] + 2} ('{labels[gone[0]]}'); add it, "
            "or remove the row"
        )
    found = tuple(sorted(set(labels)))
    require_distinct(found, table)
    if given is not None:
        known = set(given)
        other = next((label for label in labels if label not in known), None)
        if other is not None:
            row = labels.index(other) + 2
            raise UserError(
                f"{table}: row {row} has label '{other}', expected one of the {len(given)} classes of "
                f"--data.classes{nearest(other, given)}; mend the row or the list"
            )
        return given
    if len(found) < 2:
        raise UserError(f"{table}: one class only ('{found[0]}'), expected two or more; add images of another class")
    return found
