"""The three lists of a COCO file's JSON, their entries still as text.

As Python objects all at once, COCO's 450 MB would take ten times as much memory.
"""

import gzip
import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import msgspec
from msgspec import Raw

from maekit.errors import UserError

FORM = 'expected COCO\'s form: an object with the lists "images", "annotations" and "categories"'

Content = dict[str, Raw] | list[Raw]
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
GZIP, BYTE_ORDER_MARK = b"\x1f\x8b", b"\xef\xbb\xbf"
STRING_OR_NAN = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"|NaN|-?Infinity', re.DOTALL)


class JsonLists(NamedTuple):
    """The entries of a file's lists, each the JSON text of one entry."""

    images: list[Raw]
    annotations: list[Raw]
    categories: list[Raw]


def read_lists(path: Path) -> JsonLists:
    """Reads the lists of an annotation file, gzipped or not.

    Python's json module writes NaN and Infinity, which are not JSON: they are read as null.

    Raises:
        UserError: the file cannot be read, is cut short or not JSON, or lacks one of the lists.
    """
    data, names = _read(path), JsonLists._fields
    try:
        content = _decode(data)
        entries = content if isinstance(content, dict) else {}
        missing = [f'"{name}"' for name in names if name not in entries or memoryview(entries[name])[0] != ord("[")]
        if not missing:
            return JsonLists(*(msgspec.json.decode(entries[name], type=list[Raw]) for name in names))
    except (msgspec.DecodeError, RecursionError) as error:
        raise _not_json(path, data, str(error)) from None
    lacks = f"it has no list {' and no '.join(missing)}"
    raise UserError(f"{path}: not an annotation file ({lacks}); {FORM}{_other_form(content)}")


def _read(path: Path) -> bytes:
    try:
        data = path.read_bytes()
        if data.startswith(GZIP):
            data = gzip.decompress(data)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise UserError(f"{path}: a damaged gzip archive ({error}); download it again") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); mend its permissions or links") from None
    return data.removeprefix(BYTE_ORDER_MARK)


def _decode(data: bytes) -> Content:
    decoder: msgspec.json.Decoder[Content] = msgspec.json.Decoder(dict[str, Raw] | list[Raw])
    try:
        return decoder.decode(data)
    except msgspec.DecodeError:
        parts = list(_without_nan(data))
        if len(parts) == 1:
            raise
        return decoder.decode(b"null".join(parts))


def _without_nan(data: bytes) -> Iterator[bytes]:
    """Yields what is before, between and after the NaN and Infinity that are not within strings."""
    start = 0
    if b"NaN" in data or b"Infinity" in data:
        for found in STRING_OR_NAN.finditer(data):
            if data[found.start()] != ord('"'):
                yield data[start : found.start()]
                start = found.end()
    yield data[start:]


def _not_json(path: Path, data: bytes, reason: str) -> UserError:
    """Returns the error of a file that msgspec cannot decode."""
    try:
        data.decode()
    except UnicodeDecodeError as error:
        return UserError(f"{path}: not text in UTF-8 ({error.reason} at byte {error.start:,}); unpack it again")
    advice = "download and unpack it again, or write it again"
    if "trailing characters" in reason:
        advice = "write one JSON object, not several after each other"
    size = path.stat().st_size
    return UserError(f"{path}: not whole or not JSON ({reason}; the file has {size:,} bytes); {advice}")


def _other_form(content: Content) -> str:
    """Returns a hint at the tool whose form a file without COCO's lists has, empty if none is known."""
    if isinstance(content, dict):
        keys, known = set(content), FOREIGN
    else:
        first = msgspec.json.decode(content[0]) if content else None
        keys, known = set(first) if isinstance(first, dict) else set(), FOREIGN_ENTRIES
    return next((f"; it looks like {words}" for words, marks in known if marks <= keys), "")
