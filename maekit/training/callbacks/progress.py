"""Shows progress: one bar for the whole run, with loss, lr, images per second and the time left, or lines."""

import sys
import time
from collections.abc import Callable
from typing import Any, NoReturn

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ProgressBar
from tqdm import tqdm

from maekit.system.progress import Pace, times
from maekit.system.progress import Progress as Loop
from maekit.training.callbacks.record import Record
from maekit.training.run_module import RunModule, run_module

SHOWN_SHARE = 0.05  # of the time spent waiting for data
FRESH_SECONDS = 2.0  # a bar's speed, and on a CPU its loss, are at most so old


class Progress(ProgressBar):
    """A bar over optimizer steps on a terminal; elsewhere lines.

    A line is printed after the first step, after 10, 30 and 60 seconds, then every minute, and after each validation.
    `maekit validate` has a bar over the batches of the validation, or lines at these times.

    Args:
        record: holds the latest loss, lr, speed and metrics.
        show_bar: false prints lines on a terminal too.
        clock: gives the time in seconds.
    """

    def __init__(self, record: Record, *, show_bar: bool = True, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self.record = record
        self.show_bar = show_bar
        self.clock = clock
        self.bar: tqdm[NoReturn] | None = None
        self.validation: Loop | None = None
        self.enabled = True
        self.first_step = 0
        self.pace = Pace(clock)
        self.shown: dict[str, float] = {}
        self.mark = (0, 0.0)  # steps and training seconds at the last refresh
        self.fresh_at = 0.0

    def disable(self) -> None:
        """Prints nothing from now on; Lightning calls it on every rank but the first."""
        self.enabled = False

    def enable(self) -> None:
        """Prints again after `disable`."""
        self.enabled = True

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Opens the bar at the run's present step, if standard error is a terminal."""
        if self.enabled and self.show_bar and sys.stderr.isatty():
            total = run_module(pl_module).total_steps()
            self.bar = tqdm(total=total, initial=trainer.global_step, unit="step", dynamic_ncols=True, leave=True)
        self.first_step, self.pace, self.fresh_at = trainer.global_step, Pace(self.clock), self.clock()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: object, batch: object, batch_idx: int
    ) -> None:
        """Advances the bar after an optimizer step; without a bar prints a line where one is due."""
        module = run_module(pl_module)
        if not self.enabled or (batch_idx + 1) % module.plan.accumulation:
            return
        self._refresh(trainer, module)
        if self.bar is not None:
            self.bar.update(trainer.global_step - self.bar.n)
            self.bar.set_postfix_str(self._text(trainer, module), refresh=False)
            return
        due = self.pace.due()
        if due or trainer.global_step == self.first_step + 1:
            made = trainer.global_step - self.first_step
            # the first step's time is that of a start, too
            missing = module.total_steps() - trainer.global_step if made > 1 else None
            self._line(trainer, module, f"{self._text(trainer, module)}  {times(self.pace.seconds(), made, missing)}")

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Opens the bar of a validation that is no part of a fit."""
        if self.enabled and trainer.state.fn == "validate":
            self.validation = Loop("validate", sum(map(int, trainer.num_val_batches)), "batch", bar=self.show_bar)

    def on_validation_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int, *_: int
    ) -> None:
        """Advances the bar of a validation that is no part of a fit."""
        if self.validation is not None:
            self.validation.advance()

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Prints the headline metrics of a validation inside a fit."""
        self._close()
        if self.enabled and trainer.state.fn == "fit" and not trainer.sanity_checking:
            shown = run_module(pl_module).model.headlines(self.record.validated)
            values = " ".join(f"{name} {value:.4g}" for name, value in shown.items())
            self._line(trainer, run_module(pl_module), f"val: {values}")

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Closes the bar at the end of training."""
        self._close(training=True)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Closes the bars when the run fails or is interrupted."""
        self._close(training=True)

    def _close(self, *, training: bool = False) -> None:
        if self.validation is not None:
            self.validation.close()
            self.validation = None
        if training and self.bar is not None:
            self.bar.close()
            self.bar = None

    def _refresh(self, trainer: Trainer, module: RunModule) -> None:
        """Keeps what is shown: the latest row of train.csv, or newer values that need no wait for an accelerator."""
        if self.record.due(trainer.global_step) or self.record.steps_seen <= 1:
            self.shown, self.fresh_at = dict(self.record.latest), self.clock()
            self.mark = (self.record.steps_seen, self.record.training_seconds)
        elif self.clock() - self.fresh_at >= FRESH_SECONDS:
            steps, seconds = self.record.steps_seen - self.mark[0], self.record.training_seconds - self.mark[1]
            self.shown |= {
                "lr": self.record.latest["lr"],
                "images_per_second": steps * module.plan.total / max(seconds, 1e-9),
            }
            if module.device.type == "cpu":
                self.shown["loss"] = float(trainer.callback_metrics["train/loss"])
            self.fresh_at, self.mark = self.clock(), (self.record.steps_seen, self.record.training_seconds)

    def _text(self, trainer: Trainer, module: RunModule) -> str:
        epoch = max(trainer.global_step - 1, 0) // module.steps_per_epoch + 1
        forms = {"loss": ".4f", "lr": ".2e", "images_per_second": ".0f"}
        words = [
            f"{key.replace('images_per_second', 'img/s')} {self.shown[key]:{form}}"
            for key, form in forms.items()
            if key in self.shown
        ]
        if self.shown.get("data_share", 0) >= SHOWN_SHARE:
            words.append(f"data {self.shown['data_share']:.0%}")
        return f"epoch {epoch} {' '.join(words)}"

    def _line(self, trainer: Trainer, module: RunModule, text: str) -> None:
        line = f"step {trainer.global_step}/{module.total_steps()} {text}"
        if self.bar is not None:
            self.bar.write(line, file=sys.stderr)
        else:
            print(line, file=sys.stderr, flush=True)
