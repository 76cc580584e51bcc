"""Studies on a stand-in for `maekit fit`: what is run, reported, resumed and refused, and how it stops."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from maekit.errors import UserError
from maekit.study.define.space import Choice, Interval
from maekit.study.saved import read_study
from maekit.study.text_table import text_table
from maekit.study.work.devices import Slot
from maekit.study.work.process import FIT, Ended, Process, environment, error_line
from tests.conftest import TINY
from tests.study.fake_fit import value
from tests.study.helpers import (
    FAST,
    Child,
    begin,
    begins,
    decay_of,
    definition,
    rows,
    run,
    starts,
    wait_for,
    wait_for_line,
)

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals and locks are those of Unix")


def expected(decay: float, seed: int) -> float:
    """What the stand-in measures at its end."""
    return value({"optim.layer_decay": str(decay), "run.seed": str(seed)}, 9)


def test_a_grid(tmp_path: Path) -> None:
    made = definition(0.55, 0.75, seeds=(0, 3))
    lines: list[str] = []
    study = run(made, tmp_path, lines, slots=2)
    pairs = [(decay_of(trial["values"]), trial["seed"]) for trial in study.trials]
    assert pairs == [(0.55, 0), (0.55, 3), (0.75, 0), (0.75, 3)]
    assert [trial["value"] for trial in study.trials] == [expected(*pair) for pair in pairs]
    first = study.trials[0]
    assert {key: first[key] for key in ("state", "steps", "end_step", "seconds", "rung", "reason")} == {
        **{"state": "complete", "steps": 9, "end_step": 9},
        **{"seconds": 4.5, "rung": None, "reason": None},
    }
    assert first["intermediate"]["4"] == value({"optim.layer_decay": "0.55", "run.seed": "0"}, 4)
    assert first["folder"] == "runs/made/small/layer_decay=0.55,seed=0"
    assert (tmp_path / first["folder"] / "metrics.json").is_file()
    assert (tmp_path / "logs" / "layer_decay=0.55,seed=0.log").is_file()
    assert "cpu 2" in "".join(lines)  # two at a time
    before = (tmp_path / "study.json").read_text()
    run(made, tmp_path, slots=2)  # nothing is left to do
    assert set(starts(tmp_path).values()) == {1}
    assert json.loads(before)["trials"] == rows(tmp_path)


def test_failures_do_not_stop_a_study(tmp_path: Path) -> None:
    made = definition(2, 3, 4, 0.75)
    study = run(made, tmp_path, slots=2)
    assert [(trial["state"], trial["value"], trial["reason"]) for trial in study.trials] == [
        ("failed", None, "val/top1 is NaN"),
        ("failed", None, "out of memory on the device: made up; halve --data.device_batch_size"),
        ("failed", None, "killed by SIGKILL 3 times without getting further; out of memory?"),
        ("complete", expected(0.75, 0), None),
    ]
    before = starts(tmp_path)
    assert before["layer_decay=4,seed=0"] == 1  # the folder was cleared each time: nothing had been saved
    run(made, tmp_path)
    assert starts(tmp_path) == before
    lines: list[str] = []
    run(made, tmp_path, lines, retry_failed=True)
    assert sum(line.startswith("failed") for line in lines) == 3 and not any("0.75" in line for line in lines)


def test_a_changed_study_is_refused(tmp_path: Path) -> None:
    run(definition(0.55), tmp_path)
    changed = definition(0.55, fixed={"optim.weight_decay": 0.1})
    match = r"optim.weight_decay: 0.05 in the study, 0.1 now"
    with pytest.raises(UserError, match=match):
        run(changed, tmp_path)
    (tmp_path / "study.db").unlink()  # the folder remembers it too
    with pytest.raises(UserError, match=match):
        run(changed, tmp_path)
    study = run(definition(0.55), tmp_path)  # read from the run's folder, and not run again
    assert study.trials[0]["value"] == expected(0.55, 0) and set(starts(tmp_path).values()) == {1}


def test_one_run_of_the_grid_without_a_database(tmp_path: Path) -> None:
    made = definition(0.55, 0.75, seeds=(0, 1))
    study = run(made, tmp_path, only=2)
    assert starts(tmp_path) == {"layer_decay=0.75,seed=0": 1} and not (tmp_path / "study.db").exists()
    assert [trial["state"] for trial in study.trials] == ["waiting", "waiting", "complete", "waiting"]
    with pytest.raises(UserError, match="--trial: got 4, expected 0 to 3"):
        run(made, tmp_path, only=4)
    run(made, tmp_path)  # collects it
    assert set(starts(tmp_path).values()) == {1} and len(starts(tmp_path)) == 4
    whole = (tmp_path / "study.json").read_text()
    assert run(made, tmp_path, only=1).trials[1]["state"] == "complete"
    assert (tmp_path / "study.json").read_text() == whole  # other tasks of the array may be writing it


def test_random_cells_do_not_depend_on_who_draws_them(tmp_path: Path) -> None:
    space = (Interval("optim.layer_decay", 0.5, 1.0), Choice("optim.lr", (0.001, 0.002)))
    made = definition(space=space, sampler="random", num_cells=3, seeds=(0, 1))
    study = run(made, tmp_path / "a", slots=2)
    again = run(made, tmp_path / "b", only=None)
    assert [trial["values"] for trial in study.trials] == [trial["values"] for trial in again.trials]
    cells = [trial["values"] for trial in study.trials[::2]]
    assert len(cells) == 3 and all(0.5 <= decay_of(cell) <= 1 for cell in cells)
    assert all(trial["value"] is not None for trial in study.trials)


def test_tpe_draws_towards_what_was_good(tmp_path: Path) -> None:
    made = definition(space=(Choice("optim.layer_decay", (0.5, 0.7)),), sampler="tpe", num_cells=5, seeds=(0, 1))
    study = run(made, tmp_path, slots=2)
    assert sorted({decay_of(trial["values"]) for trial in study.trials}) == [0.5, 0.7]  # there are no more
    assert len(study.trials) == 4 and all(trial["state"] == "complete" for trial in study.trials)
    assert run(made, tmp_path).trials == study.trials


def test_ctrl_c_stops_the_runs_in_order(tmp_path: Path) -> None:
    made = definition(0.55, 0.75)
    with begin(made, tmp_path, env={"FAKE_SLEEP": "0.3"}) as study:
        wait_for_line(study, "begin")
        wait_for(lambda: any(tmp_path.rglob("last.ckpt")))
        study.send_signal(signal.SIGINT)
        out, _ = study.communicate(timeout=30)
    assert study.returncode == 130
    assert "maekit: stopped by Ctrl-C; 1 runs were on, 1 of them saved; go on with the same command" in out
    assert "stopped by SIGTERM" in (tmp_path / "logs" / "layer_decay=0.55,seed=0.log").read_text()
    assert rows(tmp_path)[0]["state"] == "waiting"
    run(made, tmp_path)
    assert starts(tmp_path) == {"layer_decay=0.55,seed=0": 2, "layer_decay=0.75,seed=0": 1}
    assert [row["value"] for row in rows(tmp_path)] == [expected(0.55, 0), expected(0.75, 0)]
    assert [row["steps"] for row in rows(tmp_path)] == [9, 9]


def test_two_studies_in_one_folder(tmp_path: Path) -> None:
    made = definition(0.55, 0.65)
    with begin(made, tmp_path, env={"FAKE_SLEEP": "0.3"}) as first:
        wait_for_line(first, "begin")
        with pytest.raises(UserError, match=r"another process works on the study in .*; add --join"):
            run(made, tmp_path)
        lines: list[str] = []
        run(made, tmp_path, lines, join=True)
        first.communicate(timeout=30)
    assert set(starts(tmp_path).values()) == {1} and len(starts(tmp_path)) == 2
    assert sum(line.startswith("done") for line in lines) == 1


def test_killed_at_random_moments_it_ends_with_the_same_table(tmp_path: Path) -> None:
    """`kill -9` of the study and of its runs, again and again."""
    made, chance = definition(0.55, 0.65, 0.75, seeds=(0, 1)), random.Random(0)
    kills = 0
    for _ in range(3):
        with begin(made, tmp_path / "killed", env={"FAKE_SLEEP": "0.1"}, slots=2) as study:
            if not begins(study):
                break
            time.sleep(chance.uniform(0, 0.8))
            kills += kill_children(study)  # taken up again at once
            time.sleep(chance.uniform(0, 0.8))
            study.kill()
            study.communicate()
    assert kills
    run(made, tmp_path / "killed", slots=2)
    run(made, tmp_path / "undisturbed", slots=2)
    tables = [text_table(read_study(tmp_path / name)) for name in ("killed", "undisturbed")]
    assert tables[0] == tables[1]
    assert [row["intermediate"] for row in rows(tmp_path / "killed")] == [
        row["intermediate"] for row in rows(tmp_path / "undisturbed")
    ]


def test_a_run_whose_study_was_killed_is_waited_for(tmp_path: Path) -> None:
    """A run whose study was killed saves and stops by itself; until then nobody else is in its folder."""
    made = definition(0.55)
    with begin(made, tmp_path, env={"FAKE_SLEEP": "2"}) as study:
        wait_for_line(study, "begin")
        wait_for(lambda: any(tmp_path.rglob("starts.txt")))
        study.kill()
        study.communicate()
    lines: list[str] = []
    run(made, tmp_path, lines)
    assert [line.split()[0] for line in lines] == ["wait", "begin", "done"] or lines[1].startswith("resume"), lines
    log = (tmp_path / "logs" / "layer_decay=0.55,seed=0.log").read_text()
    assert "stopped by SIGTERM" in log


def test_the_end_of_a_killed_run_is_reported_once(tmp_path: Path) -> None:
    """A data-loading worker has the folder's lock too, and ends a moment after the run that was killed."""
    forks = "import os, time; time.sleep(60 if os.fork() else 1.5)"
    process = Process(tmp_path / "run", tmp_path / "log", [], Slot("cpu", {}), [sys.executable, "-c", forks])
    assert process.start()
    assert process.child is not None
    time.sleep(0.5)
    os.kill(process.child.pid, signal.SIGKILL)
    wait_for(lambda: process.poll() is not None)
    assert process.poll() == Ended("killed", "killed by SIGKILL")
    assert not process.start()
    assert process.poll() is None  # it waits; its end was reported
    wait_for(process.start)
    process.kill()
    wait_for(lambda: process.poll() is not None)


def test_what_a_run_inherits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.setenv("MAEKIT_RUN_FOLDER", "elsewhere")
    env = environment(Slot("cuda:1", {"CUDA_VISIBLE_DEVICES": "1"}))
    assert env["CUDA_VISIBLE_DEVICES"] == "1" and env["MAEKIT_STOP_WITHOUT_PARENT"] == str(os.getpid())
    assert not {"SLURM_RESTART_COUNT", "SLURM_JOB_ID", "MAEKIT_RUN_FOLDER"} & set(env)


def test_why_a_run_failed(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_bytes(b"maekit: an old reason\nstep 1\rstep 2\nmaekit: the reason\nTraceback: none\n\n")
    assert error_line(log) == "the reason"
    assert error_line(log, start=len(b"maekit: an old reason\n")) == "the reason"
    log.write_bytes(b"maekit: an old reason\nBus error\n")
    assert error_line(log, start=len(b"maekit: an old reason\n")) == "Bus error"
    assert error_line(tmp_path / "none") == ""


@pytest.mark.slow
def test_the_real_fit_killed_at_random_moments(tmp_path: Path) -> None:
    flags = (*TINY, "--trainer.max_steps=60", "--trainer.val_check_interval=15")
    made = definition(0.65, 1.0, task="imagenet_finetune", recipe="smoke", flags=flags, max_steps=60)
    timing = replace(FAST, refresh=1.0)
    chance, killed = random.Random(0), 0
    for _ in range(4):
        with begin(made, tmp_path / "killed", real=True) as study:
            if not begins(study):
                break
            time.sleep(chance.uniform(0, 2))
            killed += kill_children(study)
            time.sleep(chance.uniform(0, 3))
            study.kill()
            study.communicate()
    assert killed
    run(made, tmp_path / "killed", timing=timing, fit=FIT)
    run(made, tmp_path / "undisturbed", timing=timing, fit=FIT)
    keys = ("values", "seed", "state", "value", "best", "steps", "end_step", "intermediate")
    found = [[{key: row[key] for key in keys} for row in rows(tmp_path / name)] for name in ("killed", "undisturbed")]
    assert found[0] == found[1] and [row["state"] for row in found[0]] == ["complete", "complete"]


def kill_children(parent: Child) -> int:
    """Kills the runs that a study has started, which a server of its own forks; returns how many there were."""
    numbers = [run for server in children_of(parent.pid) for run in children_of(server)] or children_of(parent.pid)
    for number in numbers:
        with suppress(ProcessLookupError):  # it has just ended
            os.kill(number, signal.SIGKILL)
    return len(numbers)


def children_of(process: int) -> list[int]:
    found = subprocess.run(["ps", "-o", "pid=", "--ppid", str(process)], capture_output=True, text=True, check=False)
    return [int(word) for word in found.stdout.split()]
