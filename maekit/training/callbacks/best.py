"""Saves the best weights of a run: `best.ckpt`, and with `--run.keep_best` the next best beside it."""

import math
import os
import re
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Literal, NamedTuple

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint

from maekit.base.checkpoint_card import read_card
from maekit.training.callbacks.checkpoints import unsound_state
from maekit.training.callbacks.evaluation import write_evaluation
from maekit.training.callbacks.patience import Patience, monitored
from maekit.training.nan_guard import raise_together
from maekit.training.processes.meeting import from_first
from maekit.training.run_module import CheckpointDict, RunModule, run_module


class Kept(NamedTuple):
    """A checkpoint beside best.ckpt: the metric's value, and the optimizer step at which it was measured."""

    value: float
    step: int


class SaveBest(Checkpoint):
    """Saves the weights with the best values of one metric, and the files of the best validation.

    No file is replaced by a state with NaN or infinity. The next best are named by step and value,
    `step_120_top1_85.25.ckpt`, and removed when so many others are better. Of equal values the earlier one is better.

    Args:
        folder: the run's folder.
        metric: its log key, such as `val/top1`.
        mode: whether a higher or a lower value is better.
        most: how many checkpoints to keep, best.ckpt included.

    Attributes:
        value: of best.ckpt; None before the first validation.
        step: of best.ckpt.
        others: the next best, the best of them first.
    """

    def __init__(self, folder: Path, metric: str, mode: Literal["max", "min"], most: int = 1) -> None:
        self.path = folder / "best.ckpt"
        self.metric = metric
        self.mode = mode
        self.most = most
        self.value: float | None = None
        self.step = 0
        self.others: list[Kept] = []

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Removes the files that are too many by now, or of steps that this run does not know or is to repeat."""
        self._trim(trainer)
        present = [] if self.value is None else [Kept(self.value, self.step)]  # named by a session that then died
        known = {self.file(kept).name for kept in (*present, *self.others)}
        pattern = rf"step_\d+_{re.escape(self._name)}_\S+\.ckpt"
        for file in self.path.parent.glob("step_*.ckpt") if trainer.is_global_zero else ():
            if re.fullmatch(pattern, file.name) and file.name not in known:
                file.unlink(missing_ok=True)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Saves if the metric is among the best; NaN and infinity never are."""
        if trainer.state.fn != "fit" or trainer.sanity_checking:
            return
        module = run_module(pl_module)
        new = monitored(trainer, self.metric)
        if math.isfinite(new) and (self.value is None or self._better(new, self.value)):
            raise_together(trainer, unsound_state(trainer), known=False)
            if self.value is not None and self.most > 1:
                self._keep_present(trainer, Kept(self.value, self.step))
            trainer.save_checkpoint(self.path, weights_only=True)
            self.value, self.step = new, trainer.global_step
            self._trim(trainer)
            self._write(trainer, module, self.path.name)
        elif self.value is None:
            self._write(trainer, module, None)
        elif math.isfinite(new) and self._is_among(new):
            raise_together(trainer, unsound_state(trainer), known=False)
            kept = Kept(new, trainer.global_step)
            trainer.save_checkpoint(self.file(kept), weights_only=True)
            self._add(kept)
            self._trim(trainer)
        module.results, module.records = {}, None  # frees their memory

    def file(self, kept: Kept) -> Path:
        """Returns where a checkpoint beside best.ckpt is."""
        return self.path.with_name(f"step_{kept.step}_{self._name}_{kept.value:.6g}.ckpt")

    def all(self) -> list[dict[str, str | float]]:
        """Returns the file, value and step of each checkpoint that is there, the best first, for `metrics.json`."""
        best = [] if self.value is None else [(self.path, Kept(self.value, self.step))]
        files = [*best, *((self.file(kept), kept) for kept in self.others)]
        return [{"file": file.name, **kept._asdict()} for file, kept in files if file.is_file()]

    @property
    def _name(self) -> str:
        return self.metric.removeprefix("val/").replace("/", "_")

    def _better(self, one: float, other: float) -> bool:
        return one > other if self.mode == "max" else one < other

    def _is_among(self, value: float) -> bool:
        """Whether a value that is not the best is among those to keep."""
        return len(self.others) < self.most - 1 or (self.most > 1 and self._better(value, self.others[-1].value))

    def _add(self, kept: Kept) -> None:
        place = next((i for i, other in enumerate(self.others) if self._better(kept.value, other.value)), None)
        self.others.insert(len(self.others) if place is None else place, kept)

    def _keep_present(self, trainer: Trainer, kept: Kept) -> None:
        """Gives the present best.ckpt a second name before it is replaced.

        It may be newer than this run's state, where a session died between best.ckpt and last.ckpt: then it is not what
        `kept` says, and none is kept, unless that session had kept it already.
        """
        if from_first(trainer.is_global_zero and self._is_named(kept)):
            self.others.insert(0, kept)

    def _is_named(self, kept: Kept) -> bool:
        file = self.file(kept)
        if file.is_file():
            return True
        if not self.path.is_file() or read_card(self.path).step != kept.step:
            return False
        try:
            os.link(self.path, file)
        except OSError:  # a disk without hard links
            shutil.copyfile(self.path, file)
        return True

    def _trim(self, trainer: Trainer) -> None:
        if trainer.is_global_zero:
            self._remove(self.others[self.most - 1 :])
        self.others = self.others[: self.most - 1]

    def _remove(self, beaten: list[Kept]) -> None:
        for kept in beaten:
            with suppress(OSError):
                self.file(kept).unlink()

    def _write(self, trainer: Trainer, module: RunModule, checkpoint: str | None) -> None:
        if trainer.is_global_zero:
            write_evaluation(self.path.parent, module, checkpoint, trainer.global_step)

    def state_dict(self) -> dict[str, object]:
        """Returns the best values so far and their steps."""
        others = [[kept.value, kept.step] for kept in self.others]
        return {"value": self.value, "step": self.step, **({"others": others} if others else {})}

    def load_state_dict(self, state_dict: CheckpointDict) -> None:
        """Restores the best values so far and their steps."""
        self.value, self.step = state_dict["value"], state_dict["step"]
        self.others = [Kept(float(value), int(step)) for value, step in state_dict.get("others", [])]


def forget_best(checkpoint: CheckpointDict) -> None:
    """Forgets the best values in a checkpoint, in place, so that the resumed run's next validation is the best."""
    fresh: dict[str, dict[str, object]] = {SaveBest.__qualname__: {"value": None, "step": 0}}
    fresh[Patience.__qualname__] = {"value": None, "step": 0, "validations": 0}
    checkpoint["callbacks"] = {**checkpoint["callbacks"], **fresh}
