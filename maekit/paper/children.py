"""Runs commands one by one, each in its own process; a signal stops the running one in order, and the rest."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from types import FrameType

from maekit.errors import Interrupted
from maekit.paper.missing import Missing
from maekit.system.parent import PARENT

PROGRAM = (sys.executable, "-m", "maekit")
SIGNALS = (signal.SIGINT, signal.SIGTERM)


def run_all(missing: Sequence[Missing], say: Callable[[str], None], *, to_stderr: bool) -> list[tuple[Missing, int]]:
    """Runs the missing runs; one that fails does not stop the next.

    Args:
        missing: the runs.
        say: called with a line before each run, and with its result after it.
        to_stderr: keep stdout free of what the runs print.

    Returns:
        The runs, each with its exit status.

    Raises:
        Interrupted: a signal came; it was passed on to the running process, which has ended.
    """
    done = []
    for place, one in enumerate(missing, start=1):
        say(f"run {place} of {len(missing)}: {one.command}")
        status, received = _run(one, to_stderr=to_stderr)
        if received is not None:
            name = "Ctrl-C" if received == signal.SIGINT else signal.Signals(received).name
            raise Interrupted(
                f"stopped by {name} in run {place} of {len(missing)}: its line above says how it goes on, and the same "
                "command runs the others",
                received,
            )
        say(f"run {place} of {len(missing)}: " + ("done" if status == 0 else f"failed with exit status {status}"))
        done.append((one, status))
    return done


def _run(one: Missing, *, to_stderr: bool) -> tuple[int, int | None]:
    """Returns the exit status, and the signal that this process received meanwhile and passed on.

    The run has a process group of its own, so that Ctrl-C reaches it once, through this process: a second one would
    stop it at once.
    """
    words = [os.path.expandvars(word) if word.startswith("$") else word for word in one.words[1:]]
    environment = {**os.environ, PARENT: str(os.getpid())}
    received: list[int] = []
    child: subprocess.Popen[bytes] | None = None

    def pass_on(number: int, _: FrameType | None) -> None:
        received.append(number)
        if child is not None and child.poll() is None:
            child.send_signal(number)

    before = {number: signal.signal(number, pass_on) for number in SIGNALS}
    try:
        out = sys.stderr if to_stderr else None
        child = subprocess.Popen([*PROGRAM, *words], env=environment, stdout=out, process_group=0)
        if received:
            child.send_signal(received[0])
        return child.wait(), received[0] if received else None
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
