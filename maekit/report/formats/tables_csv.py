"""A document's tables and the numbers of its charts as CSV files (RFC 4180), one a table, nothing rounded."""

import csv
import io
import math
import re
from collections.abc import Iterable

from maekit.report.document import Document, HeatMap, LineChart, Table, Value, as_table


def named_blocks(document: Document) -> dict[str, Table | LineChart | HeatMap]:
    """Every table and chart of a document by a name that is good for a file; no two have one name on any system."""
    found: dict[str, Table | LineChart | HeatMap] = {}
    for section in document.sections:
        for block in section.blocks:
            if isinstance(block, Table | LineChart | HeatMap):
                found[_free(file_name(block.name), found)] = block
    return found


def tables_of(document: Document) -> dict[str, Table]:
    """The same as tables: what a chart draws is one too."""
    blocks = named_blocks(document)
    return {name: block if isinstance(block, Table) else as_table(block) for name, block in blocks.items()}


def render_csv(table: Table) -> str:
    """The table as RFC 4180 has it: CRLF after each line, quotes where needed, an empty cell for None and NaN."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerow(table.columns)
    writer.writerows([_cell(cell) for cell in row] for row in table.rows)
    return text.getvalue()


def file_name(name: str) -> str:
    """Letters, digits, `-` and `_` of a name, at most 60, for a file on any system."""
    return re.sub(r"[^A-Za-z0-9_-]+", "_", name).strip("_")[:60] or "table"


def _free(name: str, taken: Iterable[str]) -> str:
    number, free, lower = 2, name, {other.lower() for other in taken}
    while free.lower() in lower:
        free, number = f"{name}_{number}", number + 1
    return free


def _cell(value: Value) -> str | float:
    if isinstance(value, bool):
        return str(value).lower()
    return "" if value is None or (isinstance(value, float) and not math.isfinite(value)) else value
