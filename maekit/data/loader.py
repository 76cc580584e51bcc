"""Data loaders: number of workers, prefetching, signals, and the one-line error of a failed worker."""

import multiprocessing
import os
import re
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from torch.utils.data import DataLoader, Sampler

from maekit.base.data import DrawDataset
from maekit.base.spec import Draw
from maekit.data.images.batch import collate_images
from maekit.errors import UserError

MAX_WORKERS = 16
CPU_QUOTA = Path("/sys/fs/cgroup/cpu.max")
MIN_AHEAD, MAX_AHEAD = 2, 4
MAX_IMAGES_AHEAD = 2048  # 1.2 GB as float32 at 224 pixels, in shared memory
NO_MAIN_GUARD = (
    "spawned workers run your script from its top: put what starts the run under `if __name__ == '__main__':`, "
    "or load in the training process with data.num_workers 0"
)


def usable_cores() -> int:
    """Returns the number of cores this process may run on, which under a scheduler is fewer than the machine has."""
    cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    return min(cores, quota_of(CPU_QUOTA) or cores)


def quota_of(file: Path) -> int | None:
    """Returns the whole cores that a container may use at once, from its control group's file; None for no limit."""
    try:
        quota, period = file.read_text(encoding="ascii").split()
        return max(int(quota) // int(period), 1)
    except (OSError, ValueError):  # no control groups of version 2, or `max`
        return None


def process_cores(world: int) -> int:
    """Returns the cores of one of `world` processes on this machine: its share, or its own where SLURM gave it some.

    A task that srun started with --cpus-per-task may run on its own cores only, which are not to be shared out again.
    """
    cores, own = usable_cores(), os.environ.get("SLURM_CPUS_PER_TASK", "")
    many = os.environ.get("SLURM_NTASKS", "1") not in ("", "1") and "SLURM_PROCID" in os.environ
    if many and own.isdecimal():
        return max(min(cores, int(own)), 1)
    return max(cores // world, 1)


def choose_workers(requested: int | None, world: int) -> int:
    """Returns the number of data-loading workers of one process.

    Args:
        requested: the user's number, 0 (load in the training process) or more; None to choose.
        world: number of processes on this machine, which share its cores.

    Returns:
        `requested`, or this process's share of the cores it may use less one for training: at least 1, at most 16.

    Raises:
        UserError: `requested` is negative.
    """
    if requested is None:
        return min(max(process_cores(world) - 1, 1), MAX_WORKERS)
    if requested < 0:
        raise UserError(f"data.num_workers: got {requested}, expected 0 or more; leave it out to have it chosen")
    return requested


def choose_prefetch(num_workers: int, batch_size: int) -> int:
    """Returns how many batches each worker prepares ahead: 4, or fewer where they would fill the memory, at least 2.

    Each worker makes whole batches, and batches are used in order, so one slow batch delays all later ones. With the
    default of 2 a batch of twice the usual time stalls the training; 4 bridge that, and a validation or a checkpoint
    gives time to refill them. All workers together hold at most `MAX_IMAGES_AHEAD` images, unless 2 ahead are more.
    """
    return max(MIN_AHEAD, min(MAX_AHEAD, MAX_IMAGES_AHEAD // max(num_workers * batch_size, 1)))


class TimedLoader(DataLoader[object]):
    """A loader that knows how long its batches were waited for.

    Attributes:
        waited: seconds between asking for a batch and having it, summed; without workers that is the loading itself.
    """

    waited: float = 0.0

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]  # torch promises its own iterator's class
        return _Timed(self, super().__iter__())


class _Timed(Iterator[object]):
    def __init__(self, loader: TimedLoader, batches: Iterator[object]) -> None:
        self.loader, self.batches = loader, batches

    def __next__(self) -> object:
        began = time.monotonic()
        try:
            return next(self.batches)
        finally:
            self.loader.waited += time.monotonic() - began


def make_loader(
    dataset: DrawDataset,
    sampler: Sampler[Draw],
    batch_size: int,
    num_workers: int,
    pin: bool,
    collate: Callable[..., object] = collate_images,
    ahead: int | None = None,
) -> TimedLoader:
    """Returns a loader of batches in the sampler's order; only an evaluation's last one may be smaller.

    Args:
        dataset: the samples.
        sampler: a `TrainSampler`, which yields whole batches of `batch_size`, or an `EvalSampler`.
        batch_size: images of one batch on one device.
        num_workers: number of processes; they outlive the epoch, and run torch with one thread each.
        pin: page-locked memory, for faster copies to a CUDA device; useless for other devices.
        collate: joins samples into a batch.
        ahead: batches that each worker prepares ahead; None to choose by `choose_prefetch`.
    """
    return TimedLoader(
        dataset,
        batch_size=batch_size,
        sampler=sampler,
        num_workers=num_workers,
        collate_fn=collate,
        pin_memory=pin,
        prefetch_factor=(ahead or choose_prefetch(num_workers, batch_size)) if num_workers else None,
        persistent_workers=num_workers > 0,
        worker_init_fn=_outlive_sigterm,
    )


def _outlive_sigterm(worker: int) -> None:
    """Lets a worker ignore SIGTERM from SLURM, which signals it along with the run: the run needs it to stop in order.

    A SIGTERM from the run itself still ends it; Python sends one when the run exits, and waits. Linux only.
    """
    if sys.platform != "linux":
        return
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    run = os.getppid()

    def wait() -> None:
        while signal.sigwaitinfo({signal.SIGTERM}).si_pid != run:
            pass
        os._exit(0)

    threading.Thread(target=wait, daemon=True).start()


def worker_error_line(exc: BaseException) -> str | None:
    """Returns the one line for the user from an exception of a data-loading worker; None for any other exception.

    torch raises a worker's UserError again in the training process, with the worker's traceback as its text, and a
    RuntimeError if the system killed a worker.
    """
    if isinstance(exc, UserError) and str(exc).startswith("Caught UserError in DataLoader worker"):
        return str(exc).rstrip().rsplit("UserError: ", 1)[-1]
    if isinstance(exc, RuntimeError) and "before the current process has finished its bootstrapping" in str(exc):
        return NO_MAIN_GUARD
    killed = re.search(r"DataLoader worker \(pid.*(killed by signal|exited unexpectedly)", str(exc))
    if isinstance(exc, RuntimeError) and killed:
        spawned = multiprocessing.get_start_method(allow_none=True) in ("spawn", "forkserver")
        if spawned and killed[1] == "exited unexpectedly":
            return f"a data-loading worker ended as it started; {NO_MAIN_GUARD}"
        return (
            "a data-loading worker was ended by the system, most often for want of memory or shared memory (/dev/shm); "
            "use fewer with --data.num_workers, or 0 to load in the training process"
        )
    return None
