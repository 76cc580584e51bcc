"""Logs loss, learning rate and speed during a run, metrics after each validation, and the result at the end."""

import resource
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import NotRequired, TypedDict

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import EarlyStopping

from maekit.runs.files import EVALUATION, read_mapping
from maekit.system.files import write_json
from maekit.system.plain import JSON, table
from maekit.training.callbacks.best import SaveBest
from maekit.training.callbacks.patience import Patience
from maekit.training.callbacks.pause import Pause, is_out_of_time
from maekit.training.callbacks.table_log import TableLog
from maekit.training.run_module import CheckpointDict, RunModule, callbacks_of, run_module


class BestValue(TypedDict):
    """The best validation: its metric's log key, the metric's value (None before the first validation), its step."""

    metric: str
    value: float | None
    step: int


class RunResult(TypedDict):
    """What `metrics.json` holds: times in seconds and peak memory in GiB, of all sessions of the run together.

    `data_share` is the share of the training time, 0..1, in which the process waited for its batches. `early_stop` is
    there if a finished run ended before its last step, and `kept` with `--run.keep_best`. `intervals` are those of
    best.ckpt's metrics over its validation images, see `base.evaluation.image_records.Intervals`.
    """

    status: str
    stopped_by: NotRequired[str]
    intervals: NotRequired[Mapping[str, JSON]]
    early_stop: NotRequired[dict[str, str | float | None]]
    kept: NotRequired[list[dict[str, str | float]]]
    step: int
    val: dict[str, float]
    best: BestValue | None
    seconds: float
    sessions: float
    images_per_second: float | None
    data_share: float | None
    peak_memory_gib: float


class Record(Callback):
    """Logs `train/*` every so many optimizer steps, `val/*` after each validation, and the result.

    `train/lr` is the head's: with layer decay the mean over groups says nothing. `train/grad_norm` is the L2 norm over
    all gradients before clipping, `train/data_share` the share of the time in which the process waited for its batches
    (not of a session's first step, which waits for the workers to start). Seconds, images and peak memory are
    those of the whole run: a checkpoint keeps what the sessions before it took.

    Args:
        folder: the run's folder; `metrics.json` is written there.
        every_steps: optimizer steps between two rows of `train/*`.
    """

    def __init__(self, folder: Path, every_steps: int) -> None:
        self.folder = folder
        self.every_steps = every_steps
        self.step_started = 0.0
        self.latest: dict[str, float] = {}
        self.validated: dict[str, float] = {}
        self.steps_seen = 0
        self.training_seconds = 0.0
        self.started = time.monotonic()
        self.mark = (0, 0.0, 0.0)
        self.loaded = 0.0  # seconds of waiting for data when the first step had ended: the start of the workers
        self.data_seconds = 0.0  # of waiting since then
        self.earlier: dict[str, float] = {}  # what earlier sessions of the run took
        self.peak_memory = 0.0  # GiB

    def due(self, step: int) -> bool:
        """Whether `train.csv` gets a row for a step (from 1): every `every_steps`, and for a session's first step."""
        return step % self.every_steps == 0 or self.steps_seen == 0

    def spent(self) -> dict[str, float]:
        """Returns totals over all sessions of the run: sessions, seconds, and steps with their `training_seconds`."""
        now = {
            "sessions": 1,
            "seconds": time.monotonic() - self.started,
            "training_seconds": self.training_seconds,
            "steps": self.steps_seen,
            "data_seconds": self.data_seconds,
        }
        return {name: value + self.earlier.get(name, 0) for name, value in now.items()}

    def leave_out(self) -> None:
        """Leaves out of the training time what was done since the last step ended, such as drawing pictures."""
        self.step_started = time.monotonic()

    def state_dict(self) -> dict[str, object]:
        """Returns totals and last metrics, which a resumed run needs even if `metrics.json` was never written."""
        return {"spent": self.spent(), "validated": dict(self.validated), "peak_memory_gib": self.peak_memory}

    def load_state_dict(self, state_dict: CheckpointDict) -> None:
        """Restores totals and last metrics of the earlier sessions."""
        self.earlier, self.validated = state_dict["spent"], state_dict["validated"]
        self.peak_memory = state_dict["peak_memory_gib"]

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Starts the clock, and drops logged rows of steps that a resumed run repeats."""
        self.started = time.monotonic()
        for logger in trainer.loggers:
            if isinstance(logger, TableLog) and trainer.global_step:
                logger.forget_after(trainer.global_step)
        self.step_started = time.monotonic()

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: object, batch_idx: int) -> None:
        """Keeps the lr of this step: at the end of the step the schedule has already changed it."""
        self.latest["lr"] = max(group["lr"] for group in run_module(pl_module).optimizer_groups())

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: object, batch: object, batch_idx: int
    ) -> None:
        """Counts an optimizer step and its seconds; logs loss, lr and speed if the step is due."""
        module = run_module(pl_module)
        if (batch_idx + 1) % module.plan.accumulation:
            return
        now, due = time.monotonic(), self.due(trainer.global_step)
        self.training_seconds += now - self.step_started
        self.step_started = now
        self.steps_seen += 1
        if self.steps_seen == 1:
            self.loaded = module.data_seconds()
        self.data_seconds = module.data_seconds() - self.loaded
        if due:
            steps, seconds, waited = self.mark
            span = max(self.training_seconds - seconds, 1e-9)
            self.latest["images_per_second"] = (self.steps_seen - steps) * module.plan.total / span
            if self.steps_seen > 1:
                self.latest["data_share"] = (self.data_seconds - waited) / span
            self.mark = (self.steps_seen, self.training_seconds, self.data_seconds)
            self.peak_memory = max(self.peak_memory, peak_memory_gib(trainer))
            self.latest["loss"] = float(trainer.callback_metrics["train/loss"])
            self.latest["grad_norm"] = float(module.gradient_norm)
            self._log(trainer, "train", {**self.latest, "epoch": (trainer.global_step - 1) / module.steps_per_epoch})

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Keeps the metrics of a validation, and logs them if it is part of a fit."""
        if trainer.sanity_checking:
            return
        found = {key: float(v) for key, v in trainer.callback_metrics.items() if key.startswith("val/")}
        self.validated = {key.removeprefix("val/"): value for key, value in found.items()}
        if trainer.state.fn == "fit":
            epoch = trainer.global_step / run_module(pl_module).steps_per_epoch
            self._log(trainer, "val", {**self.validated, "epoch": epoch})
        self.step_started = time.monotonic()

    def result(self, trainer: Trainer, module: RunModule) -> RunResult:
        """Returns the run's result; the first process also writes it to `metrics.json`."""
        best = next((c for c in trainer.checkpoint_callbacks if isinstance(c, SaveBest)), None)
        spent = self.spent()
        images = spent["steps"] * module.plan.total
        self.peak_memory = max(self.peak_memory, peak_memory_gib(trainer))
        status, by = ending(trainer, module.total_steps())
        early = early_stop(trainer) if status == "finished" and trainer.global_step < module.total_steps() else None
        result: RunResult = {
            "status": status,
            "step": trainer.global_step,
            "val": self.validated,
            "best": {"metric": best.metric, "value": best.value, "step": best.step} if best else None,
            "seconds": round(spent["seconds"], 1),
            "sessions": spent["sessions"],
            "images_per_second": round(images / spent["training_seconds"], 1) if spent["training_seconds"] else None,
            "data_share": round(spent["data_seconds"] / spent["training_seconds"], 3) if images else None,
            "peak_memory_gib": round(self.peak_memory, 2),
        }
        if by is not None:
            result = {"status": status, "stopped_by": by, **result}
        if best is not None and best.most > 1:
            result["kept"] = best.all()
        if early is not None:
            result["early_stop"] = early.ended()._asdict()
        if trainer.is_global_zero:
            if intervals := table(read_mapping(self.folder / EVALUATION).values.get("intervals")):
                result["intervals"] = intervals
            write_json(self.folder / "metrics.json", result)
        return result

    def _log(self, trainer: Trainer, split: str, values: dict[str, float]) -> None:
        for logger in trainer.loggers:
            logger.log_metrics({f"{split}/{key}": value for key, value in values.items()}, step=trainer.global_step)


def ending(trainer: Trainer, total_steps: int) -> tuple[str, str | None]:
    """Returns how a fit ended: its status, and the callback that stopped it.

    Args:
        trainer: after its fit.
        total_steps: optimizer steps of the whole run.

    Returns:
        `finished` at its last step or by `--run.patience`, or `paused` at `--run.stop_at_step` or
        `--trainer.max_time`, or `stopped` by a callback of the user.
    """
    callbacks = callbacks_of(trainer)
    if trainer.global_step >= total_steps or early_stop(trainer) is not None:
        return "finished", None
    paused = any(isinstance(c, Pause) and c.is_reached(trainer) for c in callbacks)
    if paused or is_out_of_time(trainer) or not trainer.should_stop:
        return "paused", None
    early = [c for c in callbacks if isinstance(c, EarlyStopping)]
    return "stopped", type(early[0]).__name__ if early else "a callback"


def early_stop(trainer: Trainer) -> Patience | None:
    """Returns the callback that ended a run early, if it did."""
    return next((one for one in callbacks_of(trainer) if isinstance(one, Patience) and one.reached), None)


def peak_memory_gib(trainer: Trainer) -> float:
    """Peak memory in GiB: of the accelerator, or of this process on CPU."""
    device = trainer.strategy.root_device
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**30
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**30
