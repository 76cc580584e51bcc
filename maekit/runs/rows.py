"""The tables that a run appends rows to: `train.csv`, `val.csv`, `layers.csv`."""

import csv
import os
from pathlib import Path

from maekit.system.plain import finite_number

Row = dict[str, float]
_TAIL = 2**16  # bytes at the end of a table, which hold several rows


def text_rows(file: Path) -> list[dict[str, str]]:
    """Whole rows of a table by column: a kill may have cut the last one. No rows where there is no file."""
    if not file.is_file():
        return []
    with file.open(newline="", encoding="utf-8") as lines:
        return [row for row in csv.DictReader(lines) if None not in row and None not in row.values()]


def number_rows(file: Path) -> list[Row]:
    """The same rows as numbers; a cell that is no finite number is left out, and a row without its `step`."""
    try:
        found = text_rows(file)
    except (OSError, UnicodeDecodeError, csv.Error):
        return []
    rows = [{key: number for key, text in row.items() if (number := _number(text)) is not None} for row in found]
    return [row for row in rows if "step" in row]


def last_step_of(file: Path) -> int | None:
    """The step of a table's last whole row, for which only its end is read; None where there is no such row."""
    try:
        with file.open("rb") as lines:
            columns = next(csv.reader([lines.readline().decode()]), [])
            start = lines.tell()
            lines.seek(max(start, lines.seek(0, os.SEEK_END) - _TAIL))
            rows = list(csv.reader(lines.read().decode(errors="replace").splitlines()))
    except (OSError, UnicodeDecodeError, csv.Error):
        return None
    whole = (row for row in reversed(rows) if len(row) == len(columns) and "step" in columns)
    steps = (_number(row[columns.index("step")]) for row in whole)
    return next((int(step) for step in steps if step is not None), None)


def _number(text: str) -> float | None:
    try:
        return finite_number(float(text))
    except ValueError:
        return None
