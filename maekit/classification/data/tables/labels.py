"""Several labels an image from a table: one column of names with a separator, or a column of 0 and 1 for each label."""

import ast
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from maekit.base.task_of import tasks_of
from maekit.classification.data.tables.division import divided
from maekit.classification.data.tables.rows import Cells, TableFlags, TableSplits, read_cells, sorted_rows
from maekit.data.folders.alike import require_distinct
from maekit.data.tables.rows import MISSING
from maekit.errors import UserError, nearest

SEPARATORS = ";|,"
YES, NO = {"1", "1.0", "true", "yes"}, {"0", "0.0", "false", "no"}
NAMED = 3  # labels that a note names


def read_labels(flags: TableFlags, root: Path, separator: str | None) -> TableSplits:
    """Reads a table of labels and divides its images.

    Args:
        flags: the table and what is known of it.
        root: folder of the data, where paths may begin; else they begin beside the table.
        separator: stands between the labels of a row; None for the first of `;`, `|` and `,` that some row has.

    Raises:
        UserError: as `read_table`; a cell is no 0 or 1 where labels have columns; or each image has one label, so that
            it is a class, unless `flags` give the classes.
    """
    cells = read_cells(flags, root, several=True)
    how = ""
    if len(cells.columns.labels) > 1:
        classes, labels = _of_columns(cells, flags.classes)
    else:
        rows, how = _names_of_each(cells, flags.classes, separator)
        classes, labels = _of_lists(cells, flags.classes, rows)
    if flags.classes is None and (labels.sum(1) == 1).all():
        raise UserError(
            f"{flags.file}: each of its {len(labels):,} rows has one label of {len(classes)}, expected rows with "
            f"several or none; use {tasks_of('classes')}, or give --data.classes to train with one all the same"
            f"{_blank_hint(classes)}"
        )
    splits = divided(flags, cells, sorted_rows(cells, classes, labels), how, _none_note(labels))
    return splits._replace(origin="; ".join([splits.origin, *_unseen(splits)]))


def require_one_label(table: Path, labels: Sequence[str]) -> None:
    """Refuses a column of classes whose cells list several: `cat;dog` beside `cat`, or beside `dog;cow`.

    Raises:
        UserError: with the row and the task for such data.
    """
    lists = [row for row, label in enumerate(labels) if _is_list(label)]
    if len(lists) == len(labels):
        raise UserError(
            f"{table}: row {lists[0] + 2} has a list, '{labels[lists[0]]}', expected one class; use "
            f"{tasks_of('labels')}, or write the name alone"
        )
    for separator in ";|":
        found = [row for row, label in enumerate(labels) if separator in label]
        parts = Counter(part.strip() for row in found for part in set(labels[row].split(separator)))
        shared = [part for part, count in parts.items() if count > 1 or part in labels]
        if shared:
            raise UserError(
                f"{table}: row {found[0] + 2} has several labels, '{labels[found[0]]}', expected one class; use "
                f"{tasks_of('labels')}, or give --data.classes with these very names"
            )


def _of_columns(cells: Cells, given: tuple[str, ...] | None) -> tuple[tuple[str, ...], np.ndarray]:
    """Labels from columns of 0 and 1, in the order of the flag, or of the classes that are given."""
    names = cells.columns.labels
    if given is not None and set(given) != set(names):
        other = next(iter(set(given) ^ set(names)))
        raise UserError(
            f"{cells.table}: got '{other}' in one of --data.label_column and --data.classes{nearest(other, names)}, "
            "expected the same names in both; leave --data.classes out"
        )
    classes = given or names
    labels = np.zeros((len(cells.found.names), len(classes)), dtype=np.uint8)
    for place, name in enumerate(classes):
        for row, cell in enumerate(cells.read[name]):
            if cell.casefold() not in YES | NO:
                raise UserError(f"{cells.table}: row {row + 2} has '{cell}' in '{name}', expected 0 or 1; mend it")
            labels[row, place] = cell.casefold() in YES
    return classes, labels


def _names_of_each(cells: Cells, given: tuple[str, ...] | None, separator: str | None) -> tuple[list[list[str]], str]:
    """The names in each cell of one column, and how they were told apart; a missing cell has none, unless given."""
    (texts,) = cells.labels()
    filled = ["" if text.casefold() in MISSING and text not in (given or ()) else text for text in texts]
    if separator is None and any(filled) and all(_is_list(text) for text in filled if text):
        return [_names_in(cells, row, text) for row, text in enumerate(filled)], "labels are lists of Python or JSON"
    found = separator or next((mark for mark in SEPARATORS if any(mark in text for text in filled)), None)
    rows = [[part.strip() for part in text.split(found or SEPARATORS[0]) if part.strip()] for text in filled]
    if separator is not None or found is None:
        return rows, ""
    _require_one_mark(cells, rows, found)
    return rows, f"labels divided at '{found}', the first of {' '.join(SEPARATORS)} that some row has"


def _is_list(text: str) -> bool:
    return text.startswith("[") and text.endswith("]")


def _names_in(cells: Cells, row: int, text: str) -> list[str]:
    """The names in a list as Python, JSON or NumPy write it: `['a', 'b']`, `["a", "b"]`, `['a' 'b']`."""
    try:
        names = ast.literal_eval(re.sub(r"""(['"])\s+(?=['"])""", r"\1, ", text)) if text else []
    except (SyntaxError, ValueError):
        raise UserError(
            f"{cells.table}: row {row + 2} has '{text}', expected a list such as ['cat', 'dog'], as most rows have it; "
            "mend it, or write cat;dog"
        ) from None
    return [str(name).strip() for name in names if str(name).strip()]


def _require_one_mark(cells: Cells, rows: Sequence[Sequence[str]], mark: str) -> None:
    """Refuses a label such as `a,c` where labels are divided at `;` and `a` or `c` is one itself.

    Raises:
        UserError: with the row.
    """
    known = {name for row in rows for name in row}
    for number, row in enumerate(rows):
        for name in row:
            others = [other for other in SEPARATORS if other != mark and other in name]
            if any(part.strip() in known for other in others for part in name.split(other)):
                raise UserError(
                    f"{cells.table}: row {number + 2} has '{name}', expected labels with one mark between in all rows, "
                    f"which is '{mark}' elsewhere; mend it, or give --data.label_separator '{mark}' if it is one label"
                )


def _blank_hint(classes: Sequence[str]) -> str:
    """Advice where the labels look as if blanks divided them, as `haze primary` beside `primary`."""
    parts = Counter(part for name in classes for part in set(name.split()))
    fits = next((name for name in classes if " " in name and any(parts[part] > 1 for part in name.split())), None)
    return f"; where blanks divide labels, as in '{fits}', give --data.label_separator ' '" if fits else ""


def _of_lists(
    cells: Cells, given: tuple[str, ...] | None, rows: Sequence[Sequence[str]]
) -> tuple[tuple[str, ...], np.ndarray]:
    """Labels from one column, sorted or in the order of the classes that are given."""
    classes = given or tuple(sorted({label for row in rows for label in row}))
    place = {name: number for number, name in enumerate(classes)}
    require_distinct(classes, cells.table)
    labels = np.zeros((len(rows), len(classes)), dtype=np.uint8)
    for number, row in enumerate(rows):
        for label in row:
            if label not in place:
                raise UserError(
                    f"{cells.table}: row {number + 2} has label '{label}', expected some of the {len(classes)} of "
                    f"--data.classes{nearest(label, classes)}; mend the row or the list"
                )
            labels[number, place[label]] = 1
    if not classes:
        raise UserError(f"{cells.table}: no row has a label in '{cells.columns.labels[0]}', expected names; add some")
    return classes, labels


def _none_note(labels: np.ndarray) -> str:
    bare = int((labels.sum(1) == 0).sum())
    return f"{bare:,} rows have no label" if bare else ""


def _unseen(splits: TableSplits) -> list[str]:
    """Notes on labels that no training image has, which cannot be learned, or that every one has."""
    counts, images = splits.train.labels.sum(0, dtype=np.int64), len(splits.train)
    notes = []
    for found, what in ((counts == 0, "no training image has"), (counts == images, "every training image has")):
        names = [splits.train.classes[place] for place in np.flatnonzero(found)]
        if names:
            listed = ", ".join(f"'{name}'" for name in names[:NAMED]) + (", ..." if names[NAMED:] else "")
            notes.append(f"{what} {len(names):,} of the {len(found):,} labels, which cannot be learned: {listed}")
    return notes
