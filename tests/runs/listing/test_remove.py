"""`maekit runs rm` and `prune`: what goes, what stays, and what is refused."""

import json
import sys
from pathlib import Path

import pytest

from maekit.cli import main
from maekit.runs.folder import FOLDER, new_folder
from tests.helpers_run import error_line
from tests.runs.listing.helpers import files_below, make, writer

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="locks are those of Unix")


@pytest.fixture
def top(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(FOLDER, "")  # `new_folder` sets it
    return tmp_path / "runs"


class Terminal:
    """Standard input that is a terminal in which somebody types an answer."""

    def __init__(self, answer: str) -> None:
        self.answer = answer

    def isatty(self) -> bool:
        return True

    def readline(self) -> str:
        return f"{self.answer}\n"


def test_rm_removes_whole_runs_and_nothing_else(top: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make(top / "t/r/0")
    make(top / "t/r/1")
    make(top / "t/r/named")
    make(top / "u/r/2")
    before = files_below(top / "t/r/0")
    assert main(["runs", "rm", "1", "runs/u/r/2", "named", "runs/t/r/1/", "--yes"]) == 0
    kept = {"t/r/.next_number", "u/r/.next_number"}
    assert files_below(top) == {f"t/r/0/{name}" for name in before} | kept
    assert [path.name for path in (top / "t/r").iterdir() if path.is_dir()] == ["0"]
    out = capsys.readouterr().out
    assert "runs/t/r/1, the whole run" in out and out.count("runs/t/r/1,") == 1


def test_what_no_run_writes_is_named(top: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (make(top / "t/r/0") / "thesis.txt").touch()
    assert "thesis.txt" in error_out(capsys, "runs", "rm", "0")
    assert (top / "t/r/0/thesis.txt").exists()


def error_out(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """What a command that must be refused prints, all of it."""
    assert main(words) == 2
    found = capsys.readouterr()
    assert len(found.err.splitlines()) == 1
    return found.out + found.err


def test_it_asks_and_no_is_no(top: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = make(top / "t/r/0")
    for answer, status in (("", 1), ("n", 1), ("what", 1), ("y", 0)):
        assert folder.exists()
        monkeypatch.setattr(sys, "stdin", Terminal(answer))
        assert main(["runs", "rm", "0"]) == status
    assert not folder.exists()


def test_without_a_terminal_it_asks_for_yes(top: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make(top / "t/r/0")
    make(top / "t/r/1", 80.0)
    for words in (["rm", "0"], ["prune", "--keep-best"]):
        capsys.readouterr()
        assert "--yes" in error_out(capsys, "runs", *words)
    assert (top / "t/r/0/best.ckpt").exists() and (top / "t/r/1/best.ckpt").exists()


def refused(capsys: pytest.CaptureFixture[str], top: Path, *words: str) -> str:
    """The error of a removal that is refused, after which every file is still there."""
    before = files_below(top.parent)
    line = error_line(capsys, "runs", *words, "--yes")
    assert files_below(top.parent) - {"runs/t/r/0/.lock"} == before - {"runs/t/r/0/.lock"}
    return line


def test_a_live_run_is_never_removed(top: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder, other = make(top / "t/r/0"), make(top / "t/r/1", 95.0)
    with writer(folder) as process:
        assert f"process {process.pid} " in refused(capsys, top, "rm", "1", "0")
        assert main(["runs", "prune", "--keep-best", "1", "--checkpoints", "--yes"]) == 0
    assert (folder / "last.ckpt").exists() and not (other / "last.ckpt").exists()


def test_a_number_that_names_two_and_one_that_names_none(top: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make(top / "t/r/0")
    make(top / "u/r/0")
    line = refused(capsys, top, "rm", "0")
    assert "t/r/0" in line and "u/r/0" in line
    assert "t/r/0" in refused(capsys, top, "rm", "7")


def test_a_folder_that_is_no_run(top: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make(top / "t/r/0")
    project = top.parent / "project"
    project.mkdir()
    (project / "config.yaml").write_text("name: something else\n")
    (project / "thesis.tex").write_text("years of work")
    assert "no run" in refused(capsys, top, "rm", "project")
    assert "no run" in refused(capsys, top, "rm", "runs/t")
    (project / "environment.json").write_text(json.dumps({"name": "conda"}))
    assert "no run" in refused(capsys, top, "rm", "project")


def test_a_run_that_holds_others_or_a_repository(top: Path, capsys: pytest.CaptureFixture[str]) -> None:
    outer = make(top / "t/r/0")
    make(outer / "t/r/1")
    assert "more than one run" in refused(capsys, top, "rm", "runs/t/r/0")
    own = make(top / "t/r/5")
    (own / ".git").mkdir()
    assert ".git" in refused(capsys, top, "rm", "5")


def test_links_are_not_followed(top: Path, capsys: pytest.CaptureFixture[str]) -> None:
    elsewhere = make(top.parent / "elsewhere/r/9")
    (top / "t/r").mkdir(parents=True)
    (top / "t/r/9").symlink_to(elsewhere)
    assert "link" in refused(capsys, top, "rm", "runs/t/r/9")
    (top / "u").symlink_to(elsewhere.parent.parent)
    assert "link" in refused(capsys, top, "rm", "u/r/9")
    own = make(top / "t/r/0")
    (own / "data").symlink_to(elsewhere)
    (own / "big.ckpt").symlink_to(elsewhere / "best.ckpt")
    assert main(["runs", "rm", "0", "--yes"]) == 0
    assert not own.exists() and (elsewhere / "best.ckpt").exists()


def test_a_folder_of_all_runs_that_is_a_link_to_a_larger_disk(top: Path) -> None:
    make(top.parent / "disk/t/r/0")
    top.symlink_to(top.parent / "disk")
    assert main(["runs", "rm", "0", "--yes"]) == 0
    assert not (top / "t/r/0").exists() and (top / "t/r").is_dir()


def test_runs_of_studies_stay(top: Path, capsys: pytest.CaptureFixture[str]) -> None:
    study = top.parent / "studies/t/r/s"
    for cell in ("a", "b"):
        make(study / "runs/t/r" / cell)
    (study / "study.db").touch()
    assert "study" in refused(capsys, top, "rm", "studies/t/r/s/runs/t/r/a")
    assert main(["runs", "prune", "studies", "--keep-best", "--checkpoints", "--yes"]) == 0
    assert (study / "runs/t/r/a/last.ckpt").exists() and (study / "runs/t/r/b/last.ckpt").exists()


def test_the_current_folder_stays(
    top: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make(top / "t/r/0")
    monkeypatch.chdir(folder)
    assert "current folder" in error_line(capsys, "runs", "rm", "../0", "--yes")
    assert folder.exists()


def test_prune_keeps_the_best_of_each_task_recipe_and_data(top: Path) -> None:
    kept = {
        "t/r/1": make(top / "t/r/1", 90.0),
        "t/r/3": make(top / "t/r/3", 99.0, data="/data/coins", fingerprint="2b"),
        "t/q/0": make(top / "t/q/0", 10.0),
        "u/r/1": make(top / "u/r/1", 0.1, mode="min"),
        "t/r/4": make(top / "t/r/4", 1.0, status="paused"),
        "t/r/5": make(top / "t/r/5", None, status=None),
    }
    gone = [make(top / "t/r/0", 80.0), make(top / "t/r/2", 85.0), make(top / "u/r/0", 0.2, mode="min")]
    assert main(["runs", "prune", "--keep-best", "--yes"]) == 0
    assert not any(folder.exists() for folder in gone)
    assert all((folder / "last.ckpt").exists() for folder in kept.values())


def test_prune_of_two_keeps_two_and_equal_values_keep_the_newer(top: Path) -> None:
    for name, value, second in (("0", 90.0, 10), ("1", 90.0, 30), ("2", 90.0, 20), ("3", 50.0, 40)):
        make(top / "t/r" / name, value, second=1_000_000_000 + second)
    assert main(["runs", "prune", "--keep-best", "2", "--yes"]) == 0
    assert sorted(path.name for path in (top / "t/r").glob("[!.]*")) == ["1", "2"]


def test_prune_of_checkpoints_removes_last_ckpt_of_finished_runs_only(top: Path) -> None:
    finished, paused, lone = make(top / "t/r/0"), make(top / "t/r/1", status="paused"), make(top / "t/r/2")
    (lone / "best.ckpt").unlink()
    before = files_below(top)
    assert main(["runs", "prune", "--checkpoints", "--yes"]) == 0
    assert before - files_below(top) == {"t/r/0/last.ckpt"}
    assert (paused / "last.ckpt").exists() and (lone / "last.ckpt").exists() and (finished / "best.ckpt").exists()


def test_prune_says_what_it_needs(top: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make(top / "t/r/0")
    assert "--keep-best" in refused(capsys, top, "prune")
    for value in ("0", "-1", "x"):
        assert main(["runs", "prune", f"--keep-best={value}", "--yes"]) == 2
    assert (top / "t/r/0/last.ckpt").exists()


def test_it_says_which_runs_began_from_one_that_goes_and_gives_its_number_to_no_other(
    top: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(6):
        make(top / f"t/r/{number}")
    (top / "t/r/1/config.yaml").write_text("# task t, recipe r\nmodel:\n  weights: runs/t/r/5/best.ckpt#model\n")
    changed = "# task t, recipe r\nmodel:\n  weights: runs/t/r/5\nrun:\n  checkpoint_content: changed\n"
    (top / "t/r/2/config.yaml").write_text(changed)
    (top / "t/r/3/config.yaml").write_text("# task t, recipe r\nmodel:\n  weights: runs/t/r/5/last.ckpt\n")
    record = json.loads((top / "t/r/4/environment.json").read_text())
    (top / "t/r/4/environment.json").write_text(
        json.dumps(record | {"command": ["maekit", "validate", "--ckpt_path=5"]})
    )
    (top / "t/r/4/metrics.json").write_text(json.dumps({"status": "validated"}))
    assert main(["runs", "prune", "--checkpoints", "--yes"]) == 0
    needed = [line for line in capsys.readouterr().out.splitlines() if line.startswith("needed: ")]
    assert len(needed) == 1 and "runs/t/r/3 began from runs/t/r/5/last.ckpt" in needed[0]
    (top / "t/r/5/last.ckpt").touch()
    assert main(["runs", "rm", "5", "3", "--yes"]) == 0
    out = capsys.readouterr().out
    needed = [line for line in out.splitlines() if line.startswith("needed: ")]
    assert [line.split()[1] for line in needed] == ["runs/t/r/1", "runs/t/r/2", "runs/t/r/4"]
    assert out.index("needed: ") < out.index("removed ")
    assert "cannot be used" in needed[1] and "measured runs/t/r/5/best.ckpt" in needed[2]
    assert new_folder(Path("runs"), "t", "r").name == "6"
    assert main(["runs", "rm", "4", "--yes"]) == 0 and new_folder(Path("runs"), "t", "r").name == "7"
