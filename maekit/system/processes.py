"""Who works on a trial, and whether that process is certainly gone. Standard library only."""

import os
import socket
import sys
from functools import cache
from pathlib import Path

BEAT_SECONDS = 20  # between two heartbeats of a trial
GRACE_SECONDS = 300  # without one a trial is taken from its worker: longer than a study waits for its database

_PROC = Path("/proc")


@cache
def _place() -> str:
    """This machine, or the container on it: only there do process numbers mean the same processes."""
    try:
        inside = (_PROC / "self/ns/pid").readlink().name
    except OSError:  # not Linux
        inside = "-"
    return f"{socket.gethostname()}|{inside}"


def owner(number: int | None = None) -> str:
    """A name for a process that no other has or will have: host, process namespace, boot, number, start.

    Args:
        number: of a process of this machine; default: this process.
    """
    number = os.getpid() if number is None else number
    return f"{_place()}|{_boot()}|{number}|{_started(number)}"


def is_here(owner: str) -> bool:
    """Whether the process that an `owner()` names ran where this one does, so that it can be looked for."""
    return owner.rsplit("|", 3)[0] == _place()


def host_of(owner: str) -> str:
    """The host that an `owner()` names."""
    return owner.split("|")[0]


def is_gone(owner: str) -> bool:
    """Whether the process that `owner()` named is certainly no more: it ran at this very place, and is not there now.

    Of other machines nothing is known; their heartbeats tell.
    """
    _, boot, number, started = owner.rsplit("|", 3)
    if not is_here(owner):
        return False
    return boot != _boot() or _started(int(number)) != started


def _boot() -> str:
    try:
        return (_PROC / "sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return "-"


def _started(number: int) -> str:
    """When a process began, in ticks since the boot; `gone` where none has this number, or it waits to be buried."""
    try:
        words = (_PROC / str(number) / "stat").read_text().rpartition(")")[2].split()
        return "gone" if words[0] == "Z" else words[19]
    except OSError:
        pass
    if _PROC.is_dir() and (_PROC / "self").exists():
        return "gone"
    try:
        os.kill(number, 0)
    except ProcessLookupError:
        return "gone"
    except PermissionError:
        pass
    return "-"


def try_lock(handle: int, *, shared: bool = False) -> bool:
    """Locks an open file without waiting; false while another process holds it.

    The lock ends with the last process that has the handle. Where a system or a disk has no such locks, nobody is kept
    out.
    """
    return flock(handle, shared=shared) is not False


def flock(handle: int, *, shared: bool = False) -> bool | None:
    """Locks an open file without waiting: whether it could; None where the system or the file system has no locks."""
    if sys.platform == "win32":
        return None
    import fcntl

    try:
        fcntl.flock(handle, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True
