"""Gets the bytes of a URL into a file, and goes on where a lost connection or a stopped process left it."""

import http.client
import json
import re
import shutil
import sys
import time
import urllib.error
import urllib.request
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

from tqdm import tqdm

from maekit.errors import UserError
from maekit.system.files import atomic_write_text
from maekit.version import __version__

TIMEOUT = 30.0  # seconds without a byte
WAITS = (1.0, 3.0, 9.0)  # seconds before each further try, counted anew whenever one brought something new
CHUNK = 2**20
_BUSY = (408, 425, 429, 500, 502, 503, 504)  # answers that another try may better
_DROPPED = (OSError, http.client.HTTPException)
_PAGE = re.compile(rb"\s*<(!doctype|!--|\?xml|html|head|body)", re.IGNORECASE)  # weights may well begin with "<" alone
_ROOM = "; make room, or set MAEKIT_CACHE to a folder on another disk"


@dataclass(frozen=True)
class Source:
    """What a server said of a file, kept beside it in `<file>.json`: the same words later mean the same bytes.

    Attributes:
        url: where it is.
        size: its bytes; None where the server does not say.
        etag: its strong entity tag, or empty.
        modified: when it was changed, as the server wrote it, or empty.
    """

    url: str
    size: int | None = None
    etag: str = ""
    modified: str = ""


class Answer(NamedTuple):
    """What a server sends: the file, and the byte it begins at."""

    source: Source
    start: int


def note_of(file: Path) -> Path:
    """Where what is known of a file's source is kept."""
    return file.with_name(f"{file.name}.json")


def read_note(file: Path) -> Source | None:
    """What is known of a file's source, or None."""
    try:
        return Source(**json.loads(note_of(file).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def write_note(file: Path, source: Source) -> None:
    """Keeps what is known of a file's source."""
    atomic_write_text(note_of(file), json.dumps(asdict(source)))


def fetch(url: str, part: Path) -> Source:
    """Fills `part` with the file of a URL, from where it stands; returns what the server said of the file.

    A connection that drops is taken up again, as long as that brings something new, else after WAITS. A part that the
    server's file no longer continues is begun again. Whatever happens, what is there stays for the next call.

    Raises:
        UserError: the server cannot be reached, has no such file, sends a web page, or the disk has no room.
    """
    first = most = size_of(part)
    tries = 0
    while True:
        try:
            return _one_try(url, part)
        except _DROPPED as error:
            have = size_of(part)
            tries, most = (1, have) if have > most else (tries + 1, most)
            if tries > len(WAITS) or _hopeless(error, most > first):
                kept = f"; the {have:,} bytes that are there are kept for the next try" if have else ""
                raise UserError(f"{_why(url, error)}{kept}") from error
            _say(f"{_why(url, error)} at {have:,} bytes; going on in {WAITS[tries - 1]:g} s")
            time.sleep(WAITS[tries - 1])


def size_of(file: Path) -> int:
    """Bytes of a file; 0 where there is none."""
    return file.stat().st_size if file.is_file() else 0


def _one_try(url: str, part: Path) -> Source:
    """Asks for the bytes that are missing and appends them."""
    note, have = read_note(part), size_of(part)
    if note is None or note.url != url or not (note.etag or note.modified):
        note, have = Source(url), 0  # nothing that tells whether the server's file is still the same
    if have and note.size == have:
        return note
    headers = {"User-Agent": f"maekit/{__version__}", "Accept-Encoding": "identity"}
    if have:
        headers |= {"Range": f"bytes={have}-", "If-Range": note.etag or note.modified}
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=TIMEOUT) as response:
            source, start = _described(url, response)
            if have and not _continues(source, start, note, have):
                _begin_again(part, start)
            write_note(part, source)
            _append(response, part, source, start)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == 416:  # the server's file ends before the part does
            _begin_again(part, have)
        raise
    if source.size not in (None, size_of(part)):
        raise ConnectionError("the connection was cut")
    return source


def _described(url: str, response: http.client.HTTPResponse) -> Answer:
    """Reads the headers of an answer; a web page in the file's place is refused."""
    if response.headers.get_content_type() in ("text/html", "application/xhtml+xml"):
        raise UserError(_page(url))
    etag, modified = response.headers.get("ETag", ""), response.headers.get("Last-Modified", "")
    length = response.headers.get("Content-Length", "")
    size, start = int(length) if length.isdecimal() else None, 0
    if response.status == 206:
        span, _, total = response.headers.get("Content-Range", "").removeprefix("bytes ").partition("/")
        first = span.partition("-")[0]
        start, size = int(first) if first.isdecimal() else -1, int(total) if total.isdecimal() else None
    return Answer(Source(url, size, "" if etag.startswith("W/") else etag, modified), start)


def _continues(source: Source, start: int, note: Source, have: int) -> bool:
    if start == have and source == note:
        return True
    if (source.size, source.etag, source.modified) == (note.size, note.etag, note.modified):
        _say(f"{source.url}: the server cannot go on in the middle; starting again from 0")
    else:
        _say(f"{source.url} has changed on the server since byte {have:,} came; starting again from 0")
    return False


def _begin_again(part: Path, start: int) -> None:
    """Drops the part; an answer that began in its middle is of no use then and must be asked for again."""
    part.unlink(missing_ok=True)
    note_of(part).unlink(missing_ok=True)
    if start:
        raise ConnectionError("the file has changed on the server")


def _append(response: http.client.HTTPResponse, part: Path, source: Source, start: int) -> None:
    """Streams the answer to the part, with a progress bar on a terminal."""
    free, needed = shutil.disk_usage(part.parent).free, (source.size or 0) - start
    if needed > free:
        raise UserError(f"{source.url} needs {needed:,} bytes more, the disk of {part.parent} has {free:,}{_ROOM}")
    quiet = not sys.stderr.isatty()
    bar = tqdm(desc=part.stem, total=source.size, initial=start, unit="B", unit_scale=True, disable=quiet)
    # Unbuffered: closing a file with a buffer would write once more, and its error would hide the first one's.
    with bar, part.open("ab" if start else "wb", buffering=0) as file:
        first = not start
        while chunk := response.read1(CHUNK):
            if first and _PAGE.match(chunk):
                raise UserError(_page(source.url))
            first = False
            try:
                rest = memoryview(chunk)
                while rest:
                    rest = rest[file.write(rest) :]
            except OSError as error:
                raise UserError(f"cannot write {part}: {error.strerror}{_ROOM}") from error
            bar.update(len(chunk))


def _hopeless(error: Exception, moved: bool) -> bool:
    """Whether there is no use in asking again: the server says no, or it was never reached."""
    if isinstance(error, urllib.error.HTTPError):
        return error.code not in _BUSY
    return isinstance(error, (urllib.error.URLError, TimeoutError)) and not moved


def _why(url: str, error: Exception) -> str:
    host = url.partition("://")[2].partition("/")[0]
    if isinstance(error, urllib.error.HTTPError):
        return f"{url} gave the answer {error.code} {error.reason}"
    if isinstance(error, TimeoutError) or isinstance(getattr(error, "reason", None), TimeoutError):
        return f"{host} sent nothing for {TIMEOUT:g} s"
    if isinstance(error, urllib.error.URLError):
        return f"cannot reach {host} ({getattr(error.reason, 'strerror', None) or error.reason}): no connection?"
    return f"the connection to {host} broke ({(str(error) or type(error).__name__).splitlines()[0]})"


def _page(url: str) -> str:
    return f"{url} gave a web page, expected the file: a proxy or a login may stand in between"


def _say(line: str) -> None:
    """From whichever process downloads: there is only one."""
    print(line, file=sys.stderr, flush=True)
