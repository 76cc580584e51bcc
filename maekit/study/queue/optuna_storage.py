"""Every use of Optuna beyond its documented names, with the reason for each; no other file has any (a test checks).

Optuna runs a study's trials inside its own process and picks the next trial itself. Here a trial is another process,
which may outlive the worker that started it, and the worker picks the trial. That needs methods of the storage that
are public by name but documented as "not supposed to be directly accessed by library users". They are the same in
Optuna 4.3 and 5.0; `check_version` refuses versions outside `optuna>=4.3,<6`.
"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeAlias

import optuna
from optuna.pruners import MedianPruner
from optuna.storages import InMemoryStorage, RDBStorage, fail_stale_trials
from optuna.trial import FrozenTrial, TrialState

from maekit.errors import UserError

OLDEST, TOO_NEW = (4, 3), (6, 0)
Storage: TypeAlias = InMemoryStorage | RDBStorage


def check_version(version: str = optuna.__version__) -> None:
    """Checks that Optuna has a version that this file is written for.

    Raises:
        UserError: an older or a newer one.
    """
    found = tuple(int(part) for part in version.split(".")[:2])
    if not OLDEST <= found < TOO_NEW:
        raise UserError(f"got optuna {version}, expected optuna>=4.3,<6; pip install 'optuna>=4.3,<6'")


def open_storage(url: str, engine: dict[str, object], heartbeat_seconds: int, grace_seconds: int) -> Storage:
    """Connects to a database, and creates Optuna's tables in it if they are missing.

    Args:
        url: SQLAlchemy's, with the password; braces doubled.
        engine: arguments of SQLAlchemy's `create_engine`.
        heartbeat_seconds: between two heartbeats of a trial.
        grace_seconds: after that long without one, a trial's worker counts as dead.
    """
    with no_experimental_warnings():  # heartbeats are documented, but experimental
        return RDBStorage(url, engine_kwargs=engine, heartbeat_interval=heartbeat_seconds, grace_period=grace_seconds)


def in_memory() -> Storage:
    """A database that ends with this process, for one run of a grid."""
    return InMemoryStorage()


def end_session(storage: Storage) -> None:
    """Drops this thread's connection, so that the next call makes a new one.

    Not documented: after a lost connection SQLAlchemy's session stays broken, and Optuna never drops it itself.
    """
    storage.remove_session()


def close(storage: Storage) -> None:
    """Closes all connections. Not documented: `engine`; without it connections stay open until the process ends."""
    end_session(storage)
    if isinstance(storage, RDBStorage):
        storage.engine.dispose()


def set_state(storage: Storage, trial: FrozenTrial, state: TrialState, value: float | None = None) -> bool:
    """Changes a trial's state. One worker alone succeeds in changing it from WAITING to RUNNING.

    Not documented: `Study.ask` claims whichever trial is next, and `Study.tell` cannot put a trial back into the queue.

    Returns:
        Whether it was changed; False if another worker was first.

    Raises:
        UpdateFinishedTrialError: the trial has ended.
    """
    values = None if value is None else [value]
    return storage.set_trial_state_values(trial._trial_id, state, values)


def set_attribute(storage: Storage, trial: FrozenTrial, key: str, value: object) -> None:
    """Saves a plain value with a trial that has not ended.

    Not documented: `Trial.set_user_attr` needs a Trial, and only `Study.ask` makes one.
    """
    storage.set_trial_user_attr(trial._trial_id, key, value)


def set_metric(storage: Storage, trial: FrozenTrial, step: int, value: float) -> None:
    """Saves the metric at a step of a running trial. Not documented: as `set_attribute`, of `Trial.report`."""
    storage.set_trial_intermediate_value(trial._trial_id, step, value)


def record_heartbeat(storage: Storage, trial: FrozenTrial) -> None:
    """Records, by the database's clock, that a trial's worker is alive.

    Not documented: Optuna beats from a thread inside `Study.optimize`, which is not used here.
    """
    if isinstance(storage, RDBStorage):
        storage.record_heartbeat(trial._trial_id)


def fail_silent_trials(study: optuna.Study) -> None:
    """Sets running trials without a heartbeat for the grace period to FAIL. Documented, but experimental."""
    with no_experimental_warnings():
        fail_stale_trials(study)


def is_below_median(study: optuna.Study, trial: FrozenTrial) -> bool:
    """Whether a run's best value so far is worse than the median of the finished runs at its last step.

    Not documented: `Trial.should_prune` asks the pruner, and needs a Trial.
    """
    return MedianPruner().prune(study, trial)


@contextmanager
def no_experimental_warnings() -> Iterator[None]:
    """Silences Optuna's warnings that a documented feature is experimental."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        yield
