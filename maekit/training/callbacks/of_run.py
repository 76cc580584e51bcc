"""The callbacks of a run, in the order in which Lightning calls them."""

from collections.abc import Callable, Sequence
from pathlib import Path

from lightning.pytorch import Callback

from maekit.base.model import TransferModel
from maekit.recipes.options import RunOptions
from maekit.recipes.recipe import flat
from maekit.recipes.settings import Settings
from maekit.training.callbacks.at_start import AtSetup, AtStart
from maekit.training.callbacks.averaging import WeightAverage
from maekit.training.callbacks.best import SaveBest
from maekit.training.callbacks.checkpoints import SaveLast
from maekit.training.callbacks.examples import Examples
from maekit.training.callbacks.hyper_parameters import HyperParameters
from maekit.training.callbacks.interruption import Interruption
from maekit.training.callbacks.layers import LayerLog
from maekit.training.callbacks.patience import Patience
from maekit.training.callbacks.pause import Pause
from maekit.training.callbacks.pictures import Pictures
from maekit.training.callbacks.progress import Progress
from maekit.training.callbacks.record import Record
from maekit.training.callbacks.validation import CatchUp
from maekit.training.data_facts import DataFacts


def shared_callbacks(settings: Settings, record: Record, compare: Callable[[], None]) -> list[Callback]:
    """Returns the callbacks of every run, also of a validation alone.

    Args:
        settings: checked values of every section.
        record: loss, speed and result.
        compare: called on every rank as soon as they are joined.
    """
    bar = settings.values["trainer"].get("enable_progress_bar") is not False
    return [AtSetup(compare), record, Progress(record, show_bar=bar)]


def training_callbacks(
    settings: Settings,
    model: TransferModel,
    folder: Path,
    record: Record,
    interruption: Interruption,
    *,
    own: Sequence[Callback],
    start: Callable[[], None],
) -> list[Callback]:
    """Returns the callbacks of a run that trains.

    Args:
        settings: checked values of every section.
        model: the task's model.
        folder: the run's.
        record: loss, speed and result.
        interruption: handles signals.
        own: of `shared_callbacks`, and the user's.
        start: called on the first rank right before the first step.
    """
    options = RunOptions(**settings.values["run"])
    metric, mode = model.monitor
    average = [] if model.ema_decay is None else [WeightAverage(model.ema_decay)]
    return [
        AtStart(start),
        CatchUp(),  # before those that save, which then see what it measures
        *own,
        DataFacts(folder, options.seed, record.leave_out),
        Pictures(folder),
        LayerLog(folder, record),
        Pause(options.stop_at_step),
        *average,
        interruption,
        Examples(folder),  # after WeightAverage, so that examples are of the averaged weights
        Patience(f"val/{metric}", mode, options.patience, options.min_delta),
        SaveBest(folder, f"val/{metric}", mode, options.keep_best),
        SaveLast(folder, options.save_every_minutes),
        HyperParameters(dict(flat(settings.values)), f"val/{metric}"),
    ]
