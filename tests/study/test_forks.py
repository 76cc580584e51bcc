"""Runs that are forked from one process with torch imported: each is a process of its own, as one that was started."""

import json
import os
import signal
import sys
from functools import partial
from pathlib import Path

import pytest

from maekit.runs.folder import LOCK
from maekit.study.work.devices import Slot
from maekit.study.work.forks import Forked, ForkServer
from maekit.study.work.process import Ended, Process
from maekit.system.processes import try_lock
from tests.conftest import TINY, few_digits
from tests.study.helpers import wait_for

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="runs are forked on Linux alone")


def process(folder: Path, name: str, server: ForkServer, *flags: str) -> Process:
    given = ["--task", "imagenet_finetune", "--recipe", "smoke", "--data.root", str(few_digits()), *TINY, *flags]
    words = [*given, f"--run.folder={folder}", f"--run.name={name}"]
    slot = Slot("cuda:1", {"CUDA_VISIBLE_DEVICES": "1", "OMP_NUM_THREADS": "1"})
    return Process(folder / "imagenet_finetune/smoke" / name, folder / f"{name}.log", words, slot, server=server)


def begun(run: Process) -> bool:
    return "step 1/5000" in run.log.read_text()


def free(folder: Path) -> bool:
    with (folder / LOCK).open("a+") as lock:
        return try_lock(lock.fileno())


@pytest.mark.slow
def test_forked_runs_end_as_processes_of_their_own(tmp_path: Path) -> None:
    server = ForkServer("imagenet_finetune")
    try:
        whole = process(tmp_path, "whole", server, "--trainer.max_steps=1")
        wrong = process(tmp_path, "wrong", server, "--trainer.maxsteps=1")
        stopped, killed = (process(tmp_path, name, server, "--trainer.max_epochs=1000") for name in ("stop", "kill"))
        runs = [whole, wrong, stopped, killed]
        assert all(run.start() for run in runs)
        pids = {run.child.pid for run in runs if isinstance(run.child, Forked)}
        assert len(pids) == 4 and all(os.getsid(pid) == pid for pid in pids)
        wait_for(lambda: whole.poll() is not None, seconds=60)
        assert whole.poll() == Ended("exited") and free(whole.folder)
        environment = json.loads((whole.folder / "environment.json").read_text())
        assert "--run.name=whole" in environment["command"]
        assert "done" in whole.log.read_text() and "done" not in stopped.log.read_text()
        wait_for(lambda: wrong.poll() is not None, seconds=60)
        assert wrong.poll() == Ended("failed", "unknown flag '--trainer.maxsteps'; did you mean '--trainer.max_steps'?")
        for run in (stopped, killed):
            wait_for(partial(begun, run), seconds=60)
            assert not free(run.folder)
        killed.kill()
        wait_for(lambda: killed.poll() is not None, seconds=60)
        assert killed.poll() == Ended("killed", "killed by SIGKILL")
        stopped.stop()
        wait_for(lambda: stopped.poll() is not None, seconds=60)
        ended = stopped.poll()
        assert ended is not None and ended.kind == "stopped" and stopped.has_checkpoint
    finally:
        server.close()


@pytest.mark.slow
def test_runs_save_and_stop_when_their_parent_is_killed(tmp_path: Path) -> None:
    server = ForkServer("imagenet_finetune")
    run = process(tmp_path, "run", server, "--trainer.max_epochs=1000")
    assert run.start() and server.process is not None
    wait_for(partial(begun, run), seconds=60)
    os.kill(server.process.pid, signal.SIGKILL)
    wait_for(lambda: run.poll() is not None, seconds=60)
    ended = run.poll()
    assert ended is not None and ended.kind == "killed"
    assert run.has_checkpoint and "stopped by SIGTERM" in run.log.read_text()
    server.close()


def test_without_a_server_runs_are_started_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.executable", "/bin/false")
    server = ForkServer("")
    assert server.start([], {}, 0, 0) is None
    assert server.failed
