"""Writes files so that a reader sees the old one or the new one, never half of one."""

import json
import math
import os
import shutil
import sys
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from maekit.errors import UserError

_PARTIAL = ".partial"
_PROCESS_START = time.time()


def cache_folder() -> Path:
    """The folder for synthetic data, downloads and features: `$MAEKIT_CACHE`, else `maekit` in the user's cache."""
    named = os.environ.get("MAEKIT_CACHE")
    if named:
        return Path(named).expanduser().absolute()
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "maekit"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "maekit"


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Holds an exclusive lock on a file while the block runs, and waits for it as long as another process has it.

    The lock ends with its process, even if that is killed. On Windows there is no lock and nobody waits.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        if sys.platform != "win32":
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextmanager
def atomic_write(path: Path) -> Iterator[BinaryIO]:
    """Opens a temporary file for writing and renames it to `path` when the block ends without an error.

    The temporary file is in the same folder (created if missing) and is synced to disk before the rename. On an error
    it is removed and `path` stays as it was. Temporary files that killed processes left in the folder are removed too.

    Args:
        path: the file to create or overwrite.

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
        _remove(temporary)  # first, so that the message gives the free space without it
        raise UserError(_why(path, error)) from error
    finally:
        _remove(temporary)


def atomic_write_text(path: Path, text: str) -> None:
    """Writes a text file (UTF-8) by `atomic_write`; surrogate escapes of undecodable file names become their bytes."""
    with atomic_write(path) as file:
        file.write(text.encode(errors="surrogateescape"))


def _remove_leftovers(folder: Path) -> None:
    for leftover in folder.glob(f".*{_PARTIAL}"):
        with suppress(OSError):
            if leftover.stat().st_mtime < _PROCESS_START:  # a newer one may be in use
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


def write_json(file: Path, values: object) -> None:
    """Writes plain values as indented JSON by `atomic_write`; NaN and infinity become null."""
    atomic_write_text(file, json.dumps(_finite(values), indent=2) + "\n")


def finite(values: Mapping[str, object]) -> dict[str, object]:
    """Returns plain values, nested or not, with None in place of NaN and infinity, which JSON does not have."""
    return {key: _finite(value) for key, value in values.items()}


def _finite(value: object) -> object:
    if isinstance(value, dict):
        return finite(value)
    if isinstance(value, list | tuple):
        return [_finite(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
