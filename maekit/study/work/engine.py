"""Runs a study with one worker of possibly many: its folder, its database, and what may not be mixed."""

import json
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from optuna.trial import TrialState

from maekit.errors import Interrupted, UserError
from maekit.runs.folder import LOCK
from maekit.study.define.definition import Definition
from maekit.study.queue.database import Database, opened, parse_url
from maekit.study.queue.plans import make_plan
from maekit.study.queue.queue import Queue
from maekit.study.queue.retry import Say, Stopped, Timing
from maekit.study.queue.study_file import study_file
from maekit.study.queue.trials import TrialList, TrialSpec
from maekit.study.saved import Study, read_study
from maekit.study.work.devices import Slot
from maekit.study.work.forks import ForkServer
from maekit.study.work.process import FIT
from maekit.study.work.signals import Signals
from maekit.study.work.worker import Worker
from maekit.system.files import write_json
from maekit.system.processes import host_of, is_gone, try_lock

DATABASE = "study.db"
DEFINITION = "definition.json"


def run_study(
    definition: Definition,
    folder: Path,
    storage_url: str | None,
    slots: Sequence[Slot],
    *,
    say: Say,
    join: bool = False,
    only: int | None = None,
    retry_failed: bool = False,
    timing: Timing = Timing(),  # noqa: B008 - frozen
    fit: Sequence[str] = FIT,
    worker: str | None = None,
    server: ForkServer | None = None,
) -> Study:
    """Runs a study until it is complete, or resumes it; finished trials are not run again.

    Args:
        definition: the study.
        folder: its folder, with `study.json`, and the runs' folders and logs in it.
        storage_url: its database; None or empty: SQLite in the folder.
        slots: one run at a time in each.
        say: prints a line of progress.
        join: work on a study that other workers may be working on.
        only: run only the grid's run of this number, from 0, without a database.
        retry_failed: run failed trials again.
        timing: how often to look at what.
        fit: the command that trains a run.
        worker: this worker's name in the database, as `owner()` makes it; default: this process.
        server: starts runs of `maekit fit`, and is closed at the end; default: one that begins when the first run does.

    Returns:
        The study; with `only`, what is known of that run.

    Raises:
        UserError: another worker is on it and `join` is false; the folder or the database has another study; the
            database is unreachable or refuses.
        Interrupted: a signal came; the runs are saved.
    """
    folder = folder.absolute()
    folder.mkdir(parents=True, exist_ok=True)
    runs = definition.runs()
    if only is not None and not 0 <= only < len(runs):
        raise UserError(f"--trial: got {only}, expected 0 to {len(runs) - 1}: the runs of this grid")
    url = "" if only is not None else storage_url or default_url(folder)
    spec = None
    if only is not None:
        cell, repeat = runs[only]
        spec = TrialSpec(cell, repeat.seed, 0 if definition.pruning == "halving" else None, repeat.fold)
    with _locked(folder, shared=join or only is not None) as alone, Signals() as signals:
        try:
            _check_folder(folder, definition)
            with opened(url, say, signals.received, timing) as database:
                trial_list = open_trials(database, definition, folder, join=join, worker=worker)
                trial_list.take_from_dead([], alone=alone and _is_local(url, folder))
                if not join:
                    _refuse_others(trial_list, folder)
                queue = Queue(trial_list, make_plan(definition), say, spec)
                if retry_failed:
                    queue.retry_failed()
                if not (folder / DEFINITION).is_file():
                    write_json(folder / DEFINITION, definition.as_json())
                Worker(queue, folder, folder / study_file(only), slots, say, signals, fit, server).run()
        except Stopped as stop:
            line = f"stopped by {signals.name} while the database was unreachable; go on with the same command"
            raise Interrupted(line, signals.number) from stop
        finally:
            if signals.number == getattr(signal, "SIGUSR1", None):  # SLURM: the job's time is nearly up
                from maekit.training.callbacks.interruption import requeue

                if requeue():
                    say("the job is back in the queue")
    return read_study(folder, study_file(only))


def open_trials(
    database: Database, definition: Definition, folder: Path, *, join: bool, worker: str | None = None
) -> TrialList:
    """Opens the study in its database, or creates it, and returns its trials.

    Raises:
        UserError: the database has another study of this name; with `join`, it has none.
    """
    study = database.open_study(definition, join=join)
    attributes = database.call(lambda: study.user_attrs)
    if "definition" in attributes:
        _refuse_change(Definition.from_json(attributes["definition"]), definition, database.shown_url or str(folder))
    else:
        database.call(lambda: study.set_user_attr("definition", definition.as_json()))
    return TrialList(database, study, definition.space, worker)


def default_url(folder: Path) -> str:
    """SQLite in the study's folder."""
    return f"sqlite:///{folder.absolute() / DATABASE}"


@contextmanager
def _locked(folder: Path, *, shared: bool) -> Iterator[bool]:
    """Locks a study's folder while the block runs; workers that join share the lock.

    Yields:
        Whether no other process had the lock at the start.

    Raises:
        UserError: another process with this disk works on the study, and `shared` is false.
    """
    with (folder / LOCK).open("a") as file:
        alone = try_lock(file.fileno())
        if not alone and not shared:
            raise UserError(
                f"another process works on the study in {folder}; add --join to work on it with it, or wait"
            )
        try_lock(file.fileno(), shared=True)
        yield alone


def _is_local(url: str, folder: Path) -> bool:
    """Whether the database is in memory or in the study's folder, whose lock then tells who uses it."""
    if not url:
        return True
    parsed = parse_url(url)
    return parsed.get_backend_name() == "sqlite" and Path(parsed.database or "").parent.absolute() == folder


def _check_folder(folder: Path, definition: Definition) -> None:
    """Refuses a folder with another study's runs, also if that study's database is lost."""
    file = folder / DEFINITION
    if not file.is_file():
        return
    try:
        saved = Definition.from_json(json.loads(file.read_text(encoding="utf-8")))
    except ValueError as error:
        raise UserError(f"{file} is damaged ({error}); move the folder away, or give another --output") from error
    _refuse_change(saved, definition, str(folder))


def _refuse_change(saved: Definition, now: Definition, where: str) -> None:
    """Refuses to go on with a study under other settings, or with one made before keys moved to the section `optim`.

    Raises:
        UserError: with up to three of the differences, or a key's new name.
    """
    keys = now.settings()
    for key in saved.settings():
        section, _, name = key.partition(".")
        if section == "model" and f"optim.{name}" in keys:
            raise UserError(
                f"the study in {where} was made by an earlier maekit, whose {key} is optim.{name} now; its report can "
                "still be read, but it cannot be resumed: begin it again with another --output and --name"
            )
    lines = saved.differences(now)
    if lines:
        more = f" and {len(lines) - 3} more" if len(lines) > 3 else ""
        raise UserError(
            f"the study in {where} is another: {'; '.join(lines[:3])}{more}; "
            "give what it was begun with, or another --name"
        )


def _refuse_others(trial_list: TrialList, folder: Path) -> None:
    """Refuses to go on while workers on other machines may be alive."""
    owners = [t.user_attrs.get("owner") for t in trial_list.all() if t.state == TrialState.RUNNING]
    running = [owner for owner in owners if owner is not None]
    hosts = sorted({host_of(owner) for owner in running if not is_gone(owner)})
    if hosts:
        raise UserError(
            f"{len(running)} runs of the study in {folder} are on at {', '.join(hosts)}; add --join to work on it with "
            f"them, or wait (a worker without a heartbeat for {trial_list.database.timing.grace} s counts as dead)"
        )
