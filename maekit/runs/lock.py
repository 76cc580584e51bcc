"""A run's folder has one writer: the process that holds the lock in it. Standard library only.

The lock is a `flock` on `.lock`, which the system releases when the process ends, however it ends; the file records
the process that holds it, or why the last one did not come to its end. A study locks a run's folder before it starts
the run, which inherits the lock. Readers need no lock.
"""

import json
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Literal, NamedTuple

from maekit.errors import Interrupted, UserError
from maekit.runs.folder import LOCK
from maekit.system.processes import flock, host_of, is_gone, is_here, owner
from maekit.system.rank import rank

HANDLE = "MAEKIT_RUN_LOCK"  # the inherited handle of the lock, from the study that started this process
WAIT_SECONDS = 30.0  # for the data-loading workers of a killed run, which notice its end within seconds
RECORD_SECONDS = 1.0  # for a process that has locked the file and not written its record yet
_RETRY_SECONDS = 0.1


@contextmanager
def only_writer(folder: Path) -> Iterator[None]:
    """Locks a run's folder for this process while the block runs.

    The ranks that a run starts share its lock; data-loading workers that it forks keep it until they end too.

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
    since, ended, earlier = time.time(), b"", _earlier_end(handle)
    _write(handle, os.getpid())
    try:
        yield
    except BaseException as error:
        ended = _end_record(error, since) if _has_changed(folder, since) else earlier
        raise
    finally:
        _overwrite(handle, ended)
        _unlock(handle)
        os.close(handle)


def hand_over(handle: int, process: int) -> None:
    """Records in a lock file the number of a process of this machine that has inherited the lock."""
    _write(handle, process)


def holder(folder: Path) -> str | None:
    """The process that writes into a run's folder now, as `process 4711 on node3 since 12:30:05`; None without one."""
    try:
        handle = os.open(folder / LOCK, os.O_RDONLY)
    except OSError:
        return None
    try:
        held, record = flock(handle, shared=True), _read(handle)
    finally:
        os.close(handle)
    live = held is False or (held is None and record.get("owner") and not is_gone(record["owner"]))
    return _holder_text(record) if live else None


class End(NamedTuple):
    """How the last process that wrote into a run's folder ended, if it did not come to its end.

    Attributes:
        how: `stopped` by a signal or Ctrl-C, `failed` by an error, or `killed`: it left no record.
        reason: the error's line, or which process it was.
        since: when it began to write, in seconds since 1970; 0 where that is not known.
    """

    how: Literal["stopped", "failed", "killed"]
    reason: str
    since: float


def how_it_ended(folder: Path) -> End | None:
    """How a run was cut short; None where its last process came to its end, still runs, or left no record."""
    try:
        found = json.loads((folder / LOCK).read_bytes())
    except (OSError, ValueError):
        return None
    record = {str(key): str(value) for key, value in found.items()} if isinstance(found, dict) else {}
    how, since = record.get("ended"), _seconds(record.get("since", ""))
    if how in ("stopped", "failed"):
        return End("stopped" if how == "stopped" else "failed", record.get("reason", ""), since)
    if record.get("owner", "").count("|") < 4 or not is_gone(record["owner"]):
        return None
    return End("killed", f"{_holder_text(record)} ended without saying why (kill -9, out of memory, power)", since)


def _end_record(error: BaseException, since: float) -> bytes:
    """What a lock file keeps of a run that an error or a signal ended."""
    how = "stopped" if isinstance(error, Interrupted | KeyboardInterrupt) else "failed"
    reason = (str(error).strip() or type(error).__name__).splitlines()[0][:500]
    began = datetime.fromtimestamp(since).astimezone().isoformat(sep=" ", timespec="seconds")
    return (json.dumps({"ended": how, "reason": reason, "since": began}) + "\n").encode()


def _earlier_end(handle: int) -> bytes:
    """The end record of the session before, which stays if this one is refused before it writes anything."""
    os.lseek(handle, 0, os.SEEK_SET)
    content = os.read(handle, 4096)
    return content if content.startswith(b'{"ended"') else b""


def _has_changed(folder: Path, since: float) -> bool:
    """Whether a file of the run, other than its lock, was written since a time."""
    try:
        return any(path.stat().st_mtime >= since for path in folder.iterdir() if path.name != LOCK)
    except OSError:
        return False


def _seconds(since: str) -> float:
    try:
        return datetime.fromisoformat(since).timestamp()
    except ValueError:
        return 0.0


def _inherited(folder: Path) -> int | None:
    """The inherited handle of this folder's lock (`MAEKIT_RUN_LOCK`); None where none was inherited."""
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
    """Locks without delay if the lock is free; waits only if its recorded holder has ended, for its workers.

    Raises:
        UserError: another process holds the lock.
    """
    started = time.monotonic()
    while (locked := flock(handle)) is False:
        record, waited = _read(handle), time.monotonic() - started
        # no record yet: its holder has only just locked it, or a reader holds it for a moment
        limit = RECORD_SECONDS if "owner" not in record else WAIT_SECONDS if is_gone(record["owner"]) else 0.0
        if waited >= limit:
            raise UserError(_refusal(folder, record))
        time.sleep(_RETRY_SECONDS)
    if locked is None:
        _go_by_record(handle, folder)


def _go_by_record(handle: int, folder: Path) -> None:
    """Checks for another process by the record alone, on a file system without locks."""
    record = _read(handle)
    if "owner" in record and not is_gone(record["owner"]):
        unknown = f". Nobody can check it from here: if it has ended, remove {folder / LOCK}"
        raise UserError(_refusal(folder, record) + ("" if is_here(record["owner"]) else unknown))
    print(f"note: no file locks on the disk of {folder}: another run is known by its process and host", file=sys.stderr)


def _refusal(folder: Path, record: dict[str, str]) -> str:
    return f"{folder} is in use: {_holder_text(record)} writes there; wait until it has ended, or start another run"


def _holder_text(record: dict[str, str]) -> str:
    if "owner" not in record:
        return "another process"
    name = record["owner"]
    return f"process {name.split('|')[-2]} on {host_of(name)} since {record.get('since', 'an unknown time')}"


def _write(handle: int, process: int) -> None:
    since = datetime.now().astimezone().isoformat(sep=" ", timespec="seconds")
    text = json.dumps({"owner": owner(process), "since": since}) + "\n"
    _overwrite(handle, text.encode())


def _overwrite(handle: int, content: bytes) -> None:
    os.lseek(handle, 0, os.SEEK_SET)
    os.ftruncate(handle, 0)
    os.write(handle, content)


def _read(handle: int) -> dict[str, str]:
    """The record in a lock file: `owner` and `since`; empty if it is missing or half written."""
    os.lseek(handle, 0, os.SEEK_SET)
    try:
        found = json.loads(os.read(handle, 4096))
    except (OSError, ValueError):
        return {}
    named = isinstance(found, dict) and str(found.get("owner", "")).count("|") >= 4
    return {key: str(value) for key, value in found.items()} if named else {}


def _unlock(handle: int) -> None:
    """Releases the lock even if a worker that has not ended yet shares the handle."""
    if sys.platform != "win32":
        import fcntl

        with suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_UN)
