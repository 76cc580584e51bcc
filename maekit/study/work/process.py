"""One run of a study: a `maekit fit` process, its folder, and how it ended."""

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from maekit.runs.folder import FOLDER, LOCK
from maekit.runs.lock import HANDLE, hand_over
from maekit.study.work.devices import Slot
from maekit.system.parent import PARENT
from maekit.system.processes import try_lock

FIT = [sys.executable, "-m", "maekit", "fit"]
MOST_ATTEMPTS = 3  # of a run that is killed again and again without getting further
_ORDERLY = {128 + number for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)}


@dataclass(frozen=True)
class Ended:
    """How a process ended.

    Attributes:
        kind: `exited` in order, `stopped` by a signal with its state saved, `killed` without, or `failed`.
        reason: of a failure, in one line.
    """

    kind: str
    reason: str = ""


class Process:
    """A run that is on, or waits until another process has left its folder.

    Args:
        folder: the run's folder.
        log: what the run prints is appended to this file.
        words: flags of `maekit fit`, without `--ckpt_path`.
        slot: where it runs.
    """

    def __init__(self, folder: Path, log: Path, words: Sequence[str], slot: Slot) -> None:
        self.folder = folder
        self.log = log
        self.words = list(words)
        self.slot = slot
        self.child: subprocess.Popen[bytes] | None = None
        self.log_start = 0
        self.told_to_stop = False

    def start(self) -> bool:
        """Starts the run, or goes on with it where it has a checkpoint; false while another process is in its folder.

        The child inherits the lock on the folder, which is held exactly as long as the child, or a worker of it, lives.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / LOCK).open("a") as lock:
            if not try_lock(lock.fileno()):
                self.child = None  # how the one before ended was told
                return False
            words = [*FIT, *self.words]
            if (self.folder / "last.ckpt").is_file():
                words += ["--ckpt_path", str(self.folder)]
            else:
                _clear(self.folder)
            self.log.parent.mkdir(parents=True, exist_ok=True)
            self.log_start = self.log.stat().st_size if self.log.exists() else 0
            with self.log.open("ab") as out:
                self.child = subprocess.Popen(
                    words,
                    stdin=subprocess.DEVNULL,
                    stdout=out,
                    stderr=subprocess.STDOUT,
                    env={**environment(self.slot), HANDLE: str(lock.fileno())},
                    start_new_session=True,
                    pass_fds=[lock.fileno()],
                )
            hand_over(lock.fileno(), self.child.pid)
        return True

    def poll(self) -> Ended | None:
        """How the run ended; None while it has not."""
        status = self.child.poll() if self.child is not None else None
        if status is None:
            return None
        if status == 0:
            return Ended("exited")
        if status in _ORDERLY or (status == -signal.SIGTERM and self.told_to_stop):
            return Ended("stopped", "stopped by a signal from elsewhere")
        if status < 0:
            return Ended("killed", f"killed by {signal.Signals(-status).name}")
        return Ended("failed", last_words(self.log, self.log_start) or f"ended with status {status}, see {self.log}")

    def stop(self) -> None:
        """Tells the run to save and to stop."""
        self.told_to_stop = True
        if self.child is not None and self.child.poll() is None:
            self.child.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Ends it at once, with all that it started."""
        if self.child is not None and self.child.poll() is None:
            os.killpg(self.child.pid, signal.SIGKILL)

    @property
    def mark(self) -> str:
        """Changes whenever the run saves its state."""
        try:
            return str((self.folder / "last.ckpt").stat().st_mtime_ns)
        except OSError:
            return ""


def environment(slot: Slot) -> dict[str, str]:
    """The environment of a run: the slot's, and nothing by which it would take itself for another run."""
    # SLURM's job is the study's: it goes back into the queue once, by the study, and resumes its runs itself.
    left_out = (FOLDER, HANDLE, "LOCAL_RANK", "RANK", "SLURM_JOB_ID", "SLURM_RESTART_COUNT")
    env = {key: value for key, value in os.environ.items() if key not in left_out}
    return {**env, **slot.env, PARENT: str(os.getpid())}


def last_words(log: Path, start: int = 0) -> str:
    """Why a run failed, as it said itself; else its last line. At most 500 letters.

    Args:
        log: what it printed.
        start: where, in bytes, its own part begins.
    """
    try:
        with log.open("rb") as file:
            file.seek(max(start, log.stat().st_size - 65536))
            lines = re.split(r"[\r\n]+", file.read().decode(errors="replace"))
    except OSError:
        return ""
    said = [line.removeprefix("maekit: ") for line in lines if line.startswith("maekit: ")]
    return (said or [line.strip() for line in lines if line.strip()] or [""])[-1][:500]


def stopped_step(log: Path) -> int | None:
    """The optimizer step at which a run says it was stopped."""
    found = re.search(r"stopped by \S+ at step (\d+)", last_words(log))
    return int(found[1]) if found else None


def _clear(folder: Path) -> None:
    """Removes what a run left that was killed before it saved anything."""
    for path in folder.iterdir():
        if path.name == LOCK:
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
