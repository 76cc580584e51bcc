"""A run's folder has one writer: the process that holds the lock in it. Standard library only.

The lock is a `flock` on `.lock`, which the system releases however its process ends; the file says who holds it. A
study locks a run's folder before it starts the run, which inherits the lock. Readers do not need it.
"""

import json
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path

from maekit.errors import UserError
from maekit.runs.folder import LOCK
from maekit.system.processes import flock, host_of, is_gone, is_here, owner
from maekit.system.rank import rank

HANDLE = "MAEKIT_RUN_LOCK"  # the inherited handle of the lock, from the study that started this process
WAIT_SECONDS = 30.0  # for the data-loading workers of a killed run, which notice its end within seconds
_RETRY_SECONDS, _RECORD_SECONDS = 0.1, 1.0


@contextmanager
def only_writer(folder: Path) -> Iterator[None]:
    """Makes this process the only one that writes into a run's folder, while the block runs.

    The ranks that a run starts share its lock. Workers that it forks keep the lock until they end too.

    Args:
        folder: the run's folder, which exists.

    Raises:
        UserError: another run writes there, named by its process and host; or the folder cannot be written.
    """
    if rank() > 0:
        yield
        return
    handle = _inherited(folder)
    handle = _taken(folder) if handle is None else handle
    _write(handle, os.getpid())
    try:
        yield
    finally:
        os.ftruncate(handle, 0)
        _unlock(handle)
        os.close(handle)


def hand_over(handle: int, process: int) -> None:
    """Writes into a lock that a process of this machine, which has inherited it, holds it now."""
    _write(handle, process)


def holder(folder: Path) -> str | None:
    """Who writes into a run's folder now, such as `process 4711 on node3 since 12:30:05`; None where nobody does."""
    try:
        handle = os.open(folder / LOCK, os.O_RDONLY)
    except OSError:
        return None
    try:
        held, said = flock(handle, shared=True), _read(handle)
    finally:
        os.close(handle)
    live = held is False or (held is None and said.get("owner") and not is_gone(said["owner"]))
    return _words(said) if live else None


def _inherited(folder: Path) -> int | None:
    """The handle of this folder's lock that the process which started this one passed on, if it did."""
    given = os.environ.pop(HANDLE, "")
    if not given.isdigit():
        return None
    try:
        mine, there = os.fstat(int(given)), (folder / LOCK).stat()
    except OSError:
        return None
    return int(given) if (mine.st_dev, mine.st_ino) == (there.st_dev, there.st_ino) else None


def _taken(folder: Path) -> int:
    try:
        handle = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise UserError(f"cannot write into {folder}: {error.strerror}; a run needs a folder it can write to") from None
    try:
        _wait_for(handle, folder)
        there = (folder / LOCK).stat().st_ino if (folder / LOCK).exists() else None
        if there != os.fstat(handle).st_ino:
            raise UserError(f"{folder} was removed by the run that was in it; type the command again")
    except BaseException:
        os.close(handle)
        raise
    return handle


def _wait_for(handle: int, folder: Path) -> None:
    """Locks, at once where the lock is free; waits only for what a process that is gone has left behind.

    Raises:
        UserError: another process holds the lock.
    """
    started = time.monotonic()
    while (locked := flock(handle)) is False:
        said, waited = _read(handle), time.monotonic() - started
        # without a record its holder has locked it and not signed it yet, or a reader looks at it
        limit = _RECORD_SECONDS if "owner" not in said else WAIT_SECONDS if is_gone(said["owner"]) else 0.0
        if waited >= limit:
            raise UserError(_refusal(folder, said))
        time.sleep(_RETRY_SECONDS)
    if locked is None:
        _go_by_record(handle, folder)


def _go_by_record(handle: int, folder: Path) -> None:
    """Where the file system has no locks, the record alone says whether another process is there."""
    said = _read(handle)
    if "owner" in said and not is_gone(said["owner"]):
        unknown = f". Nobody can check it from here: if it has ended, remove {folder / LOCK}"
        raise UserError(_refusal(folder, said) + ("" if is_here(said["owner"]) else unknown))
    print(f"note: no file locks on the disk of {folder}: another run is known by its process and host", file=sys.stderr)


def _refusal(folder: Path, said: dict[str, str]) -> str:
    return f"{folder} is in use: {_words(said)} writes there; wait until it has ended, or start another run"


def _words(said: dict[str, str]) -> str:
    if "owner" not in said:
        return "another process"
    name = said["owner"]
    return f"process {name.split('|')[-2]} on {host_of(name)} since {said.get('since', 'an unknown time')}"


def _write(handle: int, process: int) -> None:
    since = datetime.now().astimezone().isoformat(sep=" ", timespec="seconds")
    text = json.dumps({"owner": owner(process), "since": since}) + "\n"
    os.lseek(handle, 0, os.SEEK_SET)
    os.ftruncate(handle, 0)
    os.write(handle, text.encode())


def _read(handle: int) -> dict[str, str]:
    """The record of a lock; empty where there is none, or it is half written."""
    os.lseek(handle, 0, os.SEEK_SET)
    try:
        found = json.loads(os.read(handle, 4096))
    except (OSError, ValueError):
        return {}
    named = isinstance(found, dict) and str(found.get("owner", "")).count("|") >= 4
    return {key: str(value) for key, value in found.items()} if named else {}


def _unlock(handle: int) -> None:
    """Releases the lock also where a worker that has not ended yet has the handle."""
    if sys.platform != "win32":
        import fcntl

        with suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_UN)
