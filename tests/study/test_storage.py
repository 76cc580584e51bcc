"""A study's database: its URL, its patience, and trials that two workers make, claim and lose at once."""

import os
import time
from pathlib import Path

import optuna
import pytest
from optuna.exceptions import StorageInternalError
from optuna.samplers import RandomSampler
from optuna.trial import TrialState

from maekit.errors import UserError
from maekit.study.define.space import Choice, Interval
from maekit.study.queue import storage
from maekit.study.queue.storage import Database, DatabaseAway, Stopped, open_database, parse_url, patiently, shown_url
from maekit.study.queue.trials import Board, Leg, cell_of, current, distributions, parameters, surplus
from maekit.study.work.engine import _open_study, create_study, default_url
from maekit.system import parent as orphan
from tests.study.sweep_worker import definition, quick, run

LEGS = [Leg({"model.layer_decay": decay}, seed) for decay in (0.55, 0.65) for seed in (0, 1)]


@pytest.fixture(autouse=True)
def fake(monkeypatch: pytest.MonkeyPatch) -> None:
    quick(monkeypatch.setattr)


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
            "--storage: got mysql, expected postgresql://USER:PASSWORD@HOST/DATABASE, or sqlite",
        ),
        ("study.db", "--storage: got no URL of a database, expected postgresql://"),
        ("sqlite://", "--storage: got sqlite, expected .* sqlite:///FILE"),
    ],
)
def test_urls_of_nothing_known(tmp_path: Path, url: str, line: str) -> None:
    with pytest.raises(UserError, match=line) as caught:
        run(definition(0.5), tmp_path, url=url)
    assert "secret" not in str(caught.value) and "\n" not in str(caught.value)
    run_after = definition(0.6)  # nothing was begun, so nothing stands against another study here
    assert run(run_after, tmp_path).trials[0]["state"] == "complete"


def test_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage, "_sleep", lambda seconds, stopped: waits.append(seconds))
    waits: list[float] = []
    said: list[str] = []
    failures = [StorageInternalError("away")] * 3

    def act() -> str:
        if failures:
            raise failures.pop()
        return "here"

    forgotten: list[int] = []
    assert patiently(act, "sqlite:///x", said.append, lambda: False, lambda: forgotten.append(1)) == "here"
    assert waits == [1, 2, 4] and len(forgotten) == 3 and len(said) == 2
    assert said[0] == "the study's database sqlite:///x does not answer (away); trying again for 20 s"
    assert said[1].startswith("the study's database answers again after 0 s")


def test_patience_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    def act() -> None:
        raise StorageInternalError("away")

    monkeypatch.setattr(storage, "PATIENCE_SECONDS", 0.3)
    with pytest.raises(DatabaseAway, match=r"has not answered for 0 s .away.; nothing is lost"):
        patiently(act, "sqlite:///x", lambda line: None, lambda: False, lambda: None)
    with pytest.raises(Stopped):
        patiently(act, "sqlite:///x", lambda line: None, lambda: True, lambda: None)
    with pytest.raises(ZeroDivisionError):  # not the database's fault
        patiently(lambda: 1 / 0, "sqlite:///x", lambda line: None, lambda: False, lambda: None)


def boards(folder: Path) -> tuple[Board, Board, list[Database]]:
    """Two workers' views of one study."""
    told = definition(0.55, 0.65, seeds=(0, 1))
    create_study(told, folder, None, print)
    databases = [open_database(default_url(folder), print, lambda: False) for _ in range(2)]
    first, second = (Board(one, _open_study(one, told, folder, join=True), told.space) for one in databases)
    second.me = first.me + "0"
    return first, second, databases


def test_what_two_workers_make_at_once_is_done_once(tmp_path: Path) -> None:
    first, second, databases = boards(tmp_path)
    nothing = first.trials()
    assert first.add(LEGS, nothing) == 4
    assert second.add(LEGS[:2], nothing) == 2  # it had not seen the first's
    trials = first.trials()
    assert [trial.number for trial in current(trials).values()] == [0, 1, 2, 3]
    assert [trial.number for trial in surplus(trials)] == [4, 5]
    assert second.add(LEGS, trials) == 0
    assert first.claim(trials[0]) and not second.claim(trials[0])
    assert first.tell(trials[0], TrialState.COMPLETE, 1.5, result={"steps": 3})
    assert first.tell(trials[0], TrialState.COMPLETE, 1.5)  # the answer was lost, not the deed
    assert not second.tell(trials[0], TrialState.FAIL, None, reason="late")
    told = first.trials()[0]
    assert (told.state, told.value, told.user_attrs["result"]) == (TrialState.COMPLETE, 1.5, {"steps": 3})
    for database in databases:
        database.close()


def test_the_trials_of_a_dead_worker_are_taken_up_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second, databases = boards(tmp_path)
    first.add(LEGS[:1], [])
    (trial,) = first.trials()
    first.claim(trial)
    first.note(trial, "start", {"step": 3, "seconds": 1.0})
    second.free_lost([], alone=False)
    assert first.still_mine([trial]) == [True]
    monkeypatch.setattr("maekit.study.queue.trials.is_gone", lambda owner: owner == first.me)
    second.free_lost([], alone=False)
    assert first.still_mine([trial]) == [False]
    assert not first.tell(trial, TrialState.COMPLETE, 1.0)
    assert second.add(LEGS[:1], second.trials()) == 1
    again = current(second.trials())[LEGS[0].key]
    assert (again.number, again.state, again.user_attrs["start"]["step"]) == (1, TrialState.WAITING, 3)
    assert second.claim(again)
    second.release(again)
    assert current(first.trials())[LEGS[0].key].state == TrialState.WAITING
    for database in databases:
        database.close()


def test_cells_as_optuna_keeps_them() -> None:
    space = (Choice("a", ([0.9, 0.95], None, "x", True)), Interval("b", 1e-5, 1e-1, True), Interval("c", 1, 9))
    study = optuna.create_study(sampler=RandomSampler(seed=0))
    for _ in range(20):
        params = study.ask(distributions(space)).params
        cell = cell_of(params, space)
        assert cell["a"] in ([0.9, 0.95], None, "x", True) and 1e-5 <= cell["b"] <= 1e-1 and isinstance(cell["c"], int)
        assert parameters(cell, space) == params


def test_a_run_whose_study_is_gone_stops(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[tuple[int, int]] = []
    parents = iter([os.getpid(), os.getpid(), 1])  # this process plays its own parent, and then is gone
    monkeypatch.setattr(orphan, "_EVERY_SECONDS", 0.01)
    monkeypatch.setattr(os, "getppid", lambda: next(parents))
    monkeypatch.setattr(os, "kill", lambda *words: told.append(words))
    monkeypatch.setenv(orphan.PARENT, str(os.getpid()))
    orphan.watch()
    assert orphan.PARENT not in os.environ  # not for what this process starts
    for _ in range(100):
        if told:
            break
        time.sleep(0.01)
    assert told == [(os.getpid(), 15)]
