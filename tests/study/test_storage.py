"""A study's database: its URL, its retries, and trials that two workers queue, claim and lose at the same time."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import optuna
import pytest
from optuna.exceptions import StorageInternalError
from optuna.samplers import RandomSampler
from optuna.trial import TrialState

from maekit.errors import UserError
from maekit.study.define.space import Choice, Interval
from maekit.study.queue.database import opened, parse_url, shown_url
from maekit.study.queue.retry import DatabaseUnreachable, Stopped, with_retries
from maekit.study.queue.trials import TrialList, TrialSpec, current, distributions, surplus, to_cell, to_parameters
from maekit.study.work.engine import default_url, open_trials
from maekit.system.plain import is_number
from maekit.system.processes import is_gone, owner
from tests.study.helpers import FAST, definition, run, wait_for

SPECS = [TrialSpec({"optim.layer_decay": decay}, seed) for decay in (0.55, 0.65) for seed in (0, 1)]


def test_urls() -> None:
    for given in ("postgresql://me:secret@host:5/x", "postgres://me:secret@host:5/x"):
        assert parse_url(given).render_as_string(hide_password=False) == "postgresql+psycopg://me:secret@host:5/x"
    assert shown_url("postgresql://me:se%2Fcret@host:5/x?sslmode=require") == "postgresql://me@host:5/x?sslmode=require"
    assert shown_url("postgresql://me@host/x?password=secret") == "postgresql://me@host/x"
    assert shown_url("") == ""


@pytest.mark.parametrize(
    ("url", "line"),
    [
        (
            "mysql://me:secret@host/x",
            "--storage: got mysql",
        ),
        ("study.db", "--storage: got no URL"),
        ("sqlite://", "--storage: got sqlite"),
    ],
)
def test_urls_of_nothing_known(tmp_path: Path, url: str, line: str) -> None:
    with pytest.raises(UserError, match=line) as caught:
        run(definition(0.5), tmp_path, url=url)
    assert "secret" not in str(caught.value) and "\n" not in str(caught.value)
    run_after = definition(0.6)  # nothing was begun, so nothing stands against another study here
    assert run(run_after, tmp_path).trials[0]["state"] == "complete"


def never() -> bool:
    return False


def test_an_unreachable_database_is_retried_at_growing_intervals() -> None:
    waits: list[float] = []
    lines: list[str] = []
    failures = [StorageInternalError("away")] * 3
    resets: list[int] = []

    def act() -> str:
        if failures:
            resets.append(len(waits))
            raise failures.pop()
        return "here"

    result = with_retries(
        act, "sqlite:///x", lines.append, never, 20.0, reset=lambda: waits.append(0.0), sleep=lambda s: add(waits, s)
    )
    assert result == "here"
    assert waits == pytest.approx([1, 2, 4])
    assert len(lines) == 2 and all("database" in line for line in lines)
    assert "sqlite:///x" in lines[0] and "(away)" in lines[0] and "20 s" in lines[0]


def add(waits: list[float], seconds: float) -> None:
    waits[-1] += seconds


def test_retries_end() -> None:
    def act() -> None:
        raise StorageInternalError("away")

    with pytest.raises(DatabaseUnreachable, match=r"sqlite:///x .*away"):
        with_retries(act, "sqlite:///x", print, never, 0.3)
    with pytest.raises(Stopped):
        with_retries(act, "sqlite:///x", print, lambda: True, 0.3)
    with pytest.raises(ZeroDivisionError):  # not the database's fault
        with_retries(lambda: 1 / 0, "sqlite:///x", print, never, 0.3)


def test_a_damaged_database_is_not_waited_for(tmp_path: Path) -> None:
    (tmp_path / "study.db").write_bytes(b"no database " * 300)
    with (
        pytest.raises(UserError, match=r"study.db is damaged .*move that file away"),
        opened(default_url(tmp_path), print, never, FAST) as database,
    ):
        open_trials(database, definition(0.55), tmp_path, join=False)


Pair = tuple[TrialList, TrialList]


@pytest.fixture
def two_workers(tmp_path: Path) -> Iterator[Pair]:
    """Two workers' views of one study; the first is a child of this process, which a test may kill."""
    study = definition(0.55, 0.65, seeds=(0, 1))
    with ExitStack() as stack:
        first, second = (stack.enter_context(opened(default_url(tmp_path), print, never, FAST)) for _ in range(2))
        child = stack.enter_context(subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE))
        stack.callback(child.kill)
        yield (
            open_trials(first, study, tmp_path, join=False, worker=owner(child.pid)),
            open_trials(second, study, tmp_path, join=True),
        )


def test_what_two_workers_queue_at_once_is_run_once(two_workers: Pair) -> None:
    first, second = two_workers
    nothing = first.all()
    assert first.add(SPECS, nothing) == 4
    assert second.add(SPECS[:2], nothing) == 2  # it had not seen the first's
    trials = first.all()
    assert [trial.number for trial in current(trials).values()] == [0, 1, 2, 3]
    assert [trial.number for trial in surplus(trials)] == [4, 5]
    assert second.add(SPECS, trials) == 0
    assert first.claim(trials[0]) and not second.claim(trials[0])
    assert first.finish(trials[0], TrialState.COMPLETE, 1.5, {"result": {"steps": 3}})
    assert first.finish(trials[0], TrialState.COMPLETE, 1.5, {})  # a retry, as if the reply had been lost
    assert not second.finish(trials[0], TrialState.FAIL, None, {"reason": "late"})
    found = second.all()[0]
    assert (found.state, found.value, found.user_attrs["result"]) == (TrialState.COMPLETE, 1.5, {"steps": 3})


def test_the_trials_of_a_dead_worker_are_queued_again(two_workers: Pair) -> None:
    first, second = two_workers
    first.add(SPECS[:1], [])
    (trial,) = first.all()
    first.claim(trial)
    first.save(trial, "start", {"step": 3, "seconds": 1.0})
    second.take_from_dead([], alone=False)
    assert first.still_owned([trial]) == [True]
    kill(first.worker)
    second.take_from_dead([], alone=False)
    assert first.still_owned([trial]) == [False]
    assert not first.finish(trial, TrialState.COMPLETE, 1.0, {})
    assert second.add(SPECS[:1], second.all()) == 1
    again = current(second.all())[SPECS[0].key]
    assert (again.number, again.state, again.user_attrs["start"]["step"]) == (1, TrialState.WAITING, 3)
    assert second.claim(again)
    second.release(again)
    assert current(first.all())[SPECS[0].key].state == TrialState.WAITING


def kill(worker: str) -> None:
    os.kill(int(worker.split("|")[3]), signal.SIGKILL)
    wait_for(lambda: is_gone(worker))


def test_cells_as_optuna_keeps_them() -> None:
    space = (Choice("a", ([0.9, 0.95], None, "x", True)), Interval("b", 1e-5, 1e-1, True), Interval("c", 1, 9))
    study = optuna.create_study(sampler=RandomSampler(seed=0))
    for _ in range(20):
        params = study.ask(distributions(space)).params
        cell = to_cell(params, space)
        assert cell["a"] in ([0.9, 0.95], None, "x", True)
        assert is_number(cell["b"]) and 1e-5 <= cell["b"] <= 1e-1
        assert to_parameters(cell, space) == params
        assert type(cell["c"]) is int
