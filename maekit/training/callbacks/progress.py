"""Shows progress: one bar for the whole run, with loss, lr, images per second and the time left."""

import sys
import time
from typing import NoReturn

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ProgressBar
from tqdm import tqdm

from maekit.training.callbacks.record import Record
from maekit.training.run_module import RunModule, run_module

SHOWN_SHARE = 0.05  # of the time spent waiting for data


class Progress(ProgressBar):
    """A bar over optimizer steps on a terminal; elsewhere a line per validation and one per minute.

    Args:
        record: holds the latest loss, lr, speed and metrics.
        show_bar: false prints lines on a terminal too.
    """

    def __init__(self, record: Record, *, show_bar: bool = True) -> None:
        super().__init__()
        self.record = record
        self.show_bar = show_bar
        self.bar: tqdm[NoReturn] | None = None
        self.enabled = True
        self.line_at = time.monotonic()

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
        self.line_at = time.monotonic()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: object, batch: object, batch_idx: int
    ) -> None:
        """Advances the bar after an optimizer step; without a bar prints a line once a minute."""
        if not self.enabled or (batch_idx + 1) % run_module(pl_module).plan.accumulation:
            return
        if self.bar is not None:
            self.bar.update(trainer.global_step - self.bar.n)
            self.bar.set_postfix_str(self._text(trainer, run_module(pl_module)), refresh=False)
        elif time.monotonic() - self.line_at >= 60:
            self._line(trainer, run_module(pl_module), self._text(trainer, run_module(pl_module)))

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Prints the headline metrics of a validation inside a fit."""
        if self.enabled and trainer.state.fn == "fit" and not trainer.sanity_checking:
            shown = run_module(pl_module).model.headlines(self.record.validated)
            values = " ".join(f"{name} {value:.4g}" for name, value in shown.items())
            self._line(trainer, run_module(pl_module), f"val: {values}")

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Closes the bar at the end of training."""
        self._close()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Closes the bar when the run fails or is interrupted."""
        self._close()

    def _close(self) -> None:
        if self.bar is not None:
            self.bar.close()
            self.bar = None

    def _text(self, trainer: Trainer, module: RunModule) -> str:
        latest = self.record.latest
        epoch = max(trainer.global_step - 1, 0) // module.steps_per_epoch + 1
        shown = {"loss": ".4f", "lr": ".2e", "images_per_second": ".0f"}
        words = [
            f"{key.replace('images_per_second', 'img/s')} {latest[key]:{form}}"
            for key, form in shown.items()
            if key in latest
        ]
        if latest.get("data_share", 0) >= SHOWN_SHARE:
            words.append(f"data {latest['data_share']:.0%}")
        return f"epoch {epoch} {' '.join(words)}"

    def _line(self, trainer: Trainer, module: RunModule, text: str) -> None:
        self.line_at = time.monotonic()
        line = f"step {trainer.global_step}/{module.total_steps()} {text}"
        if self.bar is not None:
            self.bar.write(line, file=sys.stderr)
        else:
            print(line, file=sys.stderr, flush=True)
