"""What `maekit runs` says of runs that are running, have ended, or were cut short."""

import json
import shlex
import sys
from pathlib import Path

import pytest

from maekit.cli import main
from maekit.errors import Interrupted, UserError
from maekit.runs.listing.choose import since_of
from maekit.runs.listing.rows import RunRow
from maekit.runs.listing.state import state_of
from maekit.runs.listing.table import age, named, size_text, text_table
from maekit.runs.lock import only_writer
from maekit.runs.read import Run
from maekit.runs.rows import last_step_of
from tests.helpers_run import error_line
from tests.runs.listing.helpers import make, writer

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="locks are those of Unix")


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Four runs of two tasks, and one of a study."""
    monkeypatch.chdir(tmp_path)
    top = tmp_path / "runs"
    make(top / "flowers/base/0", 80.0, second=1_000_000_100)
    make(top / "flowers/base/1", 90.0, second=1_000_000_300)
    make(top / "flowers/smoke/0", 0.5, mode="min", status="paused", data="/data/coins", second=1_000_000_200)
    make(top / "birds/base/own", None, status=None, second=1_000_000_400)
    make(tmp_path / "studies/flowers/base/decay/runs/flowers/base/decay=0.5", 99.0)
    (tmp_path / "studies/flowers/base/decay/study.json").write_text("{}")
    return top


def listed(capsys: pytest.CaptureFixture[str], *words: str) -> list[dict[str, object]]:
    capsys.readouterr()
    assert main(["runs", *words, "--json"]) == 0
    found: list[dict[str, object]] = json.loads(capsys.readouterr().out)
    return found


def test_the_list_holds_what_the_runs_recorded(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = [(row["task"], row["name"]) for row in listed(capsys)]
    assert names == [("birds", "own"), ("flowers", "1"), ("flowers", "0"), ("flowers", "0")]
    row = listed(capsys)[1]
    size = sum(file.stat().st_size for file in (runs / "flowers/base/1").iterdir())
    assert row == {
        "name": "1", "folder": str(runs / "flowers/base/1"), "study": None, "task": "flowers", "recipe": "base",
        "data": "/data/flowers", "metric": "top1", "best": 90.0, "best_step": 30, "step": 40, "total_steps": 40,
        "state": "finished", "reason": None, "seed": 3, "written": "2001-09-09T01:51:40+00:00", "bytes": size,
    }  # fmt: skip


def test_without_a_result_the_tables_tell(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    row = listed(capsys, "--task", "birds")[0]
    assert (row["state"], row["best"], row["best_step"], row["step"]) == ("stopped", 71.5, 10, 20)


@pytest.mark.parametrize(
    ("words", "names"),
    [
        (["--task", "birds"], ["own"]),
        (["--state", "paused"], ["0"]),
        (["--data", "coins"], ["0"]),
        (["--data", "/data/fl"], ["own", "1", "0"]),
        (["--since", "2001-09-09T01:51:39+00:00"], ["own", "1"]),
        (["--since", "1w"], []),
        (["--task", "flowers", "--sort", "metric"], ["1", "0", "0"]),
        (["--sort", "name"], ["own", "0", "1", "0"]),
        (["runs/flowers/base"], ["1", "0"]),
        (["--studies", "--state", "finished", "--sort", "metric"], ["decay=0.5", "1", "0"]),
    ],
)
def test_filters_and_orders(words: list[str], names: list[str], runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert [str(row["name"]).rpartition("/")[2] for row in listed(capsys, *words)] == names


def test_by_metric_the_better_one_is_first_also_where_less_is_better(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in (("0", 0.3), ("1", 0.1), ("2", None), ("3", 0.2)):
        make(tmp_path / "t/r" / name, value, mode="min")
    (tmp_path / "t/r/2/val.csv").unlink()
    assert [row["name"] for row in listed(capsys, str(tmp_path), "--sort", "metric")] == ["1", "3", "0", "2"]


@pytest.mark.parametrize(
    ("words", "right"),
    [
        (["--task", "flower"], "flowers"),
        (["--state", "finish"], "finished"),
        (["--data", "flowrs"], "flowers"),
        (["--sort", "metrics"], "metric"),
        (["--since", "yesterday"], "2d"),
        (["nothere"], "nothere"),
    ],
)
def test_an_unknown_value_is_answered_with_the_nearest(
    words: list[str], right: str, runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert right in error_line(capsys, "runs", *words)


def test_runs_of_studies_are_counted(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["runs"]) == 0
    assert "1 run of 1 study" in capsys.readouterr().out.splitlines()[-1]


def test_no_runs_is_no_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["runs"]) == 0
    assert "maekit fit" in capsys.readouterr().out
    assert listed(capsys) == []


def test_a_live_run_is_running_and_a_killed_one_says_how_to_go_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = make(tmp_path / "t/r/0", status=None)
    with writer(folder) as process:
        state = state_of(Run(folder))
        assert state.word == "running" and f"process {process.pid} " in state.reason
    state = state_of(Run(folder))
    assert state.word == "killed" and f"process {process.pid} " in state.reason
    assert state.reason.endswith(f"go on with: maekit fit --task t --ckpt_path {shlex.quote(str(folder))}")
    (folder / "last.ckpt").unlink()
    assert state_of(Run(folder)).reason.endswith("start again with: maekit fit --task t")
    assert main(["runs", str(tmp_path)]) == 0
    assert "start again with: maekit fit --task t" in capsys.readouterr().out.splitlines()[-1]


@pytest.mark.parametrize(
    ("error", "word"),
    [
        (Interrupted("stopped by SIGTERM at step 3", 15), "stopped"),
        (KeyboardInterrupt(), "stopped"),
        (UserError("loss is NaN at step 3"), "failed"),
        (ValueError("two\nlines"), "failed"),
    ],
)
def test_how_a_run_was_cut_short_is_kept_until_it_goes_on(error: BaseException, word: str, tmp_path: Path) -> None:
    folder = make(tmp_path / "t/r/0", status="paused")
    with pytest.raises(type(error)), only_writer(folder):
        (folder / "train.csv").write_text("step,loss\n1,2.0\n")
        raise error
    cut_short = (word, (str(error) or "KeyboardInterrupt").splitlines()[0])
    assert state_of(Run(folder)) == cut_short
    with pytest.raises(UserError), only_writer(folder):
        raise UserError("a resume that is refused writes nothing")
    assert state_of(Run(folder)) == cut_short
    with only_writer(folder):
        pass
    assert state_of(Run(folder)).word == "paused"


def test_a_refused_resume_of_a_finished_run_leaves_it_finished(tmp_path: Path) -> None:
    folder = make(tmp_path / "t/r/0")
    with pytest.raises(UserError), only_writer(folder):
        raise UserError("another total batch")
    assert state_of(Run(folder)).word == "finished"


def test_an_error_after_the_result_was_written_changes_nothing(tmp_path: Path) -> None:
    folder = make(tmp_path / "t/r/0", status=None)
    with pytest.raises(KeyboardInterrupt), only_writer(folder):
        (folder / "metrics.json").write_text(json.dumps({"status": "finished", "step": 40}))
        raise KeyboardInterrupt
    assert state_of(Run(folder)).word == "finished"


def test_a_live_run_s_best_is_of_its_tables_and_not_of_an_earlier_result(tmp_path: Path) -> None:
    folder = make(tmp_path / "t/r/0", 60.0, status="paused")
    with writer(folder):
        row = RunRow(Run(folder))
        assert (row.best.value, row.step) == (71.5, 40)


@pytest.mark.parametrize("width", [40, 60, 80, 120, None])
def test_the_table_fits_the_terminal_and_is_whole_where_there_is_none(width: int | None, tmp_path: Path) -> None:
    rows = [
        RunRow(Run(make(tmp_path / f"a_task_with_a_long_name/recipe/{name}", data="/data/a long name of a folder")))
        for name in ("0", "11")
    ]
    lines = text_table(named(rows, rows), width)
    assert max(map(len, lines)) <= (width or 200)
    assert "best" in lines[0] and "top1 90" in lines[1] and "finished" in lines[1]
    if width is None:
        assert "a_task_with_a_long_name" in lines[1] and "a long name of a folder" in lines[1]


def test_a_name_that_two_places_have_is_a_path(tmp_path: Path) -> None:
    rows = [RunRow(Run(make(tmp_path / top / "t/r/0"))) for top in ("runs", "old")]
    assert [one.name for one in named(rows, rows)] == [str(row.folder) for row in rows]


def test_the_last_step_of_a_long_table_and_of_a_cut_one(tmp_path: Path) -> None:
    file = tmp_path / "train.csv"
    file.write_text("step,loss\n" + "".join(f"{step},0.123456789\n" for step in range(20_000)))
    assert last_step_of(file) == 19_999
    file.write_text("step,loss\n10,1.5\n20")
    assert last_step_of(file) == 10
    file.write_text("")
    assert last_step_of(file) is None
    assert last_step_of(tmp_path / "none.csv") is None


def test_times_and_sizes_as_text() -> None:
    assert [age(value) for value in (-5, 12, 150, 7200, 3 * 86400)] == ["0 s", "12 s", "2 min", "2 h", "3 d"]
    assert [size_text(value) for value in (0, 999, 1500, 3_450_000, 350_000_000, 12 * 10**9)] == [
        "0 B", "999 B", "1.5 kB", "3.5 MB", "350 MB", "12 GB",
    ]  # fmt: skip
    assert since_of("2d", 1_000_000.0) == 1_000_000.0 - 2 * 86400


def test_a_hundred_runs_need_no_torch_and_no_look_at_whole_tables(tmp_path: Path) -> None:
    import subprocess

    for number in range(100):
        make(tmp_path / f"runs/t/r/{number}")
    code = (
        "import sys; from maekit.cli import main; main(['runs', '--sort', 'metric']); "
        "heavy = {'torch', 'numpy', 'jsonargparse'} & set(sys.modules); sys.exit(f'imported {heavy}' if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 101
