"""Which runs are listed, and in what order."""

import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from maekit.errors import UserError, nearest
from maekit.runs.data import recorded_data
from maekit.runs.listing.rows import RunRow
from maekit.runs.listing.state import STATES

_UNITS = {"s": 1, "min": 60, "h": 3600, "d": 86400, "w": 7 * 86400}


@dataclass(frozen=True)
class Filters:
    """Which runs to list; None lists all.

    Attributes:
        task: a task's name.
        state: one of `STATES`.
        data: the name of a data folder, or a part of its path.
        since: seconds since 1970 from which on a run must have written something.
    """

    task: str | None = None
    state: str | None = None
    data: str | None = None
    since: float | None = None


def chosen(rows: Sequence[RunRow], filters: Filters) -> list[RunRow]:
    """The rows that pass all filters.

    Raises:
        UserError: no run at all has this task or data, or there is no such state; with the nearest one.
    """
    tests: list[Callable[[RunRow], bool]] = []
    if filters.state is not None:
        _require("--state", filters.state, list(STATES), STATES)
        tests.append(lambda row: row.state.word == filters.state)
    if filters.task is not None:
        tasks = sorted({row.task for row in rows})
        _require("--task", filters.task, tasks, tasks)
        tests.append(lambda row: row.task == filters.task)
    if filters.data is not None:
        names = sorted({row.data for row in rows if row.data})
        _require("--data", filters.data, [row.data for row in rows if is_of(row, filters.data)], names)
        tests.append(lambda row: is_of(row, filters.data or ""))
    if filters.since is not None:
        tests.append(lambda row: row.written >= (filters.since or 0.0))
    return [row for row in rows if all(test(row) for test in tests)]


def is_of(row: RunRow, data: str) -> bool:
    """Whether a run's data folder has this name, or this text in its path."""
    recorded = recorded_data(row.run)
    return bool(data) and (row.data == data or data in (recorded.folder if recorded else row.data))


def _require(flag: str, given: str, there: Sequence[str], known: Sequence[str]) -> None:
    """Refuses a filter that no run can pass; for `--task` and `--state` `there` are the right values themselves."""
    if (flag == "--data" and there) or given in there:
        return
    listed = ", ".join(known) or "none: there are no runs"
    raise UserError(f"{flag}: got '{given}', expected one of {listed}{nearest(given, known)}")


def since_of(text: str, now: float | None = None) -> float:
    """The time that `2d`, `90min`, `12h`, `1w` before now or a date such as `2026-11-30` means, in seconds since 1970.

    Raises:
        UserError: it is neither.
    """
    given = re.fullmatch(r"(\d+(?:\.\d+)?)(s|min|h|d|w)", text)
    if given:
        return (time.time() if now is None else now) - float(given[1]) * _UNITS[given[2]]
    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError:
        raise UserError(
            f"--since: got '{text}', expected a time such as 30min, 12h, 2d or 1w, or a date such as 2026-11-30"
        ) from None


SORTS = ("age", "metric", "size", "step", "name")


def in_order(rows: Sequence[RunRow], sort: str) -> list[RunRow]:
    """The rows in an order: newest first, best first (task by task), largest first, longest first, or by path.

    Raises:
        UserError: an unknown order; with the nearest one.
    """
    if sort not in SORTS:
        raise UserError(f"--sort: got '{sort}', expected one of {', '.join(SORTS)}{nearest(sort, SORTS)}")
    newest = sorted(rows, key=lambda row: row.written, reverse=True)
    keys: dict[str, Callable[[RunRow], object]] = {
        "age": lambda row: 0,
        "metric": _metric_key,
        "size": lambda row: -row.bytes,
        "step": lambda row: -(row.step or 0),
        "name": lambda row: [(int(part), "") if part.isdecimal() else (-1, part) for part in row.folder.parts],
    }
    return sorted(newest, key=keys[sort])  # type: ignore[arg-type] # each key gives values of one type


def _metric_key(row: RunRow) -> tuple[str, str, float]:
    """Task and metric, then the best value first; a run without a value comes last of its metric."""
    value = row.best.value
    return row.task, row.best.metric or "~", float("inf") if value is None else -value if row.mode == "max" else value
