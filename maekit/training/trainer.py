"""Makes Lightning's Trainer and loggers from a recipe's section `trainer`, and checks devices and precision."""

import logging
import os
import re
import secrets
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins.environments.cluster_environment import ClusterEnvironment
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.callbacks import ModelSummary
from lightning.pytorch.loggers import Logger, TensorBoardLogger
from lightning.pytorch.plugins import CheckpointIO
from lightning.pytorch.plugins.precision import MixedPrecision, Precision
from lightning.pytorch.profilers import AdvancedProfiler, SimpleProfiler

from maekit.errors import UserError
from maekit.recipes.options import RunOptions
from maekit.recipes.settings import Settings
from maekit.system.files import atomic_write_text
from maekit.system.hardware import auto_precision, check_devices
from maekit.system.launch import find_launch
from maekit.system.rank import rank
from maekit.system.terminal import say
from maekit.training.callbacks.checkpoint_io import AtomicCheckpointIO
from maekit.training.callbacks.table_log import TableLog
from maekit.training.process import is_interactive
from maekit.training.processes.environment import make_environment
from maekit.training.strategies import Sharded, make_strategy

QUIET = (
    r".*does not have many workers.*",
    r".*smaller than the logging interval.*",
    r".*Consider setting `persistent_workers.*",
    r".*your dataloader is not resumable.*",
    r".*is not supported by the model summary.*",  # the printed table names fp32
    r".*callbacks used to create the checkpoint need to be provided.*",
    r".*It is recommended to use `self\.log\('val/.*sync_dist=True.*",  # our metrics have joined the ranks already
    r".*`isinstance\(treespec, LeafSpec\)` is deprecated.*",
)


class LayerTable(ModelSummary):
    """Prints Lightning's table of layers and parameters, which Lightning writes to a log that maekit silences."""

    @staticmethod
    def summarize(
        summary_data: list[tuple[str, list[str]]],
        total_parameters: int,
        trainable_parameters: int,
        model_size: float,
        *rest: object,
        **_: object,
    ) -> None:
        """Prints one line a layer, then the totals."""
        columns = [[str(word) for word in column] for _, column in summary_data[1:4]]  # name, type, parameters
        for name, kind, count in zip(*columns, strict=True):
            say(f"  {name:<34} {kind:<22} {count:>12}")
        say(f"  {trainable_parameters:,} of {total_parameters:,} parameters are trained ({model_size:,.1f} MB in fp32)")


class SimpleTable(SimpleProfiler):
    """Prints its table, which Lightning writes to a log that maekit silences."""

    def describe(self) -> None:
        """Prints the summary, as a fit or a validation ends."""
        say(self.summary().strip())


class AdvancedTable(AdvancedProfiler):
    """Prints its tables, which Lightning writes to a log that maekit silences."""

    def describe(self) -> None:
        """Prints the summary, as a fit or a validation ends, and forgets it."""
        say(self.summary().strip())
        self.teardown(stage=None)


PROFILERS = {"simple": SimpleTable, "advanced": AdvancedTable}


def make_trainer(settings: Settings, callbacks: list[Callback], logs: list[Logger]) -> Trainer:
    """Returns Lightning's Trainer for the recipe's section `trainer` and for what maekit decides itself."""
    values = {key: value for key, value in settings.values["trainer"].items() if value is not None}
    values["accelerator"] = check_hardware(settings)
    _check_intervals(values, settings.given)
    precision = values.pop("precision")
    if values["accelerator"] == "cpu" and values.pop("sync_batchnorm", False):
        _without_sync_batchnorm(values, settings.given)
    values.pop("enable_progress_bar", None)  # Progress prints lines where no bar is wanted
    if "profiler" in values:
        values["profiler"] = PROFILERS[values["profiler"]]()
    if values.pop("enable_model_summary", False):
        callbacks = [LayerTable(max_depth=3), *callbacks]
    plugins: list[CheckpointIO | ClusterEnvironment | Precision] = [AtomicCheckpointIO()]
    if (environment := make_environment()) is not None:
        plugins.append(environment)
    processes = device_count(values) * values["num_nodes"]
    timeout, synchronised = group_timeout(settings.values["run"]), values.get("sync_batchnorm", False)
    values["strategy"] = make_strategy(values["strategy"], processes, timeout, sync_batchnorm=synchronised)
    fixed: dict[str, Any] = {
        "callbacks": callbacks,
        "logger": logs,
        "plugins": plugins,
        "use_distributed_sampler": False,
        "enable_model_summary": False,
        "num_sanity_val_steps": values.pop("num_sanity_val_steps", 1),
    }
    if isinstance(values.get("val_check_interval"), int):
        fixed["check_val_every_n_epoch"] = None  # counted over epochs: Lightning refuses more than one has otherwise
        values.pop("check_val_every_n_epoch", None)
    with refusals(ValueError, TypeError, RuntimeError):
        if precision == "auto":
            precision = auto_precision(values["accelerator"])
        if isinstance(values["strategy"], Sharded) and precision == "bf16-mixed":
            plugins.append(MixedPrecision(precision, values["accelerator"]))  # by its flag Lightning refuses it
            precision = None
        return Trainer(**values, **fixed, precision=precision)


@contextmanager
def refusals(*also: type[Exception]) -> Iterator[None]:
    """Turns Lightning's refusal of a setting (MisconfigurationException or a given class) into a UserError."""
    refused: tuple[type[Exception], ...] = (MisconfigurationException, *also)
    try:
        yield
    except refused as error:
        line = str(error).strip().splitlines()[0]
        raise UserError(f"Lightning's Trainer refuses these settings: {line}") from error


def check_hardware(settings: Settings) -> str:
    """Returns the kind of device that a run trains on.

    Raises:
        UserError: this machine does not have it, not so many of it, or it does not compute in the given precision.
    """
    values = settings.values["trainer"]
    kind, count = accelerator_of(values), device_count(values)
    if count > 1 and is_interactive():
        raise UserError(
            f"trainer.devices: got {values['devices']}, which are {count}, expected one device in a notebook: set "
            "trainer.devices to 1, or run `maekit fit` as a command (in a notebook: !maekit fit ...)"
        )
    if values["strategy"] == "fsdp2":
        _check_sharded(settings, kind)
    if kind == "cpu" and values["precision"] == "16-mixed":
        raise UserError("trainer.precision: got 16-mixed, which needs a GPU; on a CPU use bf16-mixed or 32-true")
    return kind


def _check_sharded(settings: Settings, kind: str) -> None:
    """Refuses what fsdp2 does not do."""
    if settings.values["trainer"]["precision"] == "16-mixed":
        raise UserError(
            "trainer.precision: got 16-mixed with --trainer.strategy fsdp2, expected bf16-mixed or 32-true: fp16's "
            "scaler decides in each process alone which steps it skips; or use --trainer.strategy ddp"
        )
    if kind == "mps":
        raise UserError(
            "got --trainer.strategy fsdp2 on mps, expected CUDA devices or CPU processes; leave the strategy out"
        )
    if settings.values["run"]["compile"] is True:
        raise UserError(
            "got --run.compile true with --trainer.strategy fsdp2, expected one of the two: one graph for the whole "
            "loss cannot hold the gathering of parameters block by block; leave out --run.compile, or use ddp"
        )


def accelerator_of(values: Mapping[str, object]) -> str:
    """The kind of device a run uses: cuda, mps or cpu; the given name where this machine has no such device."""
    asked = str(values.get("accelerator", "auto"))
    if asked in ("auto", "gpu", "cuda") and torch.cuda.is_available():
        return "cuda"
    if asked in ("auto", "gpu", "mps") and torch.backends.mps.is_available():
        return "mps"
    return "cpu" if asked in ("auto", "cpu") else asked


def device_count(values: Mapping[str, Any]) -> int:
    """Returns how many devices of this machine a run uses, by the section `trainer`.

    Raises:
        UserError: this machine does not have them.
    """
    return check_devices(str(values["accelerator"]), accelerator_of(values), values["devices"])


def local_device(settings: Settings) -> torch.device:
    """The accelerator, or CPU, that this process is going to train on."""
    values, launch = settings.values["trainer"], find_launch()
    kind = accelerator_of(values)
    if kind != "cuda":
        return torch.device(kind)
    local = launch.local_rank if launch is not None else int(os.environ.get("LOCAL_RANK", "0"))
    text = str(values["devices"])
    chosen = [int(number) for number in re.findall(r"\d+", text)] if "," in text or "[" in text else []
    return torch.device(kind, chosen[local] if chosen else local)


def group_timeout(run: Mapping[str, object]) -> timedelta:
    """Returns how long the processes of a run wait for each other, in any strategy.

    Args:
        run: values of the section `run`.
    """
    return timedelta(minutes=float(str(run.get("timeout_minutes", RunOptions().timeout_minutes))))


def _check_intervals(values: Mapping[str, object], given: frozenset[str]) -> None:
    if "trainer.check_val_every_n_epoch" in given and isinstance(values.get("val_check_interval"), int):
        raise UserError(
            f"got --trainer.check_val_every_n_epoch {values.get('check_val_every_n_epoch')} beside "
            f"trainer.val_check_interval {values['val_check_interval']}, which counts optimizer steps over epochs; "
            "set one of them to null"
        )


def _without_sync_batchnorm(values: Mapping[str, object], given: frozenset[str]) -> None:
    """torch synchronises BatchNorm on GPUs only; a recipe for GPUs asks for it all the same."""
    if "trainer.sync_batchnorm" in given:
        raise UserError("got --trainer.sync_batchnorm true, which torch has for GPUs only; leave it out on a CPU")
    if values.get("devices") not in ("auto", 1, "1"):
        say("note    trainer.sync_batchnorm of the recipe needs GPUs: here each process normalises its own batch")


def loggers(folder: Path, options: RunOptions) -> list[Logger]:
    """CSV and TensorBoard always; Weights & Biases when asked."""
    found: list[Logger] = [TableLog(folder), TensorBoardLogger(folder, name="", version="tensorboard")]
    if options.wandb is not None:
        from lightning.pytorch.loggers import WandbLogger

        ident = wandb_id(folder)
        try:
            found.append(WandbLogger(project=options.wandb, save_dir=folder, name=str(folder), id=ident))
        except ModuleNotFoundError as error:
            raise UserError("--run.wandb needs wandb; pip install 'maekit[wandb]'") from error
    return found


def wandb_id(folder: Path) -> str:
    """The run's id at Weights & Biases, kept in its folder, so that a resumed run goes on there; new for a new run."""
    file = folder / "wandb_id.txt"
    if not file.is_file():
        ident = secrets.token_hex(4)
        if rank() == 0:
            atomic_write_text(file, f"{ident}\n")
        return ident
    return file.read_text(encoding="utf-8").strip()


def quiet() -> None:
    """Silences Lightning's advertisements, and warnings about what maekit does on purpose."""
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    logging.getLogger("lightning.fabric").setLevel(logging.WARNING)
    for pattern in QUIET:
        warnings.filterwarnings("ignore", message=pattern)
