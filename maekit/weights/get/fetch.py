"""Downloads a URL into a file, with retries; resumes where a lost connection or a stopped process left off.

Our own, because neither pooch nor torch.hub resumes, notices that the server's file has changed, or refuses a web page.
"""

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

from tqdm import tqdm

from maekit.errors import UserError
from maekit.system.files import atomic_write_text
from maekit.version import __version__

TIMEOUT = 30.0  # seconds without a byte
WAITS = (1.0, 3.0, 9.0)  # seconds before each retry; the count starts again whenever a try brought new bytes
CHUNK = 2**20
_RETRY_STATUS = (408, 425, 429, 500, 502, 503, 504)
_PAGE = re.compile(rb"\s*<(!doctype|!--|\?xml|html|head|body)", re.IGNORECASE)  # weights may begin with "<" alone
_ROOM = "; make room, or set MAEKIT_CACHE to a folder on another disk"


@dataclass(frozen=True)
class Source:
    """What a server reports of a file, kept beside it in `<file>.json`: if it is unchanged later, so are the bytes.

    Attributes:
        url: where it is.
        size: bytes; None if the server does not report it.
        etag: its strong entity tag, or empty.
        modified: time of its last change as the server writes it, or empty.
    """

    url: str
    size: int | None = None
    etag: str = ""
    modified: str = ""


def note_path(file: Path) -> Path:
    """Returns where the source of a file is recorded."""
    return file.with_name(f"{file.name}.json")


def read_note(file: Path) -> Source | None:
    """Returns the recorded source of a file; None if there is no readable record."""
    try:
        return Source(**json.loads(note_path(file).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def write_note(file: Path, source: Source) -> None:
    """Records the source of a file beside it."""
    atomic_write_text(note_path(file), json.dumps(asdict(source)))


def size_of(file: Path) -> int:
    """Returns the bytes of a file; 0 if there is none."""
    return file.stat().st_size if file.is_file() else 0


def fetch(url: str, part: Path) -> Source:
    """Downloads what is missing of a URL's file into `part`; returns what the server reports of the file.

    A dropped connection is retried at once and without limit as long as each try brings new bytes, else after WAITS.
    A part that does not belong to the server's file any more is dropped. On any error the part stays for the next call.

    Raises:
        UserError: the server cannot be reached, has no such file, sends a web page, or the disk has no room.
    """
    first = most = size_of(part)
    tries = 0
    while True:
        try:
            return _try_once(url, part)
        except (OSError, http.client.HTTPException) as error:
            have = size_of(part)
            tries, most = (1, have) if have > most else (tries + 1, most)
            reason = _reason(url, error)
            if tries > len(WAITS) or not _worth_a_retry(error, reached=most > first):
                kept = f"; the {have:,} bytes that are there are kept for the next try" if have else ""
                raise UserError(f"{reason}{kept}") from error
            _print(f"{reason} at {have:,} bytes; going on in {WAITS[tries - 1]:g} s")
            time.sleep(WAITS[tries - 1])


def _try_once(url: str, part: Path) -> Source:
    """Requests the missing bytes and appends them; raises ConnectionError if the request must be made again."""
    note, have = read_note(part), size_of(part)
    if note is None or note.url != url or not (note.etag or note.modified):
        note, have = Source(url), 0  # nothing shows whether the server's file is still the same
    if have and note.size == have:
        return note
    headers = {"User-Agent": f"maekit/{__version__}", "Accept-Encoding": "identity"}
    if have:
        headers |= {"Range": f"bytes={have}-", "If-Range": note.etag or note.modified}
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=TIMEOUT) as response:
            source, start = _read_headers(url, response)
            if have and (source, start) != (note, have):
                unchanged = (source.size, source.etag, source.modified) == (note.size, note.etag, note.modified)
                why = ": the server cannot go on in the middle" if unchanged else " has changed on the server"
                _print(f"{url}{why}; starting again from 0")
                _drop(part)
                if start:  # the middle of another file
                    raise ConnectionError("the file has changed on the server")
            write_note(part, source)
            _append(response, part, source, start)
    except urllib.error.HTTPError as error:
        error.close()
        if have and error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:  # the part is longer than the file
            _drop(part)
            raise ConnectionError("the file has changed on the server") from error
        raise
    if source.size not in (None, size_of(part)):
        raise ConnectionError("the connection was cut")
    return source


def _read_headers(url: str, response: http.client.HTTPResponse) -> tuple[Source, int]:
    """Returns the file that a response is of, and the byte at which its body begins (-1 if that is not readable)."""
    headers = response.headers
    if headers.get_content_type() in ("text/html", "application/xhtml+xml"):
        raise UserError(_web_page(url))
    size, start = headers.get("Content-Length", ""), "0"
    if response.status == http.HTTPStatus.PARTIAL_CONTENT:
        span, _, size = headers.get("Content-Range", "").removeprefix("bytes ").partition("/")
        start = span.partition("-")[0]
    etag = headers.get("ETag", "")
    strong = "" if etag.startswith("W/") else etag
    source = Source(url, int(size) if size.isdecimal() else None, strong, headers.get("Last-Modified", ""))
    return source, int(start) if start.isdecimal() else -1


def _append(response: http.client.HTTPResponse, part: Path, source: Source, start: int) -> None:
    """Streams the body of a response to the end of the part, with a progress bar on a terminal."""
    free, needed = shutil.disk_usage(part.parent).free, (source.size or 0) - start
    if needed > free:
        raise UserError(f"{source.url} needs {needed:,} bytes more, the disk of {part.parent} has {free:,}{_ROOM}")
    quiet = not sys.stderr.isatty()
    bar = tqdm(desc=part.stem, total=source.size, initial=start, unit="B", unit_scale=True, disable=quiet)
    # Unbuffered: closing a buffered file would write once more, and its error would hide the first one's.
    with bar, part.open("ab" if start else "wb", buffering=0) as file:
        first = not start
        while chunk := response.read1(CHUNK):
            if first and _PAGE.match(chunk):
                raise UserError(_web_page(source.url))
            first = False
            try:
                rest = memoryview(chunk)
                while rest:
                    rest = rest[file.write(rest) :]
            except OSError as error:
                raise UserError(f"cannot write {part}: {error.strerror}{_ROOM}") from error
            bar.update(len(chunk))


def _drop(part: Path) -> None:
    part.unlink(missing_ok=True)
    note_path(part).unlink(missing_ok=True)


def _worth_a_retry(error: Exception, *, reached: bool) -> bool:
    """Whether a retry may help: the server is busy or dropped the connection, and can be reached at all."""
    if isinstance(error, urllib.error.HTTPError):
        return error.code in _RETRY_STATUS
    return reached or not isinstance(error, (urllib.error.URLError, TimeoutError))


def _reason(url: str, error: Exception) -> str:
    host = url.partition("://")[2].partition("/")[0]
    if isinstance(error, urllib.error.HTTPError):
        return f"{url} gave the answer {error.code} {error.reason}"
    if isinstance(error, TimeoutError) or isinstance(getattr(error, "reason", None), TimeoutError):
        return f"{host} sent nothing for {TIMEOUT:g} s"
    if isinstance(error, urllib.error.URLError):
        return f"cannot reach {host} ({getattr(error.reason, 'strerror', None) or error.reason}): no connection?"
    return f"the connection to {host} broke ({(str(error) or type(error).__name__).splitlines()[0]})"


def _web_page(url: str) -> str:
    return f"{url} gave a web page, expected the file: a proxy or a login may stand in between"


def _print(line: str) -> None:
    """Prints to stderr on whatever rank downloads: only one does."""
    print(line, file=sys.stderr, flush=True)
