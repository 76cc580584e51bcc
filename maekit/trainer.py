"""Lightning's Trainer as maekit uses it: what a recipe may set, and what is decided here."""

import logging
import warnings
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.loggers import Logger, TensorBoardLogger

from maekit.callbacks.checkpoint_io import AtomicCheckpointIO
from maekit.callbacks.table_log import TableLog
from maekit.errors import UserError
from maekit.hardware import auto_precision
from maekit.settings import RunOptions, Settings

QUIET = (
    r".*does not have many workers.*",
    r".*smaller than the logging interval.*",
    r".*Consider setting `persistent_workers.*",
    r".*your dataloader is not resumable.*",
    r".*callbacks used to create the checkpoint need to be provided.*",
    r".*It is recommended to use `self\.log\('val/.*sync_dist=True.*",  # our metrics have joined the ranks already
    r".*`isinstance\(treespec, LeafSpec\)` is deprecated.*",
)


def make_trainer(settings: Settings, callbacks: list[Callback], logs: list[Logger]) -> Trainer:
    """Lightning's Trainer from the recipe's `trainer` section, with what maekit decides itself."""
    values = {key: value for key, value in settings.values["trainer"].items() if value is not None}
    check_strategy(str(values.get("strategy", "auto")))
    precision = values.pop("precision")
    if accelerator_of(values) == "cpu":
        values.pop("sync_batchnorm", None)  # torch has it for accelerators only; a recipe asks for it all the same
    plugins: list[Any] = [AtomicCheckpointIO()]
    if SLURMEnvironment.detect():
        plugins.append(SLURMEnvironment(auto_requeue=False))
    fixed: dict[str, Any] = {
        "callbacks": callbacks,
        "logger": logs,
        "plugins": plugins,
        "use_distributed_sampler": False,
        "enable_model_summary": values.pop("enable_model_summary", False),
        "num_sanity_val_steps": values.pop("num_sanity_val_steps", 1),
    }
    if isinstance(values.get("val_check_interval"), int):
        fixed["check_val_every_n_epoch"] = None  # counted over epochs: Lightning refuses more than one has otherwise
        values.pop("check_val_every_n_epoch", None)
    try:
        if precision == "auto":
            precision = auto_precision(accelerator_of(values))
        return Trainer(**values, **fixed, precision=precision)
    except (ValueError, TypeError, RuntimeError) as error:
        raise UserError(f"Lightning's Trainer refuses these settings: {str(error).splitlines()[0]}") from error


def accelerator_of(values: dict[str, Any]) -> str:
    """The kind of device a run uses: cuda, cpu, or another accelerator's name."""
    asked = str(values.get("accelerator", "auto"))
    if asked in ("auto", "gpu", "cuda") and torch.cuda.is_available():
        return "cuda"
    if asked in ("auto", "gpu", "mps") and torch.backends.mps.is_available():
        return "mps"
    return "cpu" if asked in ("auto", "cpu") else asked


def check_strategy(strategy: str) -> None:
    """Layer decay needs whole parameters in named groups: sharding strategies are refused."""
    allowed = (
        "auto",
        "ddp",
        "ddp_spawn",
        "ddp_fork",
        "ddp_find_unused_parameters_true",
        "ddp_find_unused_parameters_false",
    )
    if strategy not in allowed:
        raise UserError(
            f"got --trainer.strategy {strategy}, expected auto or ddp: layer decay gives whole parameters their "
            "own lr, and FSDP and DeepSpeed shard them; use ddp (--model.gradient_checkpointing true saves memory)"
        )


def loggers(folder: Path, options: RunOptions) -> list[Logger]:
    """CSV and TensorBoard always; Weights & Biases when asked."""
    found: list[Logger] = [TableLog(folder), TensorBoardLogger(folder, name="", version="tensorboard")]
    if options.wandb is not None:
        from lightning.pytorch.loggers import WandbLogger

        try:
            found.append(WandbLogger(project=options.wandb, save_dir=folder, name=str(folder)))
        except ModuleNotFoundError as error:
            raise UserError("--run.wandb needs wandb; pip install 'maekit[wandb]'") from error
    return found


def quiet() -> None:
    """Leaves out Lightning's advertisements, and warnings about what maekit does on purpose."""
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    logging.getLogger("lightning.fabric").setLevel(logging.WARNING)
    for pattern in QUIET:
        warnings.filterwarnings("ignore", message=pattern)
