"""`maekit sweep`: what it passes on, what it prints, what it refuses, and the script for a cluster, which is run."""

import json
import os
import shlex
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from maekit import cli
from maekit.commands.sweep import seeds_of
from maekit.errors import UserError
from maekit.study.define.definition import Definition
from maekit.study.saved import Study
from maekit.study.work import engine
from maekit.study.work.forks import ForkServer
from tests.study.helpers import decay_of, trial

SMOKE = ("sweep", "--task", "imagenet_finetune", "--recipe", "smoke")
GRID = ("--grid", "optim.layer_decay=0.65,0.75,1")


class FakeEngine:
    """Takes the place of the engine: notes what it was called with and says that every run scored its decay."""

    def __init__(self, state: str = "complete") -> None:
        self.state = state
        self.calls: list[tuple[Definition, Path, dict[str, Any]]] = []

    def __call__(self, definition: Definition, folder: Path, storage: str | None, slots: Any, **options: Any) -> Study:
        say = options.pop("say")
        self.calls.append((definition, folder, {"storage": storage, "slots": [s.name for s in slots], **options}))
        say("begin")
        runs = [
            trial(decay_of(cell), seed, decay_of(cell) + seed, self.state, steps=10, end_step=10, fold=fold)
            for cell, (seed, fold) in definition.runs()
        ]
        return Study(folder, definition, tuple(runs))


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> FakeEngine:
    found = FakeEngine()
    monkeypatch.setattr(engine, "run_study", found)
    monkeypatch.chdir(tmp_path)
    return found


def error_of(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert cli.main(words) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("maekit: ")
    assert err.count("\n") == 1
    return err.removeprefix("maekit: ").strip()


def test_a_study_is_handed_on_and_its_table_printed(fake: FakeEngine, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([*SMOKE, *GRID, "--seeds", "2", "--parallel", "cpu:2", "--model.drop_path", "0.1"]) == 0
    definition, folder, options = fake.calls[0]
    assert folder == Path("studies/imagenet_finetune/smoke/layer_decay")
    assert isinstance(options.pop("server"), ForkServer)
    assert options == {
        "storage": None,
        "slots": ["cpu 1", "cpu 2"],
        "join": False,
        "only": None,
        "retry_failed": False,
    }
    assert [axis.values for axis in definition.space if hasattr(axis, "values")] == [(0.65, 0.75, 1.0)]
    assert (definition.seeds, definition.flags) == ((0, 1), ("--model.drop_path", "0.1"))
    assert definition.fixed["model.drop_path"] == 0.1
    out, err = capsys.readouterr()
    assert err == "begin\n"
    rows = [line.split() for line in out.splitlines()]
    assert rows[0] == ["rank", "layer_decay", "top1", "std", "std", "error", "n"]
    assert rows[1] == ["1", "1.0", "1.500", "0.707", "0.500", "2"]
    assert [row[1] for row in rows[1:4]] == ["1.0", "0.75", "0.65"]


def test_everything_as_json(fake: FakeEngine, capsys: pytest.CaptureFixture[str]) -> None:
    words = [*SMOKE, *GRID, "--seeds", "5,", "--output", "here", "--name", "mine", "--join", "--retry_failed", "--json"]
    assert cli.main([*words, "--storage", "postgresql://me:secret@host/db"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (fake.calls[0][1], fake.calls[0][2]["join"], fake.calls[0][2]["retry_failed"]) == (Path("here"), True, True)
    assert Definition.from_json(found["definition"]) == fake.calls[0][0]
    assert (found["definition"]["name"], found["folder"]) == ("mine", "here")
    assert [cell["values"]["optim.layer_decay"] for cell in found["cells"]] == [1.0, 0.75, 0.65]
    assert found["cells"][0]["by_seed"] == {"5": 6.0}
    assert (found["spent_steps"], found["full_grid_steps"]) == (30, 3 * fake.calls[0][0].max_steps)
    assert "secret" not in json.dumps(found)


def test_a_study_without_any_result_fails(fake: FakeEngine) -> None:
    fake.state = "failed"
    assert cli.main([*SMOKE, *GRID]) == 1


def test_one_run_of_the_grid(fake: FakeEngine, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([*SMOKE, *GRID, "--trial", "8"]) == 0
    assert fake.calls[0][2]["only"] == 8
    capsys.readouterr()
    line = error_of(capsys, *SMOKE, *GRID, "--trial", "9")
    assert line.startswith("--trial: got 9, expected 0 to 8")


def test_a_dry_run_lists_runs_and_steps(fake: FakeEngine, capsys: pytest.CaptureFixture[str]) -> None:
    words = [*SMOKE, *GRID, "--seeds", "2", "--dry_run", "--trainer.max_steps", "90"]
    assert cli.main(words) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "study   layer_decay: imagenet_finetune, recipe smoke, val/top1 (max)"
    assert lines[2].split() == ["90", "steps", "layer_decay=0.65,seed=0"]
    assert len(lines) == 2 + 6 + 1
    assert lines[-1].strip() == "540 steps in all, cells 3 x seeds 2"
    assert cli.main([*words, "--pruner", "halving"]) == 0
    # Three cells to step 30, the best to step 90: (3 x 30 + 60) x 2 seeds.
    assert capsys.readouterr().out.splitlines()[-1].endswith("; halving does 268, 50 %")
    assert cli.main([*words, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["total_steps"] == sum(run["steps"] for run in found["runs"]) == 540
    assert found["runs"][1] == {
        "name": "layer_decay=0.65,seed=1",
        "values": {"optim.layer_decay": 0.65},
        "seed": 1,
        "fold": None,
        "steps": 90,
        "flags": ["--optim.layer_decay=0.65", "--run.seed=1"],
    }
    assert fake.calls == []


def test_a_preset_says_where_its_values_are_from(fake: FakeEngine, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([*SMOKE, "--preset", "layer_decay", "--dry_run", "--seeds", "1"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[2].startswith("preset  not published as such: 0.65 is FB FINETUNE.md's for ViT-B")
    assert [line.split()[-1] for line in lines[3:-1]] == [
        f"layer_decay={d},seed=0" for d in (0.55, 0.65, 0.75, 0.85, 1.0)
    ]


@pytest.mark.parametrize(
    ("given", "seeds"), [("3", (0, 1, 2)), ("1", (0,)), ("0,1,2", (0, 1, 2)), ("7,", (7,)), ("5, 3", (5, 3))]
)
def test_seeds(given: str, seeds: tuple[int, ...]) -> None:
    assert seeds_of(given) == seeds


@pytest.mark.parametrize("given", ["0", "", ",", "-1", "1,1", "a", "1.5", "0,-1"])
def test_seeds_that_are_none(given: str) -> None:
    with pytest.raises(UserError, match=rf"^--seeds: got '{given}'"):
        seeds_of(given)


@pytest.mark.parametrize(
    ("words", "start"),
    [
        ("--girds a=1", "unknown flag '--girds'; did you mean '--grid'"),
        ("--grid optim.layer_decay=1 --seeds 0", "--seeds: got '0', expected how many"),
        ("--grid optim.layer_decay=1 --name ../up", "--name: got '../up'"),
        ("--grid optim.layer_decay=1 --trials 3", "--trials: "),
        ("--grid optim.layer_decay=1 --sampler random", "--sampler random "),
        ("--grid optim.layer_decay=1 --sampler tpe --trials 0", "--sampler tpe "),
        (
            "--grid optim.layer_decay=1 --sampler tpe --trials 3 --pruner halving",
            "--pruner halving ",
        ),
        ("--grid optim.layer_decay=1 --reduction 1", "--reduction: got 1"),
        ("--grid optim.layer_decay=1 --trial 0 --join", "--trial "),
        ("--grid optim.layer_decay=1 --trial -1", "--trial "),
        ("--grid optim.layer_decay=1 --sampler hyperband", "argument --sampler: invalid choice: 'hyperband'"),
        ("--grid optim.layer_decay=1 --parallel gpu", "--parallel: got 'gpu'"),
        ("--grid model.layer_deca=1", "unknown key 'model.layer_deca' to vary; did you mean 'optim.layer_decay'?"),
        ("--preset papr", "--preset: unknown preset 'papr'; did you mean 'paper'?"),
        ("--recipe smok --preset paper", "task imagenet_finetune has no recipe 'smok'; did you mean 'smoke'?"),
    ],
)
def test_what_is_refused(words: str, start: str, fake: FakeEngine, capsys: pytest.CaptureFixture[str]) -> None:
    assert error_of(capsys, *SMOKE, *shlex.split(words)).startswith(start)
    assert fake.calls == []


def test_a_task_whose_layers_have_one_rate(capsys: pytest.CaptureFixture[str]) -> None:
    line = error_of(capsys, "sweep", "--task", "imagenet_linprobe", "--preset", "layer_decay")
    assert line.startswith("--preset layer_decay: not for task imagenet_linprobe: the backbone is frozen")


def script_of(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert cli.main([*SMOKE, *GRID, "--slurm", *words]) == 0
    text = capsys.readouterr().out
    subprocess.run(["bash", "-n"], input=text, text=True, check=True)
    return text


def on_a_cluster(folder: Path, text: str, task: int, **env: str) -> "subprocess.Popen[str]":
    """Runs an array task with a `maekit` and a `scontrol` that write down how they were called."""
    tools = folder / "bin"
    tools.mkdir(exist_ok=True)
    (tools / "maekit").write_text(
        '#!/bin/bash\ntrap \'echo stopped >> called; exit 143\' TERM\nprintf "%s\\n" "$@" > args.new\n'
        'mv args.new args\n[ -z "$LONG" ] || { sleep 20 & wait $!; }\nexit 3\n'
    )
    (tools / "scontrol").write_text('#!/bin/bash\necho "scontrol $*" >> called\n')
    for tool in tools.iterdir():
        tool.chmod(0o755)
    (folder / "job.sh").write_text(text)
    own = {"PATH": f"{tools}:{os.environ['PATH']}", "SLURM_ARRAY_TASK_ID": str(task), "SLURM_ARRAY_JOB_ID": "77", **env}
    return subprocess.Popen(["bash", "job.sh"], cwd=folder, env={**os.environ, **own}, text=True)


def arrived(file: Path) -> bool:
    end = time.monotonic() + 20
    while not file.exists() and time.monotonic() < end:
        time.sleep(0.02)
    return file.exists()


def test_an_array_without_a_database_runs_one_run_a_task(
    fake: FakeEngine, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    text = script_of(capsys, "--parallel", "4", "--run.wandb", "my project", "--run.num_threads=1")
    study = tmp_path / "studies/imagenet_finetune/smoke/layer_decay"
    assert "#SBATCH --array=0-8%4\n" in text
    assert "#SBATCH --signal=B:SIGUSR1@90\n" in text
    assert "#SBATCH --requeue\n" in text
    job = on_a_cluster(tmp_path, text, task=5)
    assert job.wait(20) == 3, "the task's status is maekit's"
    again = [*SMOKE, "--output", str(study)]
    assert (tmp_path / "args").read_text().splitlines()[-2:] == ["--trial", "5"]
    words = (tmp_path / "args").read_text().splitlines()[:-2]
    assert sorted(words) == sorted([*again, *GRID, "--run.wandb", "my project", "--run.num_threads=1"])
    last = text.rstrip().splitlines()[-1]
    assert last.startswith("# Afterwards, to collect the runs and print the table: ")
    assert shlex.split(last.partition(": ")[2]) == ["maekit", *words]


def test_a_task_that_runs_out_of_time_goes_back_into_the_queue(
    fake: FakeEngine, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    job = on_a_cluster(tmp_path, script_of(capsys), task=2, LONG="1")
    assert arrived(tmp_path / "args")
    job.send_signal(signal.SIGUSR1)
    assert job.wait(20) == 0
    assert (tmp_path / "called").read_text() == "stopped\nscontrol requeue 77_2\n"


def test_workers_on_a_database(fake: FakeEngine, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    url = "postgresql://me:secret@host/db"
    text = script_of(capsys, "--storage", url, "--pruner", "halving", "--parallel", "2", "--output", "my study")
    assert "secret" not in text
    assert "#SBATCH --array=0-1\n" in text
    assert on_a_cluster(tmp_path, text, task=0, MAEKIT_STORAGE=url).wait(20) == 3
    first = (tmp_path / "args").read_text().splitlines()
    assert first[-2:] == ["--storage", url]
    assert first[first.index("--output") + 1] == str(tmp_path / "my study")
    assert first[first.index("--pruner") + 1] == "halving"
    (tmp_path / "args").unlink()
    second = on_a_cluster(tmp_path, text.replace("sleep 10", "sleep 0.1"), task=1, MAEKIT_STORAGE=url)
    time.sleep(0.5)
    assert not (tmp_path / "args").exists(), "it waits until the first has made the study"
    (tmp_path / "my study").mkdir()
    (tmp_path / "my study/study.json").write_text("{}")
    assert second.wait(20) == 3
    assert (tmp_path / "args").read_text().splitlines() == [*first, "--join"]


def test_a_database_without_a_password_stands_in_the_script(
    fake: FakeEngine, capsys: pytest.CaptureFixture[str]
) -> None:
    text = script_of(capsys, "--storage", "postgresql://me@host/db", "--seeds", "1")
    assert "--storage postgresql://me@host/db $join &" in text
    assert "#SBATCH --array=0-2\n" in text, "no more workers than runs"


def test_a_cluster_needs_a_database_where_runs_depend_on_each_other(
    fake: FakeEngine, capsys: pytest.CaptureFixture[str]
) -> None:
    line = error_of(capsys, *SMOKE, *GRID, "--slurm", "--pruner", "median")
    assert line.startswith("--slurm: got --pruner median without a database")
    line = error_of(capsys, *SMOKE, *GRID, "--slurm", "--storage", "sqlite:///a.db")
    assert line.startswith("--slurm: got an SQLite file, which machines cannot share")
