"""A study on a real PostgreSQL server: two workers, a server that is away for a while, one that does not return."""

import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from maekit.errors import UserError
from maekit.study.results import cell_results
from maekit.study.saved import read_study
from maekit.system.processes import host_of, owner
from tests.study.helpers import FAST, begin, definition, run, starts, wait_for_line
from tests.study.postgres import PASSWORD, QUOTED, Server

SLOW = {"FAKE_SLEEP": "0.1"}


def found(folder: Path) -> list[tuple[str, ...]]:
    """What a study found; what a run cost depends on whether its worker had its first part at hand."""
    keys = ("values", "seed", "rung", "state", "value", "end_step", "reason")
    rows = json.loads((folder / "study.json").read_text())["trials"]
    return sorted(tuple(str(row[key]) for key in keys) for row in rows)


def test_two_workers_share_a_study(postgres: Server, tmp_path: Path) -> None:
    made = definition(0.55, 0.65, 0.75, seeds=(0, 1), pruning="halving", reduction=2)
    url = postgres.url()
    with begin(made, tmp_path / "a", url=url, env=SLOW) as first:
        head = wait_for_line(first, "begin")
        with begin(made, tmp_path / "b", url=url, join=True, env=SLOW) as second:
            out = ["\n".join(head) + first.communicate(timeout=60)[0], second.communicate(timeout=60)[0]]
    assert (first.returncode, second.returncode) == (0, 0), out
    run(made, tmp_path / "c")
    assert found(tmp_path / "a") == found(tmp_path / "b") == found(tmp_path / "c")
    did = [starts(tmp_path / "a"), starts(tmp_path / "b")]
    assert all(did), did  # both worked, in folders of their own
    assert len(read_study(tmp_path / "a").trials) == 8
    text = "".join(out) + "".join(path.read_text(errors="replace") for path in tmp_path.rglob("*.json"))
    assert PASSWORD not in text and QUOTED not in text and "***" not in text


def test_a_server_that_is_away_for_a_while(postgres: Server, tmp_path: Path) -> None:
    made = definition(0.55, 0.65)
    with begin(made, tmp_path, url=postgres.url(), env=SLOW) as worker:
        lines = wait_for_line(worker, "begin")
        postgres.stop()
        lines += wait_for_line(worker, "does not answer")
        time.sleep(1.5)  # the child comes to its end meanwhile
        postgres.start()
        lines += worker.communicate(timeout=60)[0].splitlines()
    assert worker.returncode == 0, lines
    assert sum("does not answer" in line for line in lines) == 1 and sum("answers again" in line for line in lines) == 1
    assert PASSWORD not in "".join(lines) and QUOTED not in "".join(lines)
    assert set(starts(tmp_path).values()) == {1}
    assert [result.num_finished for result in cell_results(read_study(tmp_path))] == [1, 1]


def test_a_server_that_does_not_return(postgres: Server, tmp_path: Path) -> None:
    made, url = definition(0.55, 0.65), postgres.url()
    with begin(made, tmp_path, url=url, env={"FAKE_SLEEP": "0.8"}, retry=1.5) as worker:
        wait_for_line(worker, "begin")
        with pytest.raises(
            UserError, match=r"1 runs of the study in .* are on at .*; add --join to work on it with them"
        ):
            run(made, tmp_path / "other", url=url)
        postgres.stop()
        out, _ = worker.communicate(timeout=60)
    assert worker.returncode == 2
    last = out.splitlines()[-1]
    assert last.startswith("maekit: the study's database postgresql://maekit@127.0.0.1:"), out
    assert "nothing is lost" in last and "give the same command again" in last
    saved = json.loads(next(tmp_path.rglob("last.ckpt")).read_text())["step"]
    assert 0 < saved < 9
    postgres.start()
    study = run(made, tmp_path, url=url)
    assert [trial["state"] for trial in study.trials] == ["complete", "complete"]
    assert starts(tmp_path) == {"layer_decay=0.55,seed=0": 2, "layer_decay=0.65,seed=0": 1}  # gone on with


def test_the_trials_of_a_dead_machine_are_taken_after_the_grace_period(postgres: Server, tmp_path: Path) -> None:
    made, url = definition(0.55), postgres.url()
    elsewhere = "elsewhere|pid:[1]|boot|1|1"  # nothing but its heartbeats is known of a process on another machine
    options: dict[str, Any] = {"url": url, "env": {"FAKE_SLEEP": "5"}, "heartbeat": 1, "grace": 2, "worker": elsewhere}
    with begin(made, tmp_path / "other", **options) as other:
        wait_for_line(other, "begin")
        other.kill()
        other.communicate()
    timing = replace(FAST, heartbeat=1, grace=2)
    study = run(made, tmp_path / "mine", url=url, join=True, timing=timing)
    assert study.trials[0]["state"] == "complete" and study.trials[0]["host"] == host_of(owner())


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ("password", "refuses: .*password authentication failed"),
        ("database", "refuses: .*does not exist"),
    ],
)
def test_a_refusal_is_not_retried(postgres: Server, tmp_path: Path, change: str, line: str) -> None:
    url = postgres.url()
    url = url.replace(QUOTED, "wrong") if change == "password" else url + "x"
    with pytest.raises(UserError, match=line) as caught:
        run(definition(0.55), tmp_path, url=url)
    assert "\n" not in str(caught.value) and QUOTED not in str(caught.value) and PASSWORD not in str(caught.value)


def test_join_needs_a_study(postgres: Server, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no study 'made/small/study' in .* to --join; begin it without --join"):
        run(definition(0.55), tmp_path, url=postgres.url(), join=True)
