"""Several runs beside each other: their metrics, and the keys in which their configurations differ."""

import re
import statistics
from collections.abc import Hashable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from maekit.report.words import setting
from maekit.runs.data import joined_key, same_data
from maekit.runs.differences import is_hyper_parameter, names_data
from maekit.runs.read import Mode, Run
from maekit.system.folds import fold_means, missing_folds
from maekit.system.plain import JSON

REPEATS = ("run.seed", "data.fold")  # keys in which runs of one group may differ
_LESS = {"loss", "error", "mce", "mae", "rmse"}
_MORE = re.compile(r"top\d+|miou|macc|aacc|psnr|a[pr](\d+|[sml])?|accuracy|f1|auroc|kappa|map|r2")


class Metric(NamedTuple):
    """One metric of several runs.

    Attributes:
        name: its name.
        mode: whether more or less is better; None where that is not known.
        values: one a run, None where a run has none.
        best: positions of the best runs; empty where there is nothing to compare.
    """

    name: str
    mode: Mode | None
    values: tuple[float | None, ...]
    best: tuple[int, ...]


class Group(NamedTuple):
    """Runs that differ in their seed and their fold alone.

    Attributes:
        runs: at least one; all on folds, or none.
        values: the monitored metric of those that are finished; with folds the mean over the seeds of each.
        missing: the folds that no finished run was validated on, as `2/5`; empty without folds.
    """

    runs: tuple[Run, ...]
    values: tuple[float, ...]
    missing: tuple[str, ...] = ()

    @property
    def parts(self) -> int | None:
        """The number of folds of the data; None without folds."""
        fold = self.runs[0].fold
        return None if fold is None else fold.parts

    @property
    def mean(self) -> float | None:
        """Mean of the values; None without any."""
        return statistics.mean(self.values) if self.values else None

    @property
    def std(self) -> float | None:
        """Standard deviation over n - 1; None for fewer than two values."""
        return statistics.stdev(self.values) if len(self.values) > 1 else None


def metrics(runs: Sequence[Run]) -> list[Metric]:
    """The metrics of finished and validated runs, as far as they have them.

    The best is marked only where all runs are of one task and of the same data.
    """
    values = [results(run) for run in runs]
    monitor = next((found[0] for run in runs if (found := watched(run))), None)
    names = shown_metrics(dict.fromkeys(name for one in values for name in one), monitor)
    return [_metric(name, runs, tuple(one.get(name) for one in values)) for name in names]


def shown_metrics(names: Iterable[str], monitor: str | None) -> list[str]:
    """Metrics in the order of a report: the one that decides first, the loss last."""
    ordered = [name for name in names if name not in ("step", "epoch")]
    return sorted(ordered, key=lambda name: (name != monitor, name == "loss", ordered.index(name)))


def results(run: Run) -> dict[str, float]:
    """A run's metrics, if it came to its end."""
    return run.val if run.status in ("finished", "stopped", "validated") else {}


def varying(runs: Sequence[Run]) -> dict[str, dict[Path, JSON]]:
    """Dotted key -> run's folder -> value, of the runs that have the key, where the values are not all equal.

    A key that some runs do not have at all differs too. A run whose configuration cannot be read is left out.
    """
    readable = [run for run in runs if run.config]
    keys = dict.fromkeys(key for run in readable for key in run.flat_config)
    columns = {key: {run.folder: run.flat_config[key] for run in readable if key in run.flat_config} for key in keys}
    return {
        key: values
        for key, values in columns.items()
        if len(values) < len(readable) or len({_hashable(value) for value in values.values()}) > 1
    }


def split_keys(keys: Iterable[str], *, one_data_set: bool = True) -> tuple[list[str], list[str]]:
    """Keys that may change what is learned, the seed with them, and those that say where and on what a run ran.

    Args:
        keys: dotted keys.
        one_data_set: whether the runs are of the same data; else the keys that name its files are of the first kind.
    """
    keys = list(keys)
    ours = [
        key for key in keys if is_hyper_parameter(key) or key == "run.seed" or (not one_data_set and names_data(key))
    ]
    return ours, [key for key in keys if key not in ours]


def groups(runs: Sequence[Run]) -> list[Group]:
    """Runs of one task, recipe and data set whose hyper-parameters are the same, in the order of their first.

    Runs on folds of the same images are of one data set here.
    """
    found: dict[Hashable, list[Run]] = {}
    for run in runs:
        own = {key: value for key, value in run.flat_config.items() if is_hyper_parameter(key) and key not in REPEATS}
        # of a run whose configuration is lost nobody knows whose group it is
        settings = _hashable(own) if run.config else run.folder
        key = (run.task, run.recipe, run.status == "validated", joined_key(run), settings)
        found.setdefault(key, []).append(run)
    return [_group(tuple(members)) for members in found.values()]


def better(name: str, runs: Sequence[Run]) -> Mode | None:
    """Whether more or less of a metric is better; None where neither a run nor the name tells."""
    recorded = {run.monitor[1] for run in runs if run.monitor and run.monitor[0] == name}
    return recorded.pop() if len(recorded) == 1 else _mode_by_name(name)


def watched(run: Run) -> tuple[str, Mode] | None:
    """The metric by which a run is judged; of one that does not name it, that of its best checkpoint."""
    if run.monitor is not None:
        return run.monitor
    name = run.best.metric
    mode = None if name is None else _mode_by_name(name)
    return None if name is None or mode is None else (name, mode)


def setting_of(run: Run, key: str) -> str | None:
    """A run's value of a key as text; None where it has no such key."""
    return setting(run.flat_config[key]) if key in run.flat_config else None


def _metric(name: str, runs: Sequence[Run], values: tuple[float | None, ...]) -> Metric:
    mode = better(name, runs)
    there = [value for value in values if value is not None]
    comparable = len({run.task for run in runs}) < 2 and same_data(runs)
    if mode is None or len(there) < 2 or not comparable or min(there) == max(there):
        return Metric(name, mode, values, ())
    best = max(there) if mode == "max" else min(there)
    return Metric(name, mode, values, tuple(at for at, value in enumerate(values) if value == best))


def _group(runs: tuple[Run, ...]) -> Group:
    measured = [(run, results(run).get(name[0])) for run in runs if (name := watched(run))]
    found = [(run, value) for run, value in measured if value is not None]
    fold = runs[0].fold
    if fold is None:
        return Group(runs, tuple(value for _, value in found))
    means = fold_means((str(run.fold), value) for run, value in found)
    return Group(runs, tuple(means.values()), tuple(missing_folds(means, fold.parts)))


def _hashable(value: object) -> Hashable:
    if isinstance(value, dict):
        return frozenset((key, _hashable(item)) for key, item in value.items())
    if isinstance(value, list | tuple):
        return tuple(_hashable(item) for item in value)
    # True == 1 in Python, and not in a configuration
    return (isinstance(value, bool), value) if isinstance(value, Hashable) else repr(value)


def _mode_by_name(name: str) -> Mode | None:
    words = name.lower().split("_")
    if _LESS & set(words):
        return "min"
    return "max" if any(map(_MORE.fullmatch, words)) else None
