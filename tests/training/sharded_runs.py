"""Runs in two processes, started as torchrun starts them: what the tests of fsdp2 have each process do."""

import os
import signal
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor, distributed, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.multiprocessing.spawn import spawn

import maekit
from maekit.errors import UserError
from maekit.training.shards import is_sharded, local, whole
from maekit.training.strategies import shard_model, synchronise_batch_norm
from tests.conftest import without_key_bias

Work = Callable[[int, Path], dict[str, Any]]
TIMEOUT = timedelta(seconds=60)


def in_two(work: Work, folder: Path, seconds: float = 300.0) -> list[dict[str, Any]]:
    """Returns what two processes return of `work(rank, folder)`; both are ended after so many seconds."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    started = spawn(_start, (port, work, folder), nprocs=2, join=False)  # type: ignore[no-untyped-call]
    until = time.monotonic() + seconds
    try:
        while not started.join(timeout=1.0):
            assert time.monotonic() < until, f"still running after {seconds:.0f} s"
    finally:
        for process in started.processes:
            process.kill()
    return [torch.load(folder / f"result_{rank}.pt", weights_only=False) for rank in (0, 1)]


def _start(rank: int, port: int, work: Work, folder: Path) -> None:
    as_torchrun = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": 2, "LOCAL_WORLD_SIZE": 2, "GROUP_RANK": 0}
    os.environ.update({key: str(value) for key, value in as_torchrun.items()} | {"TORCHELASTIC_RUN_ID": "test"})
    os.environ.update({"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "OMP_NUM_THREADS": "1"})
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", timeout=TIMEOUT)
    torch.save(work(rank, folder), folder / f"result_{rank}.pt")
    distributed.destroy_process_group()


def fit(
    folder: Path, task: str, values: Mapping[str, Any], *callbacks: Callback, resume: Path | None = None
) -> dict[str, Any]:
    """Trains on two devices; returns the result, or the one line of the error and the seconds until then."""
    common = {"run.folder": str(folder), "trainer.accelerator": "cpu", "trainer.devices": 2, "data.num_workers": 0}
    begun = time.monotonic()
    try:
        return maekit.build(task, "smoke", common | dict(values)).fit(resume, callbacks=callbacks)
    except UserError as error:
        return {"error": str(error), "seconds": time.monotonic() - begun}


class Bytes(Callback):
    """Sums what this process holds: parameters, gradients and optimizer state, at the last step; and checks norms."""

    def __init__(self) -> None:
        self.found: dict[str, Any] = {}

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: Any, optimizer: Any) -> None:
        parameters = list(pl_module.parameters())
        self.found["gradients"] = held(p.grad for p in parameters if p.grad is not None)
        self.found["parameters"] = held(parameters)
        self.found["whole"] = full(parameters)
        units = [
            sum(p.numel() * p.element_size() for p in unit.parameters()) for unit in pl_module.model.sharded_units()
        ]
        self.found["largest_unit"] = max(*units, self.found["whole"] - sum(units))
        self.found["sharded"] = all(map(is_sharded, parameters))

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        states = [value for state in trainer.optimizers[0].state.values() for value in state.values()]
        self.found["optimizer"] = held(value for value in states if isinstance(value, Tensor))


class Norms(Callback):
    """Compares the run's gradient norm with the whole gradients' in float64, and learning rates with `rows`."""

    def __init__(self) -> None:
        self.pairs: list[tuple[float, float]] = []
        self.rates: dict[str, tuple[float, float]] = {}
        self._norm = 0.0

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: Any, optimizer: Any) -> None:
        squares = [whole(p.grad).double().square().sum() for p in pl_module.parameters() if p.grad is not None]
        self._norm = float(torch.stack(squares).sum().sqrt())

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, *_: Any) -> None:
        if self._norm:
            self.pairs.append((float(pl_module.gradient_norm), self._norm))
        self._norm = 0.0

    def on_train_end(self, trainer: Trainer, pl_module: Any) -> None:
        model = pl_module.model
        rows = {row.name: row for row in pl_module.optimisation.rows(model, model.backbone, pl_module.plan.total)}
        names = {id(p): name for name, p in model.named_parameters()}
        for group in trainer.optimizers[0].param_groups:
            for p in group["params"]:
                self.rates[names[id(p)]] = (group["peak_lr"], rows[names[id(p)]].lr)


class Spoil(Callback):
    """Puts a NaN into the images of one process at one step."""

    def __init__(self, step: int, rank: int) -> None:
        self.step, self.rank = step, rank

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        if trainer.global_step == self.step and trainer.global_rank == self.rank:
            batch.image[0, 0, 0, 0] = torch.nan


class Kill(Callback):
    """Kills this process as `kill -9` does, so many seconds after the first step began."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        signal.signal(signal.SIGALRM, lambda *_: os.kill(os.getpid(), signal.SIGKILL))
        signal.setitimer(signal.ITIMER_REAL, self.seconds)


def full(tensors: Any) -> int:
    """Bytes of whole tensors."""
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def held(tensors: Any) -> int:
    """Bytes of this process's parts of tensors."""
    return sum(local(tensor).numel() * tensor.element_size() for tensor in tensors)


def synchronised_types(model: Any) -> dict[str, Any]:
    """Types of a model's BatchNorms, and whether all is sharded, after what a strategy does before training."""
    synchronise_batch_norm(model)
    shard_model(model, init_device_mesh("cpu", (2,)))
    norms = [type(part).__name__ for part in model.modules() if isinstance(part, nn.modules.batchnorm._BatchNorm)]
    return {"norms": norms, "sharded": all(map(is_sharded, model.parameters()))}


def flat(value: Any, name: str = "") -> dict[str, Tensor]:
    """All tensors of nested dicts and lists, by their place."""
    if isinstance(value, Tensor):
        return {name: value}
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list | tuple) else ()
    return {key: tensor for part, inner in items for key, tensor in flat(inner, f"{name}/{part}").items()}


def largest_difference(one: Path, other: Path, keys: Sequence[str] = ("state_dict",)) -> float:
    """Largest difference between tensors of two checkpoints, whose names, order, types and shapes must be the same.

    The keys' biases are left out of weights: their gradients are rounding noise.
    """
    first, second = (torch.load(file, weights_only=True) for file in (one, other))
    assert first.keys() == second.keys()
    found = 0.0
    for key in keys:
        a, b = (without_key_bias(flat(state[key])) for state in (first, second))
        assert list(a) == list(b)
        for name, tensor in a.items():
            assert (tensor.dtype, tensor.shape) == (b[name].dtype, b[name].shape), name
            found = max(found, float((tensor.double() - b[name].double()).abs().max()) if tensor.numel() else 0.0)
    return found
