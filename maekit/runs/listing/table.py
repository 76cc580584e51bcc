"""The rows as a table that fits the terminal, and as plain values."""

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from maekit.runs.folder import shown
from maekit.runs.listing.rows import RunRow
from maekit.system.numbers import number
from maekit.system.plain import JSON

_LEAST = 8  # characters to which a name in a column is cut at most
_CUT = ("data", "recipe", "task")  # columns that are cut where a terminal is too narrow, the first first
_DROPPED = ("size", "recipe", "data", "step")  # and then left out
_RIGHT = ("step", "age", "size")


class Named(NamedTuple):
    """A row with its number or name, or with its path where `<task>/<recipe>/<name>` does not lead to it alone."""

    name: str
    row: RunRow


def named(rows: Sequence[RunRow], every: Sequence[RunRow]) -> list[Named]:
    """The rows with their names.

    Args:
        rows: those that are listed.
        every: all that are there: a name stands alone where no other has it too in its task and recipe.
    """
    counts = Counter(_place(row) for row in every)
    return [Named(_name(row, counts[_place(row)] == 1), row) for row in rows]


def shared_name(rows: Sequence[Named]) -> str | None:
    """A number or name that several of the rows have, with an example of how to name one of these runs, as a line."""
    counts = Counter(one.name for one in rows)
    twice = next((one for one in rows if counts[one.name] > 1), None)
    if twice is None:
        return None
    return f"{counts[twice.name]} of these runs are called {twice.name}: name one as {'/'.join(_place(twice.row))}"


def _place(row: RunRow) -> tuple[str, ...]:
    return row.folder.absolute().parts[-3:]


def _name(row: RunRow, unique: bool) -> str:
    return _place(row)[-1] if unique and _place(row)[:2] == (row.task, row.run.recipe) else shown(row.folder)


def text_table(rows: Sequence[Named], width: int | None, now: float | None = None) -> list[str]:
    """The table's lines.

    Args:
        rows: at least one.
        width: characters of the terminal: names are cut with `~`, then columns left out; None writes all.
        now: seconds since 1970; None: now.
    """
    columns = _columns(rows, time.time() if now is None else now)
    if width is not None:
        columns = _fitting(columns, width)
    sizes = {name: max(map(len, (name, *cells))) for name, cells in columns.items()}
    lines = [list(columns), *zip(*columns.values(), strict=True)]
    return ["  ".join(map(_aligned, line, sizes, sizes.values())).rstrip() for line in lines]


def _aligned(cell: str, name: str, size: int) -> str:
    return cell.rjust(size) if name in _RIGHT else cell.ljust(size)


def _columns(rows: Sequence[Named], now: float) -> dict[str, list[str]]:
    return {
        "run": [one.name for one in rows],
        "task": [one.row.task for one in rows],
        "recipe": [one.row.run.recipe for one in rows],
        "data": [one.row.data or "-" for one in rows],
        "best": [_best(one.row) for one in rows],
        "step": [_step(one.row) for one in rows],
        "state": [one.row.state.word for one in rows],
        "age": [age(now - one.row.written) for one in rows],
        "size": [size_text(one.row.bytes) for one in rows],
    }


def _fitting(columns: Mapping[str, list[str]], width: int) -> dict[str, list[str]]:
    """The columns in a width, as far as names can be cut and columns left out."""
    kept = dict(columns)
    for name in _CUT:
        if name in kept and (over := _width(kept) - width) > 0:
            size = max(map(len, kept[name]))
            kept[name] = [_cut(cell, max(_LEAST, size - over)) for cell in kept[name]]
    for name in _DROPPED:
        if _width(kept) > width:
            kept.pop(name, None)
    return kept


def _width(columns: Mapping[str, list[str]]) -> int:
    return sum(max(map(len, (name, *cells))) + 2 for name, cells in columns.items()) - 2


def _cut(text: str, size: int) -> str:
    return text if len(text) <= size else f"{text[: size - 1]}~"


def _best(row: RunRow) -> str:
    metric, value, _ = row.best
    return "-" if value is None else f"{metric} {number(value)}"


def _step(row: RunRow) -> str:
    total = row.run.total_steps
    done = "-" if row.step is None else str(row.step)
    return f"{done}/{total}" if total and row.step is not None else done


def age(seconds: float) -> str:
    """A time ago in one unit: `12 s`, `40 min`, `5 h`, `3 d`."""
    seconds = max(seconds, 0.0)
    for limit, unit, word in ((100, 1, "s"), (100 * 60, 60, "min"), (48 * 3600, 3600, "h")):
        if seconds < limit:
            return f"{seconds / unit:.0f} {word}"
    return f"{seconds / 86400:.0f} d"


def size_text(size: int) -> str:
    """Bytes in one unit of powers of 1000: `512 B`, `3.4 MB`, `1.2 GB`."""
    value, unit = float(size), "B"
    for bigger in ("kB", "MB", "GB", "TB"):
        if value < 1000:
            break
        value, unit = value / 1000, bigger
    return f"{value:.0f} {unit}" if unit == "B" or value >= 99.5 else f"{value:.2g} {unit}"


def as_values(one: Named) -> dict[str, JSON]:
    """A row as plain values; `data` is the whole folder, times are UTC, and `bytes` all files of the run."""
    from maekit.runs.data import recorded_data

    row, recorded = one.row, recorded_data(one.row.run)
    return {
        "name": one.name,
        "folder": str(row.folder.absolute()),
        "study": None if row.study is None else shown(Path(row.study)),
        "task": row.run.task,
        "recipe": row.run.recipe,
        "data": recorded.folder if recorded else row.data or None,
        "metric": row.best.metric,
        "best": row.best.value,
        "best_step": row.best.step,
        "step": row.step,
        "total_steps": row.run.total_steps,
        "state": row.state.word,
        "reason": row.state.reason or None,
        "seed": row.run.seed,
        "written": datetime.fromtimestamp(row.written, UTC).isoformat(timespec="seconds"),
        "bytes": row.bytes,
    }
