"""Runs a study: one worker of any number, each with its slots, its children and the trials they do."""

import json
import signal
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import optuna
from optuna.samplers import RandomSampler
from optuna.study import StudyDirection
from optuna.trial import TrialState

from maekit.errors import Interrupted, UserError
from maekit.runs.folder import LOCK
from maekit.study.define.definition import Definition
from maekit.study.queue.pruning import make_plan
from maekit.study.queue.queue import Queue
from maekit.study.queue.storage import Database, Say, Stopped, open_database, parse_url
from maekit.study.queue.trials import Board, Leg
from maekit.study.results import Study, read_study
from maekit.study.study_file import file_of
from maekit.study.work.devices import Slot
from maekit.study.work.signals import Signals
from maekit.study.work.worker import Worker
from maekit.system import processes as lease
from maekit.system.files import write_json
from maekit.system.processes import host_of, is_gone, try_lock

DATABASE = "study.db"
_DEFINITION = "definition.json"


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
) -> Study:
    """Runs a study to its end, or goes on with it: what is done already is not done again.

    Args:
        definition: the study.
        folder: its folder, with `study.json`, and the runs' folders and logs below.
        storage_url: its database; None or empty: SQLite in the folder.
        slots: where runs may be at the same time, one in each.
        say: prints a line of the study's story.
        join: work on a study that other workers may be working on.
        only: run the grid's run of this number, from 0, and no other, without a database.
        retry_failed: runs that failed get another try.

    Returns:
        The study as its folder tells it; with `only`, what is known of that run.

    Raises:
        UserError: another worker is on it and `join` is false; it is another study than the one of this folder or
            database; its database is away or refuses.
        Interrupted: a signal; the runs are saved.
    """
    folder = folder.absolute()
    folder.mkdir(parents=True, exist_ok=True)
    if only is not None and not 0 <= only < len(definition.runs()):
        raise UserError(f"--trial: got {only}, expected 0 to {len(definition.runs()) - 1}: the runs of this grid")
    url = "" if only is not None else storage_url or default_url(folder)
    with held(folder, shared=join or only is not None) as alone, Signals() as signals:
        try:
            check_folder(folder, definition)
            with closing(open_database(url, say, signals.came)) as database:
                board = Board(database, _open_study(database, definition, folder, join=join), definition.space)
                board.free_lost([], alone=alone and _is_own(url, folder))
                if not join:
                    _refuse_others(board, folder)
                queue = Queue(board, make_plan(definition), say, _leg(definition, only))
                if retry_failed:
                    queue.retry_failed()
                keep_definition(folder, definition)
                Worker(queue, folder, folder / file_of(only), slots, say, signals).run()
        except Stopped as stop:
            line = f"stopped by {signals.said} while the database was away; go on with the same command"
            raise Interrupted(line, signals.number) from stop
        finally:
            _requeue(signals, say)
    return read_study(folder, file_of(only))


def _leg(definition: Definition, only: int | None) -> Leg | None:
    if only is None:
        return None
    cell, seed = definition.runs()[only]
    return Leg(cell, seed, 0 if definition.pruning == "halving" else None)


def _requeue(signals: Signals, say: Say) -> None:
    """A SLURM job whose time is up goes back into the queue."""
    if signals.number == getattr(signal, "SIGUSR1", None):
        from maekit.training.callbacks.interruption import requeue

        if requeue():
            say("the job is back in the queue")


def create_study(definition: Definition, folder: Path, storage_url: str | None, say: Say) -> None:
    """Makes a study in its database without running anything, so that workers can join it at once.

    Raises:
        UserError: as `run_study`.
    """
    folder = folder.absolute()
    folder.mkdir(parents=True, exist_ok=True)
    check_folder(folder, definition)
    with closing(open_database(storage_url or default_url(folder), say, lambda: False)) as database:
        _open_study(database, definition, folder, join=False)


def default_url(folder: Path) -> str:
    """SQLite in the study's folder."""
    return f"sqlite:///{folder.absolute() / DATABASE}"


def study_name(definition: Definition) -> str:
    """The study's name in a database that may hold others."""
    return f"{Path(definition.task).stem}/{definition.recipe}/{definition.name}"


@contextmanager
def held(folder: Path, *, shared: bool) -> Iterator[bool]:
    """Holds a study's folder; those that join share it.

    Yields:
        Whether nobody else had it when this began.

    Raises:
        UserError: another process of this machine, or of one with the same disk, works on the study.
    """
    with (folder / LOCK).open("a") as file:
        alone = try_lock(file.fileno())
        if not alone and not shared:
            raise UserError(
                f"another process works on the study in {folder}; add --join to work on it with it, or wait"
            )
        try_lock(file.fileno(), shared=True)
        yield alone


def _is_own(url: str, folder: Path) -> bool:
    if not url:
        return True
    parsed = parse_url(url)
    return parsed.get_backend_name() == "sqlite" and Path(parsed.database or "").parent.absolute() == folder


def check_folder(folder: Path, definition: Definition) -> None:
    """Refuses a folder that another study's runs are in; a lost database must not let them be mixed.

    Raises:
        UserError: with the differences.
    """
    file = folder / _DEFINITION
    if not file.is_file():
        return
    try:
        kept = Definition.from_json(json.loads(file.read_text(encoding="utf-8")))
    except ValueError as error:
        raise UserError(f"{file} is damaged ({error}); move the folder away, or give another --output") from error
    refuse_change(kept, definition, str(folder))


def keep_definition(folder: Path, definition: Definition) -> None:
    """Keeps the definition in a study's new folder."""
    if not (folder / _DEFINITION).is_file():
        write_json(folder / _DEFINITION, definition.as_json())


def refuse_change(kept: Definition, now: Definition, where: str) -> None:
    """Refuses to go on with a study as another than it was begun as.

    Raises:
        UserError: with the differences.
    """
    lines = kept.differences(now)
    if lines:
        more = f" and {len(lines) - 3} more" if len(lines) > 3 else ""
        raise UserError(
            f"the study in {where} is another: {'; '.join(lines[:3])}{more}; "
            "give what it was begun with, or another --name"
        )


def _open_study(database: Database, definition: Definition, folder: Path, *, join: bool) -> optuna.Study:
    name, storage = study_name(definition), database.storage
    direction = StudyDirection.MAXIMIZE if definition.mode == "max" else StudyDirection.MINIMIZE

    def make() -> optuna.Study:
        if join and name not in [one.study_name for one in storage.get_all_studies()]:
            raise UserError(f"no study '{name}' in {database.shown} to --join; begin it without --join")
        return optuna.create_study(
            study_name=name, storage=storage, sampler=RandomSampler(), direction=direction, load_if_exists=True
        )

    study = database.call(make)
    known: dict[str, Any] = database.call(lambda: study.user_attrs)
    if "definition" in known:
        refuse_change(Definition.from_json(known["definition"]), definition, database.shown or str(folder))
    else:
        database.call(lambda: study.set_user_attr("definition", definition.as_json()))
    return study


def _refuse_others(board: Board, folder: Path) -> None:
    running = [trial for trial in board.trials() if trial.state == TrialState.RUNNING and "owner" in trial.user_attrs]
    hosts = sorted({host_of(trial.user_attrs["owner"]) for trial in running if not is_gone(trial.user_attrs["owner"])})
    if hosts:
        raise UserError(
            f"{len(running)} runs of the study in {folder} are on at {', '.join(hosts)}; add --join to work on it with "
            f"them, or wait (a machine that died is given up after {lease.GRACE_SECONDS} s without a sign)"
        )
