"""Starts the runs of a study as forks of one process that has imported torch and Lightning, on Linux."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Protocol

from maekit.study.work.fork_server import MOST_BYTES, READY
from maekit.system.processes import is_gone, owner

WAIT_SECONDS = 15.0  # for the server's imports, in which a study does nothing else; then a run starts by itself
ANSWER_SECONDS = 60.0  # for a fork, on a machine that swaps


class Child(Protocol):
    """A process that was started, as `subprocess.Popen` shows it."""

    pid: int

    def poll(self) -> int | None:
        """Returns the exit status, or -N where signal N ended it; None while it runs."""

    def send_signal(self, sig: int) -> None:
        """Sends a signal, if the process has not ended."""


class Forked:
    """A run that the server forked.

    Args:
        server: its parent.
        pid: its number, which is no other process's until `poll` has returned its status.
    """

    def __init__(self, server: "ForkServer", pid: int) -> None:
        self.pid = pid
        self.server = server
        self.owner = owner(pid)
        self.status: int | None = None

    def poll(self) -> int | None:
        """Returns how the process ended; as killed where its parent was killed, since nobody was told."""
        if self.status is None:
            try:
                self.status = self.server.ask({"process": self.pid})
            except OSError:
                self.status = -signal.SIGKILL if is_gone(self.owner) else None
        return self.status

    def send_signal(self, sig: int) -> None:
        """Sends a signal, if the process has not ended."""
        if self.poll() is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, sig)


class ForkServer:
    """Starts `maekit fit` without its imports: they are made once, in a process that only forks.

    Where that process cannot be started, or has ended, `start` returns None and the run is started anew.

    Args:
        task: name of a shipped task, or a path, whose task each run imports itself.
    """

    def __init__(self, task: str) -> None:
        self.task = task if task.isidentifier() else ""
        self.process: subprocess.Popen[bytes] | None = None
        self.connection: socket.socket | None = None
        self.ready = False
        self.failed = sys.platform != "linux"  # forking after such imports is only safe there

    def begin(self) -> None:
        """Begins the server's imports, so that they are made while a study is still being prepared."""
        if not self.failed and self.connection is None:
            try:
                self.connection = self._begun()
            except OSError:
                self.failed = True

    def start(self, arguments: Sequence[str], environment: Mapping[str, str], log: int, lock: int) -> Forked | None:
        """Starts a run.

        Args:
            arguments: of `maekit`.
            environment: all of the run's.
            log: handle for its output.
            lock: handle of its folder's lock, which it inherits.

        Returns:
            The run; None where it must be started in another way.
        """
        try:
            connection = self._connected()
            if connection is None:
                return None
            request = json.dumps({"arguments": list(arguments), "environment": dict(environment)}).encode()
            if len(request) > MOST_BYTES:
                return None
            socket.send_fds(connection, [request], [log, lock])
            return Forked(self, int(_answer(connection)))
        except OSError:
            self.close()
            self.failed = True
            return None

    def ask(self, request: Mapping[str, int]) -> int | None:
        """Asks the server; raises OSError where it has ended."""
        if self.connection is None:
            raise ConnectionError("the server has ended")
        self.connection.send(json.dumps(request).encode())
        answer = json.loads(_answer(self.connection))
        return None if answer is None else int(answer)

    def close(self) -> None:
        """Ends the server; runs that are on then save and stop, as they do without the study."""
        if self.connection is not None:
            self.connection.close()
            self.connection = None
        if self.process is not None:
            if not self.ready:  # it is importing, and has no runs
                self.process.kill()
            self.process.wait()
            self.process = None

    def _connected(self) -> socket.socket | None:
        self.begin()
        if self.connection is None:
            return None
        if not self.ready:
            self.connection.settimeout(WAIT_SECONDS)
            try:
                self.ready = _answer(self.connection) == READY
            except TimeoutError:
                return None
            self.connection.settimeout(ANSWER_SECONDS)
        return self.connection

    def _begun(self) -> socket.socket:
        # whole messages, and an empty one at the end
        own, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            command = [sys.executable, "-m", "maekit.study.work.fork_server", str(theirs.fileno()), self.task]
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
                pass_fds=[theirs.fileno()],
            )
        return own


def _answer(connection: socket.socket) -> bytes:
    answer = connection.recv(MOST_BYTES)
    if not answer:
        raise ConnectionError("the server has ended")
    return answer
