"""A `maekit` that answers at once: one process has imported torch and forks for each command of a page.

`python -m tests.docs.server SOCKET` serves; `write_program` writes the `maekit` that asks it. A command sees the
folder, environment, input and output of whoever typed it, and its exit status comes back.
"""

import json
import os
import signal
import socket
import sys
import traceback
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from pkgutil import walk_packages

import maekit

HEAVY = (
    "torch._dynamo", "torch.onnx", "torch.export", "torch.utils.tensorboard", "lightning.pytorch", "timm",
    "torchvision", "torchmetrics", "onnx", "onnxscript", "onnxruntime",
    "sklearn.linear_model", "sklearn.neighbors", "optuna",
)  # fmt: skip
PROGRAM = """#!{python} -IS
import json, os, socket, sys
with socket.socket(socket.AF_UNIX) as asked:
    asked.connect({socket!r})
    socket.send_fds(asked, [b"."], [0, 1, 2])
    asked.sendall(json.dumps([sys.argv[1:], os.getcwd(), dict(os.environ)]).encode())
    asked.shutdown(socket.SHUT_WR)
    status = asked.recv(1)
sys.exit(status[0] if status else 1)
"""


def write_program(folder: Path, address: Path) -> None:
    """Writes `maekit` into a folder, for PATH."""
    program = folder / "maekit"
    program.write_text(PROGRAM.format(python=sys.executable, socket=str(address)))
    program.chmod(0o755)


def serve(address: str) -> None:
    """Answers one connection after another, each in a process of its own, until it is ended."""
    preload()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    with socket.socket(socket.AF_UNIX) as door:
        door.bind(address)
        door.listen()
        print("ready", flush=True)
        while True:
            asked, _ = door.accept()
            if os.fork() == 0:
                door.close()
                answer(asked)
            asked.close()


def preload() -> None:
    """Imports what commands import, so that each process that is forked has it: our own modules, and what is heavy."""
    for module in walk_packages(maekit.__path__, "maekit."):
        if not module.name.endswith("__main__"):
            with suppress(ImportError):  # an extra that is not installed
                import_module(module.name)
    for name in HEAVY:
        with suppress(ImportError):
            import_module(name)


def answer(asked: socket.socket) -> None:
    """Runs one command and ends this process."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    status = 1
    try:
        _, given, _, _ = socket.recv_fds(asked, 1, 3)
        parts = []
        while part := asked.recv(1 << 16):
            parts.append(part)
        words, folder, variables = json.loads(b"".join(parts))
        for number, descriptor in enumerate(given):
            os.dup2(descriptor, number)
            os.close(descriptor)
        os.chdir(folder)
        os.environ.clear()
        os.environ.update(variables)
        status = run(words)
    except BaseException:  # reported to whoever typed the command
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        asked.sendall(bytes([status]))
        os._exit(status)


def run(words: list[str]) -> int:
    """Runs one command of maekit, with this page's stand-ins for weights, recipes and numbers of steps."""
    from maekit.cli import main
    from tests.docs.stand_ins import stand_in

    words = stand_in(words)
    sys.argv = ["maekit", *words]
    try:
        return main(words)
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else int(ended.code is not None)


if __name__ == "__main__":
    serve(sys.argv[1])
