"""A process that has imported torch and Lightning once and forks the runs of a study; started by `forks.ForkServer`.

It starts no thread, touches no accelerator and trains nothing. Each run is a process of its own in a session of its
own, with its own environment, arguments, log and lock; it stops in order when this process ends, as it would if the
study that started it were killed. This process ends when the study closes its socket, or dies.
"""

import gc
import json
import os
import runpy
import signal
import socket
import sys
from importlib import import_module
from typing import NoReturn

from maekit.runs.lock import HANDLE
from maekit.system.parent import PARENT

SIGNALS = ("SIGINT", "SIGTERM", "SIGUSR1", "SIGHUP")
MOST_BYTES = 100_000  # of a message; the system takes twice as much
READY = b"ready"
MODULES = ("maekit.cli", "maekit.api", "maekit.training.run", "maekit.commands.fit", "maekit.recipes.settings")


def main(handle: int, task: str) -> NoReturn:
    """Answers requests until the other end closes.

    A request is JSON with either `arguments` and `environment` of a run, together with the handles of its log and its
    lock, or `process`, the number of one. The answer is the process's number, or its exit status as of `subprocess`;
    null while it runs.

    Args:
        handle: of the connected socket.
        task: name of a shipped task, which is imported too; empty for none.
    """
    for name in SIGNALS:  # they are the study's to hear; a run has its own handlers
        signal.signal(getattr(signal, name), signal.SIG_IGN)
    _import(task)
    connection = socket.socket(fileno=handle)
    connection.send(READY)
    while True:
        request, handles, _, _ = socket.recv_fds(connection, MOST_BYTES, 2)
        if not request:
            os._exit(0)  # at once: runs that are on must hear of it
        asked = json.loads(request)
        if "process" in asked:
            answer = _status(asked["process"])
        else:
            reading, writing = os.pipe()
            answer = os.fork()
            if answer == 0:
                connection.close()
                os.close(reading)
                os.setsid()
                os.close(writing)
                _run(asked["arguments"], asked["environment"], *handles)
            os.close(writing)
            os.read(reading, 1)  # until it is in a session of its own, where it and its workers can be killed together
            os.close(reading)
            for each in handles:  # else the lock would be held after the run's end
                os.close(each)
        connection.send(json.dumps(answer).encode())


def _import(task: str) -> None:
    """Imports what a run needs, also what it would import late; what it makes of files of the package is kept too."""
    from maekit.system.late_compiler import import_torchvision
    from maekit.system.light_imports import import_metrics, is_own_program

    is_own_program()
    import_metrics()
    import_torchvision()
    for name in MODULES:
        import_module(name)
    if task:
        from maekit.recipes.settings import make_parser

        make_parser(import_module(f"maekit.tasks.{task}"), training=True, prog="maekit fit")
    import torch
    from PIL import Image

    from maekit.weights.get.official import official_weights
    from maekit.weights.layouts.registry import layouts

    Image.preinit()
    layouts()
    official_weights()

    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]  # a fork could not use it, nor be given another device
        os._exit(1)
    gc.collect()
    gc.freeze()  # a run's garbage collector need not look through all of it each time


def _status(process: int) -> int | None:
    ended, status = os.waitpid(process, os.WNOHANG)
    return os.waitstatus_to_exitcode(status) if ended else None


def _run(arguments: list[str], environment: dict[str, str], log: int, lock: int) -> NoReturn:
    """Becomes a run: `python -m maekit` with these arguments."""
    for name in SIGNALS:
        signal.signal(getattr(signal, name), signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.close(log)
    parent = os.getppid()
    os.environ.clear()
    os.environ.update({**environment, PARENT: str(parent), HANDLE: str(lock)})
    os.set_inheritable(lock, True)
    if "OMP_NUM_THREADS" in environment:  # which torch has read already, before it was this run's
        import torch

        torch.set_num_threads(int(environment["OMP_NUM_THREADS"]))
    sys.argv[1:] = arguments
    runpy.run_module("maekit", run_name="__main__", alter_sys=True)
    sys.exit(0)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
