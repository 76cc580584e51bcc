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
from typing import Literal

from maekit.runs.folder import FOLDER, LOCK
from maekit.runs.lock import HANDLE, hand_over
from maekit.study.work.devices import Slot
from maekit.study.work.forks import Child, ForkServer
from maekit.system.parent import PARENT
from maekit.system.processes import try_lock

FIT = (sys.executable, "-m", "maekit", "fit")
_STOPPED = {128 + number for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)}


@dataclass(frozen=True)
class Ended:
    """How a process ended.

    Attributes:
        kind: `exited` with status 0, `stopped` by a signal with its state saved, `killed` without, or `failed`.
        reason: of a failure, in one line.
    """

    kind: Literal["exited", "stopped", "killed", "failed"]
    reason: str = ""


class Process:
    """A run that is training, or waits until another process has left its folder.

    Args:
        folder: the run's folder.
        log: the run's output is appended to this file.
        flags: of `maekit fit`, without `--ckpt_path`.
        slot: where it runs.
        fit: the command that the flags are for.
        server: starts `maekit fit` without its imports; None, or where it cannot: a process of its own.
    """

    def __init__(
        self,
        folder: Path,
        log: Path,
        flags: Sequence[str],
        slot: Slot,
        fit: Sequence[str] = FIT,
        server: ForkServer | None = None,
    ) -> None:
        self.folder = folder
        self.log = log
        self.command = [*fit, *flags]
        self.slot = slot
        self.server = server
        self.child: Child | None = None
        self.log_start = 0
        self.stop_requested = False

    def start(self) -> bool:
        """Starts the run, or resumes it from its checkpoint; False while another process is in its folder.

        The child inherits the lock on the folder: it is held as long as the child or one of its workers lives.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / LOCK).open("a+") as lock:  # the run reads how its last session ended
            if not try_lock(lock.fileno()):
                self.child = None  # how the previous child ended has been reported
                return False
            command = self.command
            if self.has_checkpoint:
                command = [*command, "--ckpt_path", str(self.folder)]
            else:
                _clear(self.folder)
            self.log.parent.mkdir(parents=True, exist_ok=True)
            self.log_start = self.log.stat().st_size if self.log.exists() else 0
            with self.log.open("ab") as out:
                self.child = self._begun(command, out.fileno(), lock.fileno())
            hand_over(lock.fileno(), self.child.pid)
        return True

    def _begun(self, command: Sequence[str], out: int, lock: int) -> Child:
        env = {**environment(self.slot), HANDLE: str(lock)}
        forked = self.server.start(command[len(FIT) - 1 :], env, out, lock) if self.server is not None else None
        return forked or subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            env=env,
            start_new_session=True,
            pass_fds=[lock],
        )

    def poll(self) -> Ended | None:
        """How the run ended; None while it has not."""
        status = self.child.poll() if self.child is not None else None
        if status is None:
            return None
        if status == 0:
            return Ended("exited")
        if status in _STOPPED or (status == -signal.SIGTERM and self.stop_requested):
            return Ended("stopped", "stopped by a signal from elsewhere")
        if status < 0:
            return Ended("killed", f"killed by {signal.Signals(-status).name}")
        return Ended("failed", error_line(self.log, self.log_start) or f"ended with status {status}, see {self.log}")

    def stop(self) -> None:
        """Sends SIGTERM: the run saves and stops."""
        self.stop_requested = True
        if self.child is not None and self.child.poll() is None:
            self.child.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Kills the run and the processes that it started."""
        if self.child is not None and self.child.poll() is None:
            os.killpg(self.child.pid, signal.SIGKILL)

    @property
    def has_checkpoint(self) -> bool:
        """Whether the run can be resumed."""
        return (self.folder / "last.ckpt").is_file()

    @property
    def last_save(self) -> int:
        """When the run last saved its checkpoint, in nanoseconds of the file's clock; 0 if it never did."""
        try:
            return (self.folder / "last.ckpt").stat().st_mtime_ns
        except OSError:
            return 0


def environment(slot: Slot) -> dict[str, str]:
    """The environment of a run: this process's and the slot's, without variables that identify another run."""
    # SLURM's job is the study, which requeues it once and resumes its runs itself.
    removed = (FOLDER, HANDLE, "LOCAL_RANK", "RANK", "SLURM_JOB_ID", "SLURM_RESTART_COUNT")
    env = {key: value for key, value in os.environ.items() if key not in removed}
    return {**env, **slot.env, PARENT: str(os.getpid())}


def error_line(log: Path, start: int = 0) -> str:
    """Why a run failed: its last `maekit:` line, else its last line; at most 500 characters, empty without output.

    Args:
        log: what it printed.
        start: where its own output begins, in bytes.
    """
    try:
        with log.open("rb") as file:
            file.seek(max(start, log.stat().st_size - 65536))
            lines = re.split(r"[\r\n]+", file.read().decode(errors="replace"))
    except OSError:
        return ""
    errors = [line.removeprefix("maekit: ") for line in lines if line.startswith("maekit: ")]
    return (errors or [line.strip() for line in lines if line.strip()] or [""])[-1][:500]


def stopped_step(log: Path) -> int | None:
    """The optimizer step at which a run was stopped, from its own message; None without one."""
    found = re.search(r"stopped by \S+ at step (\d+)", error_line(log))
    return int(found[1]) if found else None


def _clear(folder: Path) -> None:
    """Removes the files of a run that was killed before it saved a checkpoint."""
    for path in folder.iterdir():
        if path.name == LOCK:
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
