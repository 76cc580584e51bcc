"""The sections `run` and `trainer` of a recipe: what each flag means, and the range of each. Imports no torch."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal

from maekit.errors import UserError, nearest
from maekit.system.ranges import check_range

Precision = Literal["auto", "32-true", "bf16-mixed", "16-mixed"]
STRATEGIES = ("auto", "ddp", "fsdp2", "ddp_find_unused_parameters_true", "ddp_find_unused_parameters_false")

# Arguments of Lightning's Trainer that are not offered as flags, and what to use instead.
OWNED = {
    "accumulate_grad_batches": "--data.device_batch_size decides how often gradients are accumulated",
    "use_distributed_sampler": "maekit's own samplers always split the data",
    "enable_checkpointing": "last.ckpt and best.ckpt are always written",
    "default_root_dir": "give --run.folder",
    "limit_train_batches": "give --trainer.max_steps",
    "limit_test_batches": "there is no test split; maekit validate measures the validation images",
    "limit_predict_batches": "maekit predict takes a folder of images; give it a smaller one",
    "overfit_batches": "give --trainer.max_steps",
    "fast_dev_run": "give --trainer.max_steps 3",
    "min_epochs": "a run ends at max_epochs or max_steps; give --trainer.max_epochs",
    "min_steps": "a run ends at max_epochs or max_steps; give --trainer.max_steps",
    "reload_dataloaders_every_n_epochs": "the data set does not change during a run",
    "callbacks": "a task or the Python API adds callbacks",
    "logger": "give --run.wandb PROJECT; CSV and TensorBoard are always on",
    "plugins": "the run chooses its checkpoint writer",
    "barebones": "a run always keeps its records",
    "enable_autolog_hparams": "config.yaml holds the configuration",
    "model_registry": "the run keeps its own checkpoints",
}


@dataclass(frozen=True)
class RunOptions:
    """Where and how a run is kept.

    Args:
        seed: seed of the initial weights, the order of the data and every draw; 0 to 4294967295.
        folder: the folder in which `<task>/<recipe>/<number>` is made.
        name: the run's own name in place of the next number; a folder that has it already is refused.
        stop_at_step: pause after so many optimizer steps in all, measured and saved; the schedule stays that of the
            whole run, with which `--ckpt_path` goes on. null: no pause.
        patience: end the run after so many validations in a row without improvement of the metric that chooses
            best.ckpt; null trains to the end. Validations are counted, not epochs or steps: how often there is one is
            trainer.check_val_every_n_epoch or trainer.val_check_interval.
        min_delta: an improvement is a value that is better by more than this, in the metric's own unit: points of
            top-1, mIoU or AP, dB, or the loss itself. best.ckpt takes every better value all the same.
        keep_best: checkpoints of the best values to keep: best.ckpt and, beside it, the next best, named by step and
            value (step_120_top1_85.25.ckpt) and removed when they are beaten.
        extend: train a finished run on, to the end that max_epochs or max_steps now say, or with a larger patience;
            without it --ckpt_path of a finished run trains nothing.
        new_data: go on with a run though its data is not what it was (images added or removed, other labels); without
            it --ckpt_path refuses such data.
        save_every_minutes: at most this long between two saves of last.ckpt; 0 saves after every step.
        checkpoint_content: whole checkpoints stand alone; those of what `changed` hold what was trained and name the
            weights that the run began from (model.weights), which must stay where they are, or lie beside the
            checkpoint: with LoRA or frozen blocks a small part of the size.
        keep_nan_step: if a loss is not finite, keep that step in nan_step.pt (weights, batch and the generators'
            states) for `maekit replay`; false where the disk is short. Its size is that of the weights in 32 bits.
        report: write the run's page, report/report.html in its folder, when it has come to its end; null: unless a
            study makes the run.
        wandb: also log to this Weights & Biases project (needs `pip install wandb`).
        compile: compile the training losses with torch.compile (of detection the backbone and the pyramid), which takes
            a minute or more; validation is never compiled. auto: on a CUDA device the run times its first steps
            eagerly and compiled, and goes on with the faster way; elsewhere off. true stops where torch cannot compile.
        matmul_precision: how a CUDA device multiplies 32-bit numbers in matrix products and convolutions: highest in 32
            bits, high in TF32 (10 bits of mantissa). Under bf16-mixed nearly all products are in 16 bits anyway.
        channels_last: keep the maps of convolutional heads and pyramids channels last in memory; the same numbers but
            for rounding. Off, since no GPU was measured yet.
        num_threads: CPU threads of a process; null leaves torch's choice. A small model on a CPU is fastest with 1.
        timeout_minutes: several processes: the longest wait for one that does not answer, at the start and in each
            exchange, after which all of them end. What the first process does alone must fit into it (a checkpoint,
            pictures, side metrics). A process that was killed is noticed at once; a lost connection after this time.
    """

    seed: int = 0
    folder: str = "runs"
    name: str | None = None
    stop_at_step: int | None = None
    patience: int | None = None
    min_delta: float = 0.0
    keep_best: int = 1
    extend: bool = False
    new_data: bool = False
    save_every_minutes: float = 10.0
    checkpoint_content: Literal["whole", "changed"] = "whole"
    keep_nan_step: bool = True
    report: bool | None = None
    wandb: str | None = None
    compile: Literal["auto"] | bool = "auto"
    matmul_precision: Literal["highest", "high"] = "highest"
    channels_last: bool = False
    num_threads: int | None = None
    timeout_minutes: float = 30.0

    def __post_init__(self) -> None:
        """Refuses values outside their range."""
        check_range("run.timeout_minutes", self.timeout_minutes, "(0, 1440]")
        check_range("run.seed", self.seed, "[0, 4294967295]")
        check_range("run.stop_at_step", self.stop_at_step, "[1, inf)")
        check_range("run.patience", self.patience, "[1, inf)")
        check_range("run.min_delta", self.min_delta, "[0, inf)")
        check_range("run.keep_best", self.keep_best, "[1, inf)")
        check_range("run.save_every_minutes", self.save_every_minutes, "[0, inf)")
        check_range("run.num_threads", self.num_threads, "[1, 1024]")
        for key, value in (("folder", self.folder), ("wandb", self.wandb)):
            if value == "":
                raise UserError(f"run.{key}: got an empty text, expected a name")


@dataclass(frozen=True)
class TrainerOptions:
    """How Lightning's Trainer runs; its other arguments are decided by maekit.

    Args:
        accelerator: what to train on; auto takes a GPU where there is one.
        strategy: how several devices work together: auto or ddp, each with the whole model; fsdp2, each with a part of
            every parameter, gradient and optimizer state (docs/sharding.md); ddp_find_unused_parameters_true for a task
            of your own whose loss does not use every parameter.
        devices: how many devices of this machine (2, or -1 for all of them), or which GPUs: [0,3]. auto: all GPUs, or
            one CPU process.
        num_nodes: machines that train together, each started by SLURM or torchrun.
        precision: bf16-mixed or 16-mixed compute in 16 bit and keep the weights in 32; 16-mixed needs a GPU. auto: bf16
            where it is fast, else 32-true.
        max_epochs: epochs of the whole run, -1 for no limit; the run ends at the smaller of this and max_steps.
        max_steps: optimizer steps of the whole run, -1 for no limit.
        max_time: pause after this time in training, as DD:HH:MM:SS (all sessions of a run counted); --ckpt_path with a
            longer time goes on.
        limit_val_batches: validate on so many batches only (2), or on a share of them (0.1); 0 never validates.
        val_check_interval: validate every so many optimizer steps (200), or several times an epoch (0.25 is 4 times).
        check_val_every_n_epoch: validate every so many epochs.
        num_sanity_val_steps: batches to validate before the first step, so that a fault shows early; -1 for all of
            them, null for 1.
        log_every_n_steps: optimizer steps between two rows of train.csv; null for 50.
        enable_progress_bar: whether a terminal shows a progress bar; false prints lines instead.
        enable_model_summary: print a table of the model's layers and their parameters before the first step.
        gradient_clip_val: largest norm of the gradient over all parameters; null or 0 does not clip.
        gradient_clip_algorithm: clip by the norm of the whole gradient, or each of its values by itself.
        deterministic: use deterministic algorithms only, and fail where there are none; warn goes on with a warning.
        benchmark: let cuDNN time its algorithms for each new size and choose the fastest; sizes do not change in
            training, so this costs the first step. null leaves it off: its choice, and so rounding, differs by run.
        inference_mode: validate under torch.inference_mode; false for torch.no_grad.
        profiler: at the end print a table of where the time went: simple by phase, advanced by Python function.
        detect_anomaly: find the operation whose gradient is NaN; slow.
        sync_batchnorm: BatchNorm over all GPUs' images together.
    """

    accelerator: Literal["auto", "cpu", "gpu", "cuda", "mps"] = "auto"
    strategy: str = "auto"
    devices: int | list[int] | str = "auto"
    num_nodes: int = 1
    precision: Precision = "auto"
    max_epochs: int | None = None
    max_steps: int = -1
    max_time: str | dict[str, int] | None = None
    limit_val_batches: int | float | None = None
    val_check_interval: int | float | None = None
    check_val_every_n_epoch: int | None = 1
    num_sanity_val_steps: int | None = None
    log_every_n_steps: int | None = None
    enable_progress_bar: bool | None = None
    enable_model_summary: bool | None = None
    gradient_clip_val: int | float | None = None
    gradient_clip_algorithm: Literal["norm", "value"] | None = None
    deterministic: bool | Literal["warn"] | None = None
    benchmark: bool | None = None
    inference_mode: bool = True
    profiler: Literal["simple", "advanced"] | None = None
    detect_anomaly: bool = False
    sync_batchnorm: bool = False

    def __post_init__(self) -> None:
        """Refuses values outside their range."""
        if self.deterministic and self.benchmark:
            raise UserError(
                "got --trainer.deterministic and --trainer.benchmark, which lets cuDNN choose by speed; give one"
            )
        check_strategy(self.strategy)
        _check_devices(self.devices)
        _check_time(self.max_time)
        check_range("trainer.num_nodes", self.num_nodes, "[1, inf)")
        for key, limit in (("max_epochs", self.max_epochs), ("max_steps", self.max_steps)):
            if limit != -1:
                check_range(f"trainer.{key} (or -1 for no limit)", limit, "[1, inf)")
        for key, value in (
            ("limit_val_batches", self.limit_val_batches),
            ("val_check_interval", self.val_check_interval),
        ):
            _check_share(key, value, 0 if key == "limit_val_batches" else 1)
        check_range("trainer.check_val_every_n_epoch", self.check_val_every_n_epoch, "[1, inf)")
        check_range("trainer.num_sanity_val_steps", self.num_sanity_val_steps, "[-1, inf)")
        check_range("trainer.log_every_n_steps", self.log_every_n_steps, "[1, inf)")
        check_range("trainer.gradient_clip_val", self.gradient_clip_val, "[0, inf)")


def check_strategy(strategy: str) -> None:
    """Refuses other strategies than those of `STRATEGIES`, with the reason and the nearest one that works."""
    if strategy in STRATEGIES:
        return
    if strategy.startswith("fsdp"):
        raise UserError(
            f"got --trainer.strategy {strategy}, expected fsdp2: FSDP1 runs on GPUs only, joins parameters into flat "
            "tensors and cannot clip by the norm; --trainer.strategy fsdp2 shards whole named parameters"
        )
    if strategy.startswith("deepspeed"):
        raise UserError(
            f"got --trainer.strategy {strategy}, expected fsdp2: DeepSpeed partitions and reduces each group of layer "
            "decay by itself, and its stage 3 has ignored their lr; --trainer.strategy fsdp2 saves the same memory"
        )
    if strategy.startswith("ddp_") and strategy.split("_")[1] in ("spawn", "fork", "notebook"):
        raise UserError(
            f"got --trainer.strategy {strategy}, expected auto, ddp or fsdp2: a spawned process cannot hand the run's "
            "result back; run `maekit fit` as a command (in a notebook: !maekit fit ...), or use one device"
        )
    raise UserError(
        f"got --trainer.strategy {strategy}, expected one of {', '.join(STRATEGIES)}{nearest(strategy, STRATEGIES)}"
    )


def _check_devices(devices: int | list[int] | str) -> None:
    if isinstance(devices, list):
        fine = bool(devices) and min(devices) >= 0 and len(set(devices)) == len(devices)
    elif isinstance(devices, int):
        fine = devices == -1 or devices >= 1
    else:
        fine = bool(re.fullmatch(r"auto|-1|[1-9]\d*|\d+(,\d+)+|\d+,", devices.replace(" ", "")))
    if not fine:
        raise UserError(
            f"trainer.devices: got {devices}, expected how many (1 or more, -1 for all), which GPUs ([0,3]), or auto"
        )


def _check_time(limit: str | Mapping[str, int] | None) -> None:
    if isinstance(limit, str) and not re.fullmatch(r"\d+:\d\d:\d\d:\d\d", limit):
        raise UserError(f"trainer.max_time: got {limit}, expected DD:HH:MM:SS, as 00:06:00:00 for six hours")
    if isinstance(limit, Mapping):
        units = {"days", "seconds", "microseconds", "milliseconds", "minutes", "hours", "weeks"}
        if not set(limit) <= units or timedelta(**limit) <= timedelta():
            raise UserError(f"trainer.max_time: got {dict(limit)}, expected DD:HH:MM:SS, or {{hours: 6}}")


def _check_share(key: str, value: int | float | None, least: int) -> None:
    """A whole number is a count from `least`, any other a share of the whole, in [0, 1] or (0, 1]."""
    if isinstance(value, int):
        check_range(f"trainer.{key}", value, f"[{least}, inf)")
    else:
        check_range(f"trainer.{key} (a share; a whole number is a count)", value, "[0, 1]" if least == 0 else "(0, 1]")
