"""Data loaders: number of workers, prefetching, signals, and the one-line error of a failed worker."""

import multiprocessing
import os
import re
import signal
import sys
import threading
from collections.abc import Callable

from torch.utils.data import DataLoader, Sampler

from maekit.base.data import DrawDataset
from maekit.base.spec import Draw
from maekit.data.images.batch import collate_images
from maekit.errors import UserError
from maekit.system.numbers import plural

MAX_WORKERS = 16
MIN_AHEAD, MAX_AHEAD = 2, 4
MAX_IMAGES_AHEAD = 2048  # 1.2 GB as float32 at 224 pixels, in shared memory
NO_MAIN_GUARD = (
    "spawned workers run your script from its top: put what starts the run under `if __name__ == '__main__':`, "
    "or load in the training process with data.num_workers 0"
)


def usable_cores() -> int:
    """Returns the number of cores this process may run on, which under a scheduler is fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


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
        return min(max(usable_cores() // world - 1, 1), MAX_WORKERS)
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


def describe_loading(num_workers: int, batch_size: int, pin: bool) -> str:
    """Returns the loading part of the run's summary, as `2 workers, 4 batches ahead each, pinned`."""
    if num_workers == 0:
        return "0 workers (loading in the training process)"
    workers = plural(num_workers, "worker")
    each = " each" if num_workers > 1 else ""
    return f"{workers}, {choose_prefetch(num_workers, batch_size)} batches ahead{each}{', pinned' if pin else ''}"


def make_loader(
    dataset: DrawDataset,
    sampler: Sampler[Draw],
    batch_size: int,
    num_workers: int,
    pin: bool,
    collate: Callable[..., object] = collate_images,
) -> DataLoader[object]:
    """Returns a loader of batches in the sampler's order; only an evaluation's last one may be smaller.

    Args:
        dataset: the samples.
        sampler: a `TrainSampler`, which yields whole batches of `batch_size`, or an `EvalSampler`.
        batch_size: images of one batch on one device.
        num_workers: number of processes; they outlive the epoch, and run torch with one thread each.
        pin: page-locked memory, for faster copies to a CUDA device; useless for other devices.
        collate: joins samples into a batch.
    """
    return DataLoader(
        dataset,
        batch_size=batch_size,
        sampler=sampler,
        num_workers=num_workers,
        collate_fn=collate,
        pin_memory=pin,
        prefetch_factor=choose_prefetch(num_workers, batch_size) if num_workers else None,
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
