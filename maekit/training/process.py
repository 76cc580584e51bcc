"""Keeps runs in one process apart: restores global state after a run, and checks how processes are launched."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import distributed

from maekit.errors import UserError
from maekit.runs.folder import FOLDER
from maekit.system.launch import find_launch

CHOSEN = "MAEKIT_DEVICE_BATCH"  # what the first process chose for `auto`, for those that it starts
LEFT_BEHIND = (FOLDER, CHOSEN, "PL_GLOBAL_SEED", "PL_SEED_WORKERS", "CUBLAS_WORKSPACE_CONFIG")
LAUNCHER = ("LOCAL_RANK", "NODE_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
_worlds: list[int] = []  # world size of each run in this process, oldest first


def is_interactive() -> bool:
    """Whether this is a notebook or an interactive Python, where Lightning cannot run the script once more."""
    return "ps1" in vars(sys) or bool(sys.flags.interactive)


@contextmanager
def restored() -> Iterator[None]:
    """Restores torch's switches (threads, determinism, cuDNN, TF32), process group and environment after a run."""
    threads, benchmark = torch.get_num_threads(), torch.backends.cudnn.benchmark
    strict, warn = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    products, tf32 = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    before = {name: os.environ.get(name) for name in (*LEFT_BEHIND, *LAUNCHER)}
    grouped = distributed.is_available() and distributed.is_initialized()
    try:
        yield
    finally:
        joined = distributed.is_available() and distributed.is_initialized()
        if joined and not grouped and distributed.get_world_size() == 1:  # else the script's next run needs it
            distributed.destroy_process_group()
        torch.set_num_threads(threads)
        torch.backends.cudnn.benchmark = benchmark
        now = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
        if now != (strict, warn):  # the call imports torch's compiler, which takes a second
            torch.use_deterministic_algorithms(strict, warn_only=warn)
        torch.set_float32_matmul_precision(products)
        torch.backends.cudnn.allow_tf32 = tf32
        alone = max(_worlds, default=1) == 1  # else the other processes are still there, for the script's next run
        for name, value in before.items():
            if name in LAUNCHER and not alone:
                continue
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def check_launch(world: int, *, launches: bool, trains: bool) -> None:
    """Refuses a run on another number of processes than earlier runs of the same script.

    Lightning starts the other processes of a run by running the script again from its top. So a script may train on two
    devices many times, but not on one and then on two: the second process would train the first run, too.

    Args:
        world: processes of the run.
        launches: whether Lightning is going to start the others.
        trains: whether the run writes checkpoints; a validation on one device may follow training on two.

    Raises:
        UserError: with the numbers of devices.
    """
    other_launcher = find_launch() is not None
    second = os.environ.get("LOCAL_RANK", "0") != "0" and not other_launcher
    started = second or (max(_worlds, default=1) > 1 and not other_launcher)
    other = next((earlier for earlier in _worlds if earlier != world), None)
    if other is None and started and trains and world == 1:
        other = 2
    if other is not None and (world > 1 or (started and trains)) and (launches or started):
        raise UserError(
            f"got trainer.devices {world} after a run on {other} in the same script, which Lightning runs from its top "
            "in each process; use one number of devices in a script, or `maekit fit` once for each run"
        )
    _worlds.append(world)
