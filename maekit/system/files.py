"""Writes files so that a reader sees the old one or the new one, never half of one."""

import json
import math
import os
import shutil
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from maekit.errors import UserError

_PARTIAL = ".partial"
_PROCESS_START = time.time()


def cache_folder() -> Path:
    """Where made data, downloads and cached features go: `$MAEKIT_CACHE`, else `maekit` in the user's cache folder."""
    named = os.environ.get("MAEKIT_CACHE")
    if named:
        return Path(named).expanduser().absolute()
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "maekit"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "maekit"


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Waits until no other process is inside a block on the same lock file, so that one makes what all of them want.

    The lock goes with its process, however it ends. Where the system has no such locks (Windows), nobody waits.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        if sys.platform != "win32":
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextmanager
def atomic_write(path: Path) -> Iterator[BinaryIO]:
    """Gives a file to write to, which takes the place of `path` when the block ends without an error.

    The bytes stream to a temporary file in the same folder, which is made if need be; they are synced to disk
    before it is renamed. On any error the temporary file goes and `path` stays as it was. Those that killed runs
    left in the folder go too.

    Args:
        path: the file to make or to replace.

    Yields:
        A binary file.

    Raises:
        UserError: the disk is full or the folder cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}{_PARTIAL}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_leftovers(path.parent)
        with temporary.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        _sync_folder(path.parent)
    except OSError as error:
        _remove(temporary)  # first, so that the free space told is what there is now
        raise UserError(_why(path, error)) from error
    finally:
        _remove(temporary)


def atomic_write_text(path: Path, text: str) -> None:
    """Writes a text file (UTF-8) as `atomic_write` does; file names in no known encoding keep their bytes."""
    with atomic_write(path) as file:
        file.write(text.encode(errors="surrogateescape"))


def _remove_leftovers(folder: Path) -> None:
    for leftover in folder.glob(f".*{_PARTIAL}"):
        with suppress(OSError):
            if leftover.stat().st_mtime < _PROCESS_START:  # a younger one may be in the making
                leftover.unlink()


def _remove(path: Path) -> None:
    with suppress(OSError):
        path.unlink()


def _sync_folder(folder: Path) -> None:
    """Makes a rename in it survive a power cut."""
    if os.name == "nt":  # Windows opens no folders
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _why(path: Path, error: OSError) -> str:
    folder = next(parent for parent in path.absolute().parents if parent.exists())
    free = shutil.disk_usage(folder).free / 2**20
    kept = "the file that was there is intact" if path.is_file() else "nothing was left behind"
    return (
        f"cannot write {path}: {error.strerror or error} ({free:,.0f} MiB free on its disk); {kept}; "
        "make room or choose a folder you can write to"
    )


def write_json(file: Path, values: Any) -> None:
    """Writes plain values as indented JSON, whole or not at all; NaN and infinity become null."""
    atomic_write_text(file, json.dumps(finite(values), indent=2) + "\n")


def finite(values: Any) -> Any:
    """Returns plain values with None in place of NaN and infinity, which JSON does not have."""
    if isinstance(values, dict):
        return {key: finite(value) for key, value in values.items()}
    if isinstance(values, list | tuple):
        return [finite(value) for value in values]
    return None if isinstance(values, float) and not math.isfinite(values) else values
