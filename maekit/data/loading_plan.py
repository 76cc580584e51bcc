"""How many workers a run loads with, and how far ahead: from what a few samples cost here, and the memory there is."""

import os
import statistics
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from torch import Tensor

from maekit.base.data import DrawDataset
from maekit.base.spec import Draw
from maekit.data.loader import MAX_AHEAD, MAX_WORKERS, MIN_AHEAD, choose_prefetch, choose_workers, process_cores
from maekit.errors import UserError
from maekit.system.memory import cgroup_room, free_ram
from maekit.system.numbers import plural

NUM_SAMPLES, BUDGET_SECONDS = 6, 0.4
# More images a second than a device trains on: ViT-B takes about 3,000 on a fast GPU. A CPU's step is slower still.
WANTED = {"cpu": 1000}
WANTED_OF_ACCELERATORS = 4000
CHEAP_SECONDS = 20e-6  # a sample that takes less is sooner loaded than passed on by a worker
SHM = Path("/dev/shm")
MIB = 2**20


class Cost(NamedTuple):
    """What loading one sample takes: seconds on one core, and bytes of its tensors."""

    seconds: float
    bytes: int


class Loading(NamedTuple):
    """How a process loads.

    Attributes:
        workers: data-loading processes; 0 loads in the training process.
        ahead: batches that each worker prepares ahead.
        why: what that was chosen from, for the user; empty for a number that the user gave.
    """

    workers: int
    ahead: int
    why: str = ""

    def describe(self, *, pin: bool) -> str:
        """Returns the loading part of a run's data line."""
        why = f" ({self.why})" if self.why else ""
        if self.workers == 0:
            return f"0 workers, loading in the training process{why}"
        each = " each" if self.workers > 1 else ""
        ahead = f"{self.ahead} {'batch' if self.ahead == 1 else 'batches'} ahead{each}"
        return f"{plural(self.workers, 'worker')}{why}, {ahead}{', pinned' if pin else ''}"


def measure(images: DrawDataset, most: int = NUM_SAMPLES) -> Cost | None:
    """Loads a few samples in this process, in about half a second at most, and leaves every generator as it was.

    Args:
        images: the samples.
        most: how many.

    Returns:
        The median after the first one, which pays for imports; None for data without image files, and where one of
        the samples cannot be read: the run itself will say so.
    """
    count = len(images)
    if not images.reads_files or not count:
        return None
    seconds, sizes, deadline = [], [], time.monotonic() + BUDGET_SECONDS
    for index in np.unique(np.linspace(0, count - 1, most).astype(int)).tolist():
        began, busy = time.perf_counter(), time.process_time()
        try:
            sample = images[Draw(0, index)]
        except UserError:
            return None
        # The longer of both: a slow disk shows in the clock alone, and several threads, of which a worker has one, in
        # the other.
        seconds.append(max(time.perf_counter() - began, time.process_time() - busy))
        sizes.append(num_bytes(sample))
        if time.monotonic() > deadline:
            break
    return Cost(statistics.median(seconds[1:] or seconds), max(sizes))


def num_bytes(sample: object) -> int:
    """Returns the bytes of all tensors and arrays in a sample, however they are nested."""
    if isinstance(sample, Tensor | np.ndarray):
        return sample.nbytes
    if isinstance(sample, str | bytes):
        return 0
    parts: Iterable[object] = ()
    if isinstance(sample, Mapping):
        parts = sample.values()
    elif isinstance(sample, Iterable):
        parts = sample
    return sum(map(num_bytes, parts))


def plan_loading(requested: int | None, images: DrawDataset, batch: int, world: int, kind: str) -> Loading:
    """Chooses workers and prefetching of one process of a run.

    Args:
        requested: the user's number of workers, which is kept; None to choose.
        images: the training samples, of which a few are loaded; one where workers are given, for its bytes.
        batch: images of one device batch.
        world: number of processes on this machine, which share its cores and its memory.
        kind: of the device: cpu, cuda or mps.
    """
    if requested is not None:
        return Loading(requested, _ahead_of(requested, images, batch, world))
    cores, cost = process_cores(world), measure(images)
    if cost is None:
        workers = choose_workers(None, world)
        return Loading(workers, choose_prefetch(workers, batch), f"of {plural(cores, 'core')}")
    return choose_loading(cost, cores, batch, room(world), WANTED.get(kind, WANTED_OF_ACCELERATORS))


def _ahead_of(workers: int, images: DrawDataset, batch: int, world: int) -> int:
    """Returns the batches that each of a given number of workers prepares ahead: as memory allows, at least 2."""
    ahead = choose_prefetch(workers, batch)
    cost = measure(images, 1) if workers else None
    return ahead if cost is None else max(MIN_AHEAD, min(ahead, room(world) // max(cost.bytes * batch * workers, 1)))


def choose_loading(cost: Cost, cores: int, batch: int, memory: int, wanted: int) -> Loading:
    """Chooses from what a sample costs.

    Args:
        cost: of a sample.
        cores: that this process may use, itself among them.
        batch: images of one device batch.
        memory: bytes that prepared batches may take.
        wanted: images a second, beyond which more workers are of no use.

    Returns:
        As many workers as `wanted` needs and the cores allow, at most 16, each 4 batches ahead; fewer batches, but at
        least 2, and then fewer workers where they would not fit into memory.
    """
    if cost.seconds < CHEAP_SECONDS:
        return Loading(0, MIN_AHEAD, f"a sample takes {cost.seconds * 1e6:.0f} us")
    rate = f"{1 / cost.seconds:,.0f} images/s each measured, {plural(cores, 'core')}"
    workers = min(max(cores - 1, 1), MAX_WORKERS, max(round(wanted * cost.seconds + 0.5), 1))
    fits = memory // max(cost.bytes * batch, 1)  # whole batches
    if fits < workers * MIN_AHEAD:
        size = f"{memory / MIB:,.0f} MiB of memory for batches of {cost.bytes * batch / MIB:,.0f}"
        return Loading(fits // MIN_AHEAD, MIN_AHEAD, f"{rate}; {size}")
    ahead = max(MIN_AHEAD, min(MAX_AHEAD, fits // workers, choose_prefetch(workers, batch)))
    return Loading(workers, ahead, rate)


def room(world: int) -> int:
    """Returns the bytes that one process's prepared batches may take: half of free shared memory, a quarter of RAM."""
    free = [available // 4 for available in (free_ram(), cgroup_room()) if available is not None]
    if SHM.is_dir():
        shared = os.statvfs(SHM)
        free.append(shared.f_bavail * shared.f_frsize // 2)
    return min(free, default=2**62) // world
