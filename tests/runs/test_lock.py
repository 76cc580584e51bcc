"""One writer for a run's folder: who is refused, by what, and what is no lock."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from maekit.errors import UserError
from maekit.runs import lock as run_lock
from maekit.runs.folder import LOCK
from maekit.runs.lock import HANDLE, holder, only_writer
from maekit.system.processes import flock, owner
from tests.runs.listing.helpers import HOLD, writer

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="locks are those of Unix")


def no_locks(handle: int, *, shared: bool = False) -> None:
    """What a file system without locks answers."""


def test_a_second_writer_is_refused_by_process_and_host(tmp_path: Path) -> None:
    with writer(tmp_path) as process:
        said = f"process {process.pid} on {os.uname().nodename} since 20"
        assert (holder(tmp_path) or "").startswith(said)
        with pytest.raises(UserError, match=f"in use: {said}"), only_writer(tmp_path):
            raise AssertionError
    with only_writer(tmp_path):  # killed: its record is still there, and is no lock
        assert f"process {os.getpid()} " in (holder(tmp_path) or "")
    assert holder(tmp_path) is None
    assert (tmp_path / LOCK).read_text() == ""


def test_two_runs_of_one_process_are_two(tmp_path: Path) -> None:
    with only_writer(tmp_path), pytest.raises(UserError, match=f"process {os.getpid()} "), only_writer(tmp_path):
        raise AssertionError


def test_ranks_share_the_lock_of_the_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with only_writer(tmp_path):
        monkeypatch.setenv("LOCAL_RANK", "1")
        with only_writer(tmp_path):
            pass
        assert holder(tmp_path) is not None


@pytest.mark.parametrize("text", ["", "{", "[]", '{"owner": "x"}', '{"owner": 3}', "\x00"])
def test_a_record_that_says_nothing_is_no_lock(text: str, tmp_path: Path) -> None:
    (tmp_path / LOCK).write_text(text)
    assert holder(tmp_path) is None
    with only_writer(tmp_path):
        assert holder(tmp_path) is not None


def test_a_lock_without_a_record_is_a_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_lock, "RECORD_SECONDS", 0.0)
    with writer(tmp_path):
        (tmp_path / LOCK).write_text("")
        with pytest.raises(UserError, match="another process"), only_writer(tmp_path):
            raise AssertionError


def test_the_workers_of_a_killed_run_are_waited_for(tmp_path: Path) -> None:
    """A worker that was forked has the lock's handle, and ends a little later than its run."""
    code = HOLD.replace("time.sleep(60)", "import os; os.fork() or time.sleep(1.5) or os._exit(0); time.sleep(60)")
    process = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    time.sleep(0.3)  # until it has forked
    process.kill()
    process.wait(timeout=30)
    process.stdout.close()
    with only_writer(tmp_path):
        assert f"process {os.getpid()} " in (holder(tmp_path) or "")


def test_without_locks_the_record_decides(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(run_lock, "flock", no_locks)
    elsewhere = json.dumps({"owner": "node7|pid:[1]|boot|4711|99", "since": "2026-01-01 12:00:00"})
    (tmp_path / LOCK).write_text(elsewhere)
    with pytest.raises(UserError, match=r"process 4711 on node7 since .* remove .*\.lock"), only_writer(tmp_path):
        raise AssertionError
    assert (tmp_path / LOCK).read_text() == elsewhere
    assert "4711 on node7" in (holder(tmp_path) or "")
    with subprocess.Popen(["sleep", "60"]) as alive:
        (tmp_path / LOCK).write_text(json.dumps({"owner": owner(alive.pid)}))
        with pytest.raises(UserError, match=f"process {alive.pid} on "), only_writer(tmp_path):
            raise AssertionError
        alive.kill()
    with only_writer(tmp_path):  # the one that was named has ended
        assert holder(tmp_path) is not None
    assert "no file locks on the disk" in capsys.readouterr().err
    assert holder(tmp_path) is None


def test_a_study_hands_its_lock_to_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    handle = os.open(tmp_path / LOCK, os.O_RDWR | os.O_CREAT)
    assert flock(handle)
    run_lock.hand_over(handle, os.getpid())
    assert f"process {os.getpid()} " in (holder(tmp_path) or "")
    monkeypatch.setenv(HANDLE, str(handle))
    with only_writer(tmp_path):
        assert HANDLE not in os.environ
        assert holder(tmp_path) is not None
    assert holder(tmp_path) is None
    with pytest.raises(OSError, match="descriptor"):
        os.fstat(handle)


def test_a_handle_of_another_folder_is_not_taken_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "other").mkdir()
    handle = os.open(tmp_path / "other" / LOCK, os.O_RDWR | os.O_CREAT)
    monkeypatch.setenv(HANDLE, str(handle))
    with only_writer(tmp_path):
        assert (tmp_path / LOCK).read_text()
    os.close(handle)


def test_a_folder_that_was_removed_meanwhile_is_not_written_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def removed(handle: int, *, shared: bool = False) -> bool:
        (tmp_path / LOCK).unlink()
        return True

    monkeypatch.setattr(run_lock, "flock", removed)
    with pytest.raises(UserError, match="was removed"), only_writer(tmp_path):
        raise AssertionError
