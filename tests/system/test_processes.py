"""Which processes have ended, and a run that stops when the study that started it has ended."""

import os
import signal
import subprocess
import sys
import time

import pytest

from maekit.system import parent
from maekit.system.processes import host_of, is_gone, is_here, owner, wait_for_end


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


LEAVES = """
import atexit, sys, threading, time
from maekit.system.processes import leave
class Kept:
    def __del__(self):
        print("taken apart", flush=True)
kept = Kept()
atexit.register(print, "exit function")
threading.Thread(target=lambda: (time.sleep(0.05), print("thread"))).start()
print("not flushed", end=" ")
leave(3)
"""


def test_a_process_leaves_with_its_output_threads_and_exit_functions() -> None:
    buffered, command = {**os.environ, "PYTHONUNBUFFERED": ""}, [sys.executable, "-c", LEAVES]
    done = subprocess.run(command, env=buffered, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (3, "not flushed thread\nexit function\n", "")
    reading, writing = os.pipe()
    os.close(reading)
    assert subprocess.run(command, env=buffered, stdout=writing).returncode == 120
    os.close(writing)


def test_the_end_of_a_process_is_seen_at_once() -> None:
    begun = time.monotonic()
    with subprocess.Popen(["sleep", "0.05"]) as short, subprocess.Popen(["sleep", "60"]) as long:
        wait_for_end([long.pid, short.pid], 30)
        assert short.poll() == 0 and long.poll() is None and time.monotonic() - begun < 25
        long.kill()
    begun = time.monotonic()
    wait_for_end([], 0.01)
    assert time.monotonic() - begun >= 0.01


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
