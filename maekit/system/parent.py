"""Stops a run in order when the process that started it (a study) was killed or crashed. Standard library only."""

import os
import signal
import threading
import time

PARENT = "MAEKIT_STOP_WITHOUT_PARENT"


def watch(every_seconds: float = 1.0) -> None:
    """Starts a thread that sends SIGTERM to this process when its parent has ended; a run then saves and stops.

    Does nothing unless the environment's `MAEKIT_STOP_WITHOUT_PARENT` holds the parent's process id. The variable is
    removed, because ranks and data workers that this process starts have another parent.

    Args:
        every_seconds: between two checks.
    """
    parent = os.environ.pop(PARENT, "")
    if parent.isdigit():
        thread = threading.Thread(
            target=_stop_without, args=(int(parent), every_seconds), daemon=True, name="maekit-parent-watch"
        )
        thread.start()


def _stop_without(parent: int, every_seconds: float) -> None:
    while os.getppid() == parent:
        time.sleep(every_seconds)
    os.kill(os.getpid(), signal.SIGTERM)
