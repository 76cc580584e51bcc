"""A run that a study started stops in order when the study is gone, killed or crashed. Standard library only."""

import os
import signal
import threading
import time

PARENT = "MAEKIT_STOP_WITHOUT_PARENT"
_EVERY_SECONDS = 1.0


def watch() -> None:
    """Starts to watch for the end of the process that started this one, where it asked to be watched.

    Once a second it is asked whether the process that `MAEKIT_STOP_WITHOUT_PARENT` names is still this one's parent.
    When it is not, this process sends SIGTERM to itself, which a run takes as its order to save and to stop. The name
    is taken out of the environment: ranks and workers that this process starts have it, and no study, as their parent.
    """
    parent = os.environ.pop(PARENT, "")
    if parent.isdigit():
        threading.Thread(target=_wait_for_end, args=(int(parent),), daemon=True, name="maekit-orphan").start()


def _wait_for_end(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_EVERY_SECONDS)
    os.kill(os.getpid(), signal.SIGTERM)
