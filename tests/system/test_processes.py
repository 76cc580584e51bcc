"""Which processes have ended, and a run that stops when the study that started it has ended."""

import os
import signal
import subprocess
import sys

import pytest

from maekit.system import parent
from maekit.system.processes import host_of, is_gone, is_here, owner


@pytest.mark.skipif(sys.platform == "win32", reason="reads /proc, or sends signal 0")
def test_which_processes_are_gone() -> None:
    assert not is_gone(owner())
    assert is_here(owner())
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) as child:
        theirs = owner(child.pid)
        place, boot, _, started = theirs.rsplit("|", 3)
        assert not is_gone(theirs)
        assert is_gone(f"{place}|{boot}|{child.pid}|{started}0")  # the process id was given to another process
        assert is_gone(f"{place}|another-boot|{child.pid}|{started}")
        elsewhere = f"elsewhere|-|{boot}|{child.pid}|0"
        assert not is_gone(elsewhere)  # nothing is known of other machines
        assert not is_here(elsewhere) and host_of(elsewhere) == "elsewhere"
        child.kill()
    assert is_gone(theirs)


CHILD = """
import sys, time
from maekit.system import parent
parent.watch(every_seconds=0.01)
print(parent.PARENT in __import__("os").environ, flush=True)
time.sleep(60)
"""


def test_a_run_whose_study_has_ended_stops() -> None:
    middle = "import subprocess, sys; sys.exit(subprocess.Popen([sys.executable, '-c', sys.argv[1]]).wait())"
    words = [sys.executable, "-c", "import os; os.environ['X'] = str(os.getpid());" + middle, CHILD]
    words[2] = words[2].replace("'X'", repr(parent.PARENT))
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as study:
        assert study.stdout is not None
        assert study.stdout.readline() == "False\n"  # not for what the run starts
        study.send_signal(signal.SIGKILL)
        assert study.stdout.read() == ""  # at the run's end its output is closed


def test_a_run_without_a_study_is_not_watched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(parent.PARENT, raising=False)
    parent.watch(every_seconds=0.0)
    assert parent.PARENT not in os.environ
