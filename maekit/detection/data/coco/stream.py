"""Reading a large JSON file entry by entry: as Python objects all at once, COCO's 450 MB would take ten times that."""

import gzip
import json
import re
import zlib
from collections.abc import Callable, Mapping
from json import JSONDecodeError
from pathlib import Path
from typing import Any

from maekit.errors import UserError

SPACE = re.compile(r"[ \t\n\r]*")
FORM = 'expected COCO\'s form: an object with the lists "images", "annotations" and "categories"'

Form = tuple[str, set[str]]
FOREIGN: tuple[Form, ...] = (
    ("labelme's form for one image", {"shapes", "imagePath"}),
    ("Supervisely's form for one image", {"objects", "size"}),
    ("a project of the VGG Image Annotator", {"_via_img_metadata"}),
    ("Datumaro's own form", {"items", "categories"}),
    ("a list of images without annotations, such as COCO's image_info files", {"images", "categories"}),
    ("captions or another task's annotations", {"images", "annotations"}),
)
FOREIGN_ENTRIES: tuple[Form, ...] = (
    ("a list around COCO's object, which must stand alone", {"images", "annotations"}),
    ("results of a detector", {"image_id", "score"}),
    ("Label Studio's own form", {"data", "annotations"}),
    ("CreateML's form", {"image", "annotations"}),
)
GZIP = b"\x1f\x8b"

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
        keys, found = _members(text, takers)
    except (ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())
        size = path.stat().st_size
        advice = "download and unpack it again, or write it again"
        if reason.startswith("Extra data"):
            advice = "write one JSON object, not several after each other"
        raise UserError(f"{path}: not whole or not JSON ({reason}; the file has {size:,} bytes); {advice}") from None
    missing = [f'"{key}"' for key in takers if key not in found]
    if missing:
        lacks = f"it has no list {' and no '.join(missing)}"
        raise UserError(f"{path}: not an annotation file ({lacks}); {FORM}{_other_form(text, keys)}")


def _other_form(text: str, keys: set[str]) -> str:
    """Returns words for the other tool's form that a file without COCO's lists has, if it is known."""
    known = FOREIGN
    if not keys:
        value = json.loads(text)
        first = value[0] if isinstance(value, list) and value else None
        keys, known = set(first) if isinstance(first, dict) else set(), FOREIGN_ENTRIES
    return next((f"; it looks like {words}" for words, marks in known if marks <= keys), "")


def _read(path: Path) -> str:
    try:
        with path.open("rb") as file:
            packed = file.read(len(GZIP)) == GZIP
        if packed:
            with gzip.open(path, "rt", encoding="utf-8-sig") as unpacked:
                return unpacked.read()
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(
            f"{path}: not text in UTF-8 ({error.reason} at byte {error.start:,}); unpack it again"
        ) from None
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise UserError(f"{path}: a damaged gzip archive ({error}); download it again") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); mend its permissions or links") from None


def _members(text: str, takers: Mapping[str, Taker]) -> tuple[set[str], set[str]]:
    """Walks through the outermost object and returns its keys and which of the wanted lists it has."""
    scan = json.JSONDecoder().raw_decode
    at = _skip(text, 0)
    if not text.startswith("{", at):
        end = scan(text, at)[1]
        if _skip(text, end) != len(text):
            raise JSONDecodeError("Extra data", text, end)
        return set(), set()
    keys: set[str] = set()
    found: set[str] = set()
    at = _skip(text, at + 1)
    more = not text.startswith("}", at)
    end = at + 1
    while more:
        key, at = scan(text, at)
        keys.add(str(key))
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
    return keys, found


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
