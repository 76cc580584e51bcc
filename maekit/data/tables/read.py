"""Reads the columns of a table: CSV, TSV and other delimited text, or Parquet."""

import csv
from collections.abc import Iterator, Sequence
from importlib import import_module
from itertools import chain
from pathlib import Path
from typing import Any

from maekit.data.folders.file_names import is_passed_over
from maekit.data.folders.listing import files_in
from maekit.data.folders.text import read_text
from maekit.errors import UserError

DELIMITERS = ",;\t|"
DELIMITED = (".csv", ".tsv")
PARQUET = (".parquet", ".pq")


def tables_in(folder: Path) -> list[str]:
    """Returns the names of the tables in a folder, by their endings, sorted; hidden files are none."""
    names = (name for name in files_in(folder) if name.lower().endswith((*DELIMITED, *PARQUET)))
    return sorted(name for name in names if not is_passed_over(name))


def column_names(path: Path) -> list[str]:
    """Returns the names of a table's columns.

    Raises:
        UserError: the table cannot be read, is empty, or two columns have one name.
    """
    names = list(_parquet(path).schema_arrow.names) if _is_parquet(path) else next(_rows(path))
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise UserError(f"{path}: {names.count(twice)} columns are named '{twice}', expected each once; rename one")
    return names


def read_columns(path: Path, names: Sequence[str]) -> dict[str, list[str]]:
    """Returns some columns as text, without blanks around; a missing value is empty.

    Args:
        path: of the table.
        names: of columns that it has.

    Raises:
        UserError: the table has no row, a row has another number of values than the head, or it cannot be read.
    """
    columns = _of_parquet(path, names) if _is_parquet(path) else _of_text(path, names)
    if not columns[names[0]]:
        raise UserError(f"{path}: no rows below its head, expected one for each image; write the table again")
    return columns


def _is_parquet(path: Path) -> bool:
    return path.suffix.lower() in PARQUET


def _of_text(path: Path, names: Sequence[str]) -> dict[str, list[str]]:
    rows = _rows(path)
    head = next(rows)
    places = [head.index(name) for name in names]
    columns: list[list[str]] = [[] for _ in names]
    for number, row in enumerate(rows, 2):
        if not row:
            continue  # an empty line, as at the end of many files
        if len(row) != len(head):
            raise UserError(
                f"{path}: row {number} has {len(row)} values, its head names {len(head)} columns; mend the row, or "
                'put a value with a delimiter in it into quotes, as "a, b"'
            )
        for column, place in zip(columns, places, strict=True):
            column.append(row[place].strip())
    return dict(zip(names, columns, strict=True))


def _rows(path: Path) -> Iterator[list[str]]:
    """Yields the head and the rows of delimited text; the delimiter is the one that the head has most of."""
    lines = iter(read_text(path).splitlines(keepends=True))
    blank, head = next(((number, line) for number, line in enumerate(lines) if line.strip()), (0, None))
    if head is None:
        raise UserError(f"{path}: the table is empty, expected a head of column names and a row for each image")
    delimiter = "\t" if path.suffix.lower() == ".tsv" else max(DELIMITERS, key=head.count)
    reader = csv.reader(chain([head], lines), delimiter=delimiter, skipinitialspace=True, strict=True)
    try:
        yield [name.strip() for name in next(reader)]
        yield from reader
    except csv.Error as error:
        raise UserError(f"{path}: line {blank + reader.line_num}: {error}; mend its quotes") from None


def _of_parquet(path: Path, names: Sequence[str]) -> dict[str, list[str]]:
    table = _parquet(path).read(columns=list(names))
    return {name: [_text(value) for value in table.column(name).to_pylist()] for name in names}


def _text(value: object) -> str:
    if value is None or value != value:  # NaN
        return ""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value).strip()


def _parquet(path: Path) -> Any:
    """Opens a Parquet file; `Any` because pyarrow is not installed with maekit and has no types."""
    try:
        parquet = import_module("pyarrow.parquet")
    except ImportError:
        need = "reading Parquet needs pyarrow; `pip install 'maekit[parquet]'`, or save it as CSV"
        raise UserError(f"{path}: {need}") from None
    try:
        return parquet.ParquetFile(path)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or ' '.join(str(error).split())})") from None
    except Exception as error:  # pyarrow's own classes, which are there only if it is installed
        reason = " ".join(str(error).split())
        raise UserError(f"{path}: no whole Parquet file ({reason}); write the table again") from None
