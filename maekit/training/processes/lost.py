"""Turns the error of a process that has lost the others into one line."""

import os
import re
import socket

from maekit.errors import LostProcessError
from maekit.system.rank import rank
from maekit.training.processes.meeting import part, several

_PARENT = os.getppid()
_GONE = re.compile(
    r"Connection (closed|reset) by peer|Broken pipe|Connection refused|No route to host|Network is unreachable|"
    r"Timed out waiting|Timeout waiting|Wait timeout|timed out after|Socket closed|failed to recv|recv failed|"
    r"Application timeout|remote process exited|NCCL (communicator|error)|unhandled system error|Connection timed out",
    re.IGNORECASE,
)


def speaks() -> bool:
    """Whether this process prints what all of its machine know: its first one, or the next where that has ended."""
    local = int(os.environ.get("LOCAL_RANK", os.environ.get("SLURM_LOCALID", "0")))
    started_by_first = "RANK" not in os.environ and "LOCAL_RANK" in os.environ
    return local == 0 or (local == 1 and started_by_first and os.getppid() != _PARENT)


def lost_process(error: BaseException) -> LostProcessError | None:
    """Returns the one line about an error of torch.distributed; None for any other error, or in a single process."""
    words = str(error)
    kind = type(error).__module__.startswith("torch") and "Dist" in type(error).__name__
    if not isinstance(error, RuntimeError) or not several() or not (kind or _GONE.search(words)):
        return None
    part()
    found = _GONE.search(words)
    reason = found[0] if found else words.strip().splitlines()[0]
    late = "timed out" in reason.lower() or "timeout" in reason.lower()
    why = "did not answer within --run.timeout_minutes" if late else f"ended or cannot be reached ({reason})"
    line = f"process {rank()} on {socket.gethostname()} stopped: another process of the run {why}"
    return LostProcessError(line, speaks=speaks())
