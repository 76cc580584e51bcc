"""How much memory this machine, or the container around it, can still give. Standard library only."""

import os
from pathlib import Path

CGROUP = Path("/sys/fs/cgroup")
MEMINFO = Path("/proc/meminfo")
# limit and use, in control groups of version 2 and 1
_FILES = (("memory.max", "memory.current"), ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"))


def free_ram() -> int | None:
    """Returns the bytes of RAM that Linux can give without swapping; None elsewhere."""
    try:
        lines = MEMINFO.read_text(encoding="ascii").splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration, ValueError):
        return None


def cgroup_room() -> int | None:
    """Returns what a container's limit leaves, in bytes; None without a limit."""
    for files in _FILES:
        try:
            limit, used = (int((CGROUP / name).read_text(encoding="ascii")) for name in files)
        except (OSError, ValueError):  # no control groups of this version, or `max`
            continue
        return max(limit - used, 0)
    return None


def available_memory() -> int:
    """Returns the bytes that a process may still take: of free RAM and a container's limit the smaller.

    Elsewhere than on Linux it is half of all RAM.
    """
    free = [room for room in (free_ram(), cgroup_room()) if room is not None]
    return min(free) if free else os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
