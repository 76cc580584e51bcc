"""Names for processes that are never used twice, whether such a process has ended, and file locks.

Standard library only.
"""

import atexit
import os
import select
import socket
import sys
import threading
import time
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import NoReturn

_PROC = Path("/proc")


@cache
def _place() -> str:
    """This host and PID namespace, such as `node3|pid:[4026531836]`: process ids mean the same only within both."""
    try:
        namespace = (_PROC / "self/ns/pid").readlink().name
    except OSError:  # not Linux
        namespace = "-"
    return f"{socket.gethostname()}|{namespace}"


def owner(pid: int | None = None) -> str:
    """A name for a process that no other process has or will have: `host|namespace|boot id|process id|start time`.

    Args:
        pid: of a process of this machine; default: this process.
    """
    pid = os.getpid() if pid is None else pid
    return f"{_place()}|{_boot_id()}|{pid}|{_start_time(pid)}"


def is_here(owner: str) -> bool:
    """Whether the process that an `owner()` names ran on this host in this PID namespace, so that we can check it."""
    return owner.rsplit("|", 3)[0] == _place()


def host_of(owner: str) -> str:
    """The host that an `owner()` names."""
    return owner.split("|")[0]


def is_gone(owner: str) -> bool:
    """Whether the process that an `owner()` names has certainly ended; False for a process of another machine."""
    _, boot, pid, start_time = owner.rsplit("|", 3)
    if not is_here(owner):
        return False
    return boot != _boot_id() or _start_time(int(pid)) != start_time


def _boot_id() -> str:
    try:
        return (_PROC / "sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return "-"


def _start_time(pid: int) -> str:
    """When a process began, in clock ticks since the boot; `gone` if no process has this pid or it is a zombie."""
    try:
        fields = (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
        return "gone" if fields[0] == "Z" else fields[19]
    except OSError:
        pass
    if _PROC.is_dir() and (_PROC / "self").exists():
        return "gone"
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return "gone"
    except PermissionError:
        pass
    return "-"


def wait_for_end(pids: Iterable[int], seconds: float) -> None:
    """Waits until one of these processes ends, and at most so long; all of it where the system cannot tell (Linux can).

    Args:
        pids: of processes whose status nobody has collected yet.
        seconds: at most.
    """
    handles: list[int] = []
    try:
        ends = select.poll()
        for pid in pids:
            handles.append(os.pidfd_open(pid))
            ends.register(handles[-1], select.POLLIN)
        ends.poll(1000 * seconds)
    except (OSError, AttributeError):
        time.sleep(seconds)
    finally:
        for handle in handles:
            os.close(handle)


def leave(status: int) -> NoReturn:
    """Ends this process as `sys.exit` does, but without taking apart its modules and objects, which nobody needs.

    Threads are waited for, exit functions called and the output flushed, as Python itself does. What is left out took
    0.4 s of the processor after a training, and longer by the clock.

    Args:
        status: of the process; 120 as in Python if the output cannot be written.
    """
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None and not stream.closed:
                stream.flush()
        except (OSError, ValueError):
            status = 120
    os._exit(status)


def flock(handle: int, *, shared: bool = False) -> bool | None:
    """Locks an open file without waiting. The lock ends with the last process that has the handle.

    Returns:
        True if locked, False while another process holds the lock, None where the system (Windows) or the file system
        has no such locks.
    """
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


def try_lock(handle: int, *, shared: bool = False) -> bool:
    """`flock`, True also where there are no locks: nobody can be kept out there."""
    return flock(handle, shared=shared) is not False
