"""Reading a large JSON file entry by entry: as Python objects all at once, COCO's 450 MB would take ten times that."""

import json
import re
from collections.abc import Callable, Mapping
from json import JSONDecodeError
from pathlib import Path
from typing import Any

from maekit.errors import UserError

SPACE = re.compile(r"[ \t\n\r]*")
FORM = 'expected COCO\'s form: an object with the lists "images", "annotations" and "categories"'

Taker = Callable[[int, Any], None]
"""Is given an entry's place in its list, and the entry."""


def read_lists(path: Path, takers: Mapping[str, Taker]) -> None:
    """Hands every entry of some lists of a file's object to their takers, in the file's order.

    Args:
        path: the file.
        takers: one for each list that the object must have.

    Raises:
        UserError: the file cannot be read, is cut short or no JSON, or lacks one of the lists.
    """
    text = _read(path)
    try:
        found = _members(text, takers)
    except (JSONDecodeError, RecursionError) as error:
        reason = " ".join(str(error).split())
        size = path.stat().st_size
        advice = "download and unpack it again, or write it again"
        raise UserError(f"{path}: not whole or not JSON ({reason}; the file has {size:,} bytes); {advice}") from None
    missing = [f'"{key}"' for key in takers if key not in found]
    if missing:
        raise UserError(f"{path}: not an annotation file (it has no list {' and no '.join(missing)}); {FORM}")


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(
            f"{path}: not text in UTF-8 ({error.reason} at byte {error.start:,}); unpack it again"
        ) from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); mend its permissions or links") from None


def _members(text: str, takers: Mapping[str, Taker]) -> set[str]:
    """Walks through the outermost object and returns which of the wanted lists it has; none of what is no object."""
    scan = json.JSONDecoder().raw_decode
    at = _skip(text, 0)
    if not text.startswith("{", at):
        scan(text, at)
        return set()
    found: set[str] = set()
    at = _skip(text, at + 1)
    more = not text.startswith("}", at)
    end = at + 1
    while more:
        key, at = scan(text, at)
        at = _skip(text, _past(text, at, ":"))
        if key in takers and text.startswith("[", at):
            found.add(key)
            at = _entries(text, at, takers[key])
        else:
            at = scan(text, at)[1]
        at = end = _past(text, at, ",}")
        more = text[at - 1] == ","
        at = _skip(text, at)
    if _skip(text, end) != len(text):
        raise JSONDecodeError("Extra data", text, end)
    return found


def _entries(text: str, at: int, take: Taker) -> int:
    """Hands over the entries of the list that begins at `at`, and returns where it has ended."""
    scan = json.JSONDecoder().raw_decode
    at = _skip(text, at + 1)
    if text.startswith("]", at):
        return at + 1
    place = 0
    while True:
        entry, at = scan(text, at)
        take(place, entry)
        place += 1
        at = _past(text, at, ",]")
        if text[at - 1] == "]":
            return at
        at = _skip(text, at)


def _skip(text: str, at: int) -> int:
    found = SPACE.match(text, at)
    return found.end() if found else at


def _past(text: str, at: int, marks: str) -> int:
    """Returns the place after one of some punctuation marks, which must come next."""
    at = _skip(text, at)
    if at >= len(text) or text[at] not in marks:
        raise JSONDecodeError(f"Expecting {' or '.join(marks)}", text, at)
    return at + 1
