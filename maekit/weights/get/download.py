"""Downloads a file whole or not at all, resumes an earlier attempt, and does it once for all processes."""

import hashlib
import os
import sys
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from maekit.errors import UserError
from maekit.system.files import locked
from maekit.system.rank import rank
from maekit.weights.get.fetch import Source, fetch, note_path, read_note, size_of, write_note


def download(url: str, folder: Path, *, md5: str = "") -> Path:
    """Returns the file of a URL in `folder`, which the first call downloads.

    The bytes go to `<file>.part`, which Ctrl-C, a kill or a lost connection leaves there for the next call to resume.
    One process downloads, the others wait. An existing file is used if its size is still the same; one that was put
    there by hand is hashed once.

    Args:
        url: its last part names the file.
        folder: created if missing.
        md5: the first hex digits of the file's MD5; empty if they are not known.

    Raises:
        UserError: it cannot be downloaded, or has another MD5; says what to fetch by hand and where to put it.
    """
    path = folder / url.rpartition("/")[2]
    if _is_complete(path, url, md5):
        return path
    try:
        with locked(path.with_name(f"{path.name}.lock")):
            if not _is_complete(path, url, md5):
                _download(url, path, md5)
    except OSError as error:
        reason = error.strerror or error
        raise UserError(f"cannot write {path}: {reason}; set MAEKIT_CACHE to a folder you can write to") from error
    return path


def print_once(line: str) -> None:
    """Prints a line to stderr, on the first rank only."""
    if rank() == 0:
        print(line, file=sys.stderr, flush=True)


def _is_complete(path: Path, url: str, md5: str) -> bool:
    """Whether the whole file is there; hashes it only if its size was never recorded."""
    if not path.is_file():
        return False
    size, note = size_of(path), read_note(path)
    if note is None:
        if wrong := _wrong_md5(path, md5):
            raise UserError(f"{path} has {wrong}; remove it to download it again, or put the file of {url} there")
        with suppress(UserError):  # a folder that is shared and read-only needs no note
            write_note(path, Source(url, size))
    elif note.size not in (None, size):
        raise UserError(f"{path} has {size:,} bytes, its download had {note.size:,}; remove it to download it again")
    return True


def _download(url: str, path: Path, md5: str) -> None:
    by_hand = f"; or fetch {url} by hand and put it at {path}"
    part = path.with_name(f"{path.name}.part")
    try:
        source = fetch(url, part)
    except UserError as error:
        raise UserError(f"{error}{by_hand}") from error
    if wrong := _wrong_md5(part, md5):
        part.unlink()
        note_path(part).unlink(missing_ok=True)
        raise UserError(f"what {url} sent has {wrong}; it was removed, try again{by_hand}")
    with part.open("rb+") as file:
        os.fsync(file.fileno())
    write_note(path, replace(source, size=size_of(part)))
    part.replace(path)
    note_path(part).unlink(missing_ok=True)


def _wrong_md5(file: Path, md5: str) -> str:
    """Returns how the file's MD5 differs from the digits it must begin with; empty if it does not."""
    if not md5:
        return ""
    with file.open("rb") as stream:
        found = hashlib.file_digest(stream, "md5").hexdigest()
    return "" if found.startswith(md5) else f"the MD5 {found[: len(md5)]}..., expected {md5}..."
