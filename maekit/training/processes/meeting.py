"""How the processes that a launcher started find each other before a run begins, and agree on what only one knows.

Lightning joins them when the Trainer starts, which is too late: by then each has looked for a checkpoint and a run's
folder by itself. Lightning uses a process group that is there already.
"""

import atexit
import json
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import TypeAlias, TypeVar, cast

import torch
from torch import distributed
from torch._C._distributed_c10d import PrefixStore, Store, TCPStore

from maekit.errors import UserError
from maekit.system.launch import Launch, address_of

T = TypeVar("T")
Outcome: TypeAlias = tuple[str, int, str]  # a failed process's message, exit status and host
_POLL_SECONDS = 0.1
_GREETING_SECONDS = 30  # in which a store answers a client that has reached its port
_control: list[distributed.ProcessGroup] = []  # gloo, beside NCCL
_expected = [1]  # processes of the present run
_tried: list[bool] = []  # whether this process has tried to join the others


def join(launch: Launch | None, device: torch.device, timeout: timedelta, failed: UserError | None = None) -> None:
    """Waits for all processes of a launcher and makes their process group, with the backend of the device.

    Does nothing for a single process, without a launcher, or where the group is there already.

    Args:
        launch: of `find_launch`.
        device: the one that this process trains on.
        timeout: for the others to come, and of each operation of the group.
        failed: why this process cannot take part; the others then end with it, too.

    Raises:
        UserError: a process failed or did not come in time, the port is taken, or process 0 cannot be reached.
    """
    if launch is None or launch.world == 1 or _tried or distributed.is_initialized():
        return
    _tried.append(True)
    deadline = time.monotonic() + timeout.total_seconds()
    store = PrefixStore(f"maekit/{launch.restarts}", _open_store(launch, address_of(launch), deadline, timeout))
    outcomes = _arrivals(store, launch, None if failed is None else outcome_of(failed), deadline, timeout)
    raise_first(outcomes, failed)
    backend = "nccl" if device.type == "cuda" else "gloo"
    if device.type == "cuda":
        torch.cuda.set_device(device)
    distributed.init_process_group(
        backend,
        store=PrefixStore("default_pg", store),
        rank=launch.rank,
        world_size=launch.world,
        timeout=timeout,
        device_id=device if device.type == "cuda" else None,
    )
    open_control(timeout)


def open_control(timeout: timedelta) -> None:
    """Makes a gloo group for small messages beside NCCL, once; every process must call it at the same place."""
    if not _control and joined() and distributed.get_backend() == "nccl":
        _control.append(cast("distributed.ProcessGroup", distributed.new_group(backend="gloo", timeout=timeout)))
        atexit.register(_leave)


def expect(processes: int) -> None:
    """Says of how many processes the run is that begins; one process of it asks no other, even if there are others."""
    _expected[0] = processes


def part() -> None:
    """Leaves the group as it is when this process ends: where another one is lost, NCCL would wait for it."""
    atexit.unregister(_leave)


def several() -> bool:
    """Whether the present run has several processes, joined or not."""
    return _expected[0] > 1


def joined() -> bool:
    """Whether this process is one of several of a run that have found each other."""
    return _expected[0] > 1 and distributed.is_available() and distributed.is_initialized()


def gathered(value: T) -> list[T]:
    """Returns every process's value, by process; all of them must call it. Values are small and picklable."""
    if not joined():
        return [value]
    found: list[T | None] = [None] * distributed.get_world_size()
    distributed.all_gather_object(found, value, group=control())
    return cast("list[T]", found)


def from_first(value: T) -> T:
    """Returns process 0's value in every process; all of them must call it."""
    if not joined():
        return value
    held: list[T] = [value]
    distributed.broadcast_object_list(held, src=0, group=control())
    return held[0]


def control() -> distributed.ProcessGroup | None:
    """The group for small messages on the CPU; None means the default one, which is gloo's then."""
    return _control[0] if _control else None


@contextmanager
def one_outcome() -> Iterator[None]:
    """Ends the block with the same error in every process if it fails in any of them; all of them must enter it.

    Raises:
        UserError: the first failed process's error, named by process and host if it is not process 0's.
    """
    failed: UserError | None = None
    try:
        yield
    except UserError as error:
        if not joined() or error.shared:
            raise
        failed = error
    if joined():
        raise_first(gathered(None if failed is None else outcome_of(failed)), failed)


def on_first(find: Callable[[], T]) -> T:
    """Calls a function in process 0, and returns its value in every process, or raises its UserError in every one."""
    if not joined():
        return find()
    held: list[T] = []
    with one_outcome():
        if distributed.get_rank() == 0:
            held.append(find())
    return from_first(held[0] if held else cast("T", None))


def outcome_of(error: UserError) -> Outcome:
    """Returns what the other processes are told of an error."""
    return str(error), error.status, socket.gethostname()


def raise_first(outcomes: Sequence[Outcome | None], own: UserError | None) -> None:
    """Raises the first failed process's error, the same in all of them; returns if none failed."""
    for number, outcome in enumerate(outcomes):
        if outcome is not None:
            text, status, host = outcome
            together = UserError(text if number == 0 else f"process {number} on {host}: {text}")
            together.shared, together.status = True, status
            raise together from own


def _open_store(launch: Launch, address: str, deadline: float, timeout: timedelta) -> Store:
    """The store of torchrun's agent, else that of process 0, which this opens."""
    of_agent = launch.by == "torchrun" and os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
    opens = launch.rank == 0 and not of_agent
    if not opens:
        _reach(address, launch, deadline)
    found: list[Store | RuntimeError] = []

    def connect() -> None:
        try:
            found.append(
                TCPStore(
                    address, launch.port, is_master=opens, timeout=timeout, wait_for_workers=False, multi_tenant=opens
                )
            )
        except RuntimeError as error:
            found.append(error)

    # a thread, since torch waits without end for the greeting of a program that is no store
    thread = threading.Thread(target=connect, daemon=True)
    thread.start()
    thread.join(_GREETING_SECONDS)
    if found and isinstance(found[0], Store):
        return found[0]
    if opens:
        what = f"process 0 cannot open port {launch.port} on {address} for the others{_reason(found)}"
    else:
        what = f"process {launch.rank} reached {address}:{launch.port}, and another program answers there"
    raise UserError(f"{what}; export MASTER_PORT with a free one before {launch.by}")


def _reach(address: str, launch: Launch, deadline: float) -> None:
    """Waits until somebody listens at process 0's port; torch's own client warns at each try, and blocks signals."""
    while True:
        try:
            with socket.create_connection((address, launch.port), timeout=2.0):
                return
        except OSError as error:
            if time.monotonic() > deadline:
                raise UserError(
                    f"process {launch.rank} of {launch.world} on {socket.gethostname()} cannot reach process 0 at "
                    f"{address}:{launch.port} ({error.strerror or error}); see that it runs, and that MASTER_ADDR is "
                    "an address of its machine"
                ) from error
            time.sleep(5 * _POLL_SECONDS)


def _arrivals(
    store: Store, launch: Launch, outcome: Outcome | None, deadline: float, timeout: timedelta
) -> list[Outcome | None]:
    """Says that this process has come, waits for all others, and returns what each of them says."""
    names = [f"here/{number}" for number in range(launch.world)]
    try:
        store.set(names[launch.rank], json.dumps(outcome))
        while not store.check(names):
            if time.monotonic() > deadline:
                raise _away(launch, [str(n) for n, name in enumerate(names) if not store.check([name])], timeout)
            time.sleep(_POLL_SECONDS)
        found: list[Outcome | None] = [json.loads(store.get(name)) for name in names]
        store.add("read", 1)
        until = time.monotonic() + _GREETING_SECONDS
        while any(found) and launch.rank == 0 and store.add("read", 0) < launch.world and time.monotonic() < until:
            time.sleep(_POLL_SECONDS)  # its store ends with it
    except RuntimeError as error:
        ended = UserError(f"process {launch.rank} of {launch.world}: process 0 ended before all had come; see its line")
        ended.shared = launch.local_rank > 0
        raise ended from error
    return found


def _away(launch: Launch, away: list[str], timeout: timedelta) -> UserError:
    shown = ", ".join(away[:8]) + (", ..." if len(away) > 8 else "")
    error = UserError(
        f"{len(away)} of {launch.world} processes did not come within {timeout.total_seconds() / 60:g} min: {shown}; "
        f"see that {launch.by} started them all, or give more --run.timeout_minutes"
    )
    error.shared = launch.local_rank > 0
    return error


def _reason(found: Sequence[object]) -> str:
    if not found:
        return ""
    return " (it is in use)" if "EADDRINUSE" in str(found[0]) else f" ({str(found[0]).splitlines()[0]})"


def _leave() -> None:
    if distributed.is_initialized():
        distributed.destroy_process_group()
