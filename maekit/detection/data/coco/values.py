"""Single values of COCO files as tools write them: numbers as text or whole floats, and entries that cannot be used."""

import math
import re
from abc import ABC, abstractmethod
from array import array
from pathlib import Path
from typing import Any

from maekit.detection.data.coco.stream import FORM

WHOLE = re.compile(r"\s*[+-]?\d{1,19}(\.0*)?\s*", re.ASCII)


class Tally:
    """How often something was met, and where first."""

    def __init__(self) -> None:
        self.count, self.first = 0, ""

    def add(self, where: str) -> None:
        """Counts one more."""
        self.first = self.first or where
        self.count += 1


class BadEntry(Exception):  # noqa: N818 - it is counted, not raised to the user
    """An entry that cannot be used.

    Args:
        kind: what is wrong, the same for all entries with this fault.
        text: what is wrong with this one.
    """

    def __init__(self, kind: str, text: str) -> None:
        super().__init__(text)
        self.kind = kind


class Collector(ABC):
    """Takes the entries of one list of a file and counts those that cannot be used, by what is wrong with them.

    Args:
        path: the file.
        table: the list's name.
    """

    def __init__(self, path: Path, table: str) -> None:
        self.path, self.table = path, table
        self.bad: dict[str, Tally] = {}

    def __call__(self, place: int, entry: Any) -> None:
        """Takes one entry, or counts it as bad."""
        try:
            if not isinstance(entry, dict):
                raise BadEntry("form", f"{self.table}[{place}] is {str(entry)[:60]!r}, expected an object")
            self.take(place, entry)
        except BadEntry as bad:
            self.bad.setdefault(bad.kind, Tally()).add(str(bad))

    @abstractmethod
    def take(self, place: int, entry: dict[str, Any]) -> None:
        """Takes one entry.

        Raises:
            BadEntry: nothing of it is taken.
        """

    def problems(self) -> list[str]:
        """Returns one line for each kind of bad entry, with the first of them."""
        lines = []
        for tally in self.bad.values():
            more = f" ({tally.count:,} such entries)" if tally.count > 1 else ""
            lines.append(f"{self.path}: {tally.first}{more}; {FORM}")
        return lines

    def whole(self, place: int, entry: dict[str, Any], key: str) -> int:
        """Returns an entry's whole number, also one that is written as text or as a float.

        Raises:
            BadEntry: it has none of 64 bits.
        """
        value = whole_number(entry.get(key))
        if value is None:
            raise self.lacking(place, entry, key, "that is a whole number")
        return value

    def lacking(self, place: int, entry: dict[str, Any], key: str, kind: str) -> BadEntry:
        """Returns what to say of an entry without some value."""
        got = repr(entry[key])[:60] if key in entry else "none"
        return BadEntry(key, f"{self.table}[{place}] has {key} {got}, expected one {kind}")


def whole_number(value: Any) -> int | None:
    """Returns the whole number of 64 bits that a value is: 7, 7.0, "7" or "7.0"; None of anything else."""
    if type(value) is int:  # nearly all
        return value if -(2**63) <= value < 2**63 else None
    if isinstance(value, str) and WHOLE.fullmatch(value):
        value = int(value.strip().partition(".")[0])
    elif isinstance(value, float) and value.is_integer():
        value = int(value)
    good = isinstance(value, int) and not isinstance(value, bool) and -(2**63) <= value < 2**63
    return value if good else None


def numbers(values: Any) -> "array[float] | None":
    """Returns the numbers of a list, also those written as text, or None of anything else: no infinities, no NaN."""
    if not isinstance(values, list):
        return None
    try:
        found: array[float] | None = array("d", values)
    except (TypeError, OverflowError):
        found = _from_text(values)
    return found if found is not None and math.isfinite(sum(found)) else None


def flag(value: Any) -> bool:
    """Says whether a flag is set: 1, true or the same as text; missing and null are not."""
    return value in (1, True, "1", "1.0") or (isinstance(value, str) and value.lower() == "true")


def _from_text(values: list[Any]) -> "array[float] | None":
    try:
        return array("d", [float(value) if isinstance(value, str) else value for value in values])
    except (TypeError, ValueError, OverflowError):
        return None
