"""Single values of COCO files, such as numbers written as text or as floats, and counts of unusable entries."""

import math
import re
from abc import ABC, abstractmethod
from array import array
from collections.abc import Iterable
from pathlib import Path
from typing import Generic, TypeVar

import msgspec

from maekit.detection.data.coco.json_lists import FORM

WHOLE = re.compile(r"\s*[+-]?\d{1,19}(\.0*)?\s*", re.ASCII)
HINTS = {".segments_info": ": it is a panoptic file"}
Entry = TypeVar("Entry", bound=msgspec.Struct)


class Tally:
    """How often something occurred, and where first."""

    def __init__(self) -> None:
        self.count, self.first = 0, ""

    def add(self, where: str) -> None:
        """Counts one more, and keeps `where` if it is the first."""
        self.first = self.first or where
        self.count += 1


class BadValue(Exception):  # noqa: N818 - it is counted, not raised to the user
    """A wrong or missing value that makes its entry unusable.

    Args:
        key: of the value in its entry.
        text: what is wrong with it.
    """

    def __init__(self, key: str, text: str) -> None:
        super().__init__(text)
        self.path = f".{key}"


class Collector(ABC, Generic[Entry]):
    """Takes the entries of one list of a file, and counts the unusable ones by the path of the wrong value.

    Args:
        path: of the file.
        table: name of the list.
        kind: what msgspec decodes its entries to.
    """

    def __init__(self, path: Path, table: str, kind: type[Entry]) -> None:
        self.path, self.table, self.kind = path, table, kind
        self.bad: dict[str, Tally] = {}

    def read(self, entries: Iterable[msgspec.Raw]) -> None:
        """Decodes and takes each entry, or counts it as bad."""
        decode = msgspec.json.Decoder(self.kind).decode
        for place, entry in enumerate(entries):
            try:
                self.take(decode(entry))
            except BadValue as error:
                self._count(place, error.path, str(error))
            except UnicodeDecodeError:
                self._count(place, "", "not text in UTF-8")
            except msgspec.DecodeError as error:
                text, _, path = str(error).partition(" - at `$")
                self._count(place, path.rstrip("`"), text)

    def _count(self, place: int, path: str, text: str) -> None:
        line = f"{self.table}[{place}]{path}: {text}{HINTS.get(path, '')}"
        self.bad.setdefault(path or text, Tally()).add(line)

    @abstractmethod
    def take(self, entry: Entry) -> None:
        """Keeps the values of one entry.

        Raises:
            BadValue: the entry cannot be used; nothing of it is kept.
        """

    def problems(self) -> list[str]:
        """Returns one line for each kind of unusable entry, with the first of that kind."""
        lines = []
        for tally in self.bad.values():
            more = f" ({tally.count:,} such entries)" if tally.count > 1 else ""
            lines.append(f"{self.path}: {tally.first}{more}; {FORM}")
        return lines


def require_whole(key: str, value: object) -> int:
    """Returns a whole number of 64 bits, which may be written as text or as a float.

    Raises:
        BadValue: the value of this key is anything else.
    """
    found = whole_number(value)
    if found is None:
        raise BadValue(key, f"got {value!r:.60}, expected a whole number")
    return found


def whole_number(value: object) -> int | None:
    """Returns the whole number of 64 bits that a value is: 7, 7.0, "7" or "7.0"; None of anything else."""
    if isinstance(value, str) and WHOLE.fullmatch(value):
        value = int(value.strip().partition(".")[0])
    elif isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, int) and not isinstance(value, bool) and -(2**63) <= value < 2**63:
        return value
    return None


def number(value: object) -> float:
    """Returns a number, which may be written as text; NaN of anything else."""
    found = numbers([value])
    return found[0] if found else math.nan


def numbers(values: object) -> "array[float] | None":
    """Returns the numbers of a list, which may be written as text; None if it holds anything else, infinity or NaN."""
    if not isinstance(values, list):
        return None
    try:
        found = array("d", values)
    except (TypeError, OverflowError):
        try:
            found = array("d", [float(value) if isinstance(value, str) else value for value in values])
        except (TypeError, ValueError, OverflowError):
            return None
    return found if math.isfinite(sum(found)) else None


def flag(value: object) -> bool:
    """Returns whether a flag is set: 1, true, or either as text; missing and null mean unset."""
    return value in (1, True, "1", "1.0") or (isinstance(value, str) and value.lower() == "true")
