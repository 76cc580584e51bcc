"""What a table says of its images besides their labels: each once, what it counts, its split and its group."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from maekit.data.folders.alike import meaning
from maekit.data.folders.listing import files_in
from maekit.data.folders.splits import SPLIT_NAMES, SplitName, split_of
from maekit.errors import UserError, nearest
from maekit.system.numbers import plural, written_number

MISSING = {"", "nan", "null", "none", "na", "n/a"}


def require_table(table: Path) -> None:
    """Refuses a table that is not there, with the nearest name.

    Raises:
        UserError: with the path.
    """
    if not table.is_file():
        raise UserError(
            f"{table}: no such table{nearest(table.name, sorted(files_in(table.parent)))}; give --data.table FILE"
        )


def require_once(table: Path, names: Sequence[str], labels: Sequence[str] = ()) -> None:
    """Refuses an image that is listed twice: with two labels, or in two rows that count it twice.

    Args:
        table: for errors.
        names: the file of each row.
        labels: what each row says of it; empty where the table has no labels.

    Raises:
        UserError: with the rows of the first such image.
    """
    twice = [name for name, count in Counter(names).items() if count > 1]
    if not twice:
        return
    rows = [row for row, name in enumerate(names) if name == twice[0]]
    said = sorted({labels[row] for row in rows}) if labels else []
    what = f" with the labels {', '.join(said)}" if len(said) > 1 else f" with one label, '{said[0]}'" if said else ""
    places = ", ".join(str(row + 2) for row in rows[:4])
    raise UserError(
        f"{table}: {len(twice):,} images are listed more than once, the first '{twice[0]}' in rows {places}{what}; "
        "expected one row an image: remove the others"
    )


def weights_of(table: Path, column: str, values: Sequence[str]) -> np.ndarray:
    """Returns the weights of a column, [n] float32.

    Raises:
        UserError: one is no number above 0.
    """
    weights = np.empty(len(values), dtype=np.float32)
    for row, value in enumerate(values):
        try:
            weights[row] = written_number(value)
        except ValueError:
            weights[row] = np.nan
        if not 0 < weights[row] < np.inf:
            raise UserError(f"{table}: row {row + 2} has '{value}' in '{column}', expected a weight above 0; mend it")
    return weights


def groups_of(table: Path, column: str, values: Sequence[str]) -> list[str]:
    """Returns the group of each row; spellings that mean the same (`P1` and `p1`, `007` and `7`) are one group.

    Raises:
        UserError: a row has no group, so that nobody knows which images belong to it.
    """
    gone = [row for row, value in enumerate(values) if value.casefold() in MISSING]
    if gone:
        raise UserError(
            f"{table}: {plural(len(gone), 'row')} without a group in '{column}', the first is row {gone[0] + 2} "
            f"('{values[gone[0]]}'), expected one in each; add it, with a value of its own where an image stands alone"
        )
    first: dict[str, str] = {}
    return [first.setdefault(meaning(value).casefold(), value) for value in values]


def splits_of(table: Path, words: Sequence[str], groups: Sequence[str] = ()) -> list[SplitName]:
    """Returns the split of each row.

    Args:
        table: for errors.
        words: what its split column says.
        groups: the group of each row; empty without such a column.

    Raises:
        UserError: a word is the name of no split, no row is of validation though some are of test, or a group is in two
            splits.
    """
    known: list[SplitName] = []
    for word in words:
        split = split_of(word)
        if split is None:
            usual = ", ".join(name for names in SPLIT_NAMES.values() for name in names[:2])
            raise UserError(f"{table}: got '{word}' as a split, expected one of {usual}; mend the rows")
        known.append(split)
    if "val" not in known and "test" in known:
        raise UserError(
            f"{table}: its rows are of training and test, none of validation; name some rows `val`, "
            "or give --data.fold 1/5, which divides the training rows"
        )
    _require_whole_groups(table, known, groups)
    return known


def require_both(table: Path, num_train: int, num_val: int) -> None:
    """Refuses a division that leaves no image for training, or none for validation.

    Raises:
        UserError: with the empty split.
    """
    for count, name in ((num_train, "training"), (num_val, "validation")):
        if not count:
            raise UserError(f"{table}: no row is of {name}, expected one or more; mend its split column")


def _require_whole_groups(table: Path, splits: Sequence[SplitName], groups: Sequence[str]) -> None:
    side: dict[str, SplitName] = {}
    for split, group in zip(splits, groups, strict=False):  # without a group column there are none
        if side.setdefault(group, split) != split:
            raise UserError(
                f"{table}: group '{group}' is in {side[group]} and in {split}, expected one side; mend its rows, leave "
                "--data.group_column out, or give --data.fold 1/5, which keeps groups whole"
            )
