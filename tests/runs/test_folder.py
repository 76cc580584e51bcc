"""Run folders: numbered, never shared, found again."""

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from maekit.errors import UserError
from maekit.runs import folder as run_folder
from maekit.runs.checkpoint_path import find_checkpoint, requeued_checkpoint, resume_command
from maekit.weights.get.find import find_weights


@pytest.fixture(autouse=True)
def no_inherited_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (run_folder.FOLDER, "LOCAL_RANK", "SLURM_JOB_ID", "SLURM_RESTART_COUNT"):
        monkeypatch.delenv(name, raising=False)


def test_each_run_has_its_own_number(tmp_path: Path) -> None:
    (tmp_path / "t/r/7").mkdir(parents=True)
    (tmp_path / "t/r/notes").mkdir()
    assert run_folder.new_folder(tmp_path, "t", "r") == tmp_path / "t/r/8"
    assert run_folder.new_folder(tmp_path, "t", "r") == tmp_path / "t/r/9"
    assert run_folder.new_folder(tmp_path, "t", "other") == tmp_path / "t/other/0"


def test_runs_that_start_at_once_get_different_folders(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from maekit.runs.folder import new_folder; "
        "print(new_folder(Path(sys.argv[1]), 't', 'r'))"
    )
    started = [subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE) for _ in range(6)]
    folders = {process.communicate(timeout=60)[0] for process in started}
    assert len(folders) == 6


def test_a_rank_started_by_a_run_uses_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = run_folder.new_folder(tmp_path, "t", "r")
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert run_folder.new_folder(tmp_path, "t", "r") == first


def run_at(folder: Path, second: int, *names: str) -> Path:
    """A run's folder whose checkpoints were saved at a second."""
    folder.mkdir(parents=True)
    for name in names:
        (folder / name).touch()
        os.utime(folder / name, (second, second))
    return folder


def test_last_is_the_run_that_saved_last_named_or_numbered(tmp_path: Path) -> None:
    old = run_at(tmp_path / "t/r/11", 10, "last.ckpt", "best.ckpt")
    named = run_at(tmp_path / "t/r/my run [a]", 30, "last.ckpt", "best.ckpt")
    run_at(tmp_path / "t/r/2", 20, "last.ckpt")
    run_at(tmp_path / "t/r/12", 40)  # has not saved yet
    run_at(tmp_path / "t/other/0", 50, "last.ckpt")
    run_at(tmp_path / "u/r/0", 60, "last.ckpt")
    assert find_checkpoint("last", tmp_path, "t", "r") == named / "last.ckpt"
    assert find_checkpoint("best", tmp_path, "t", "r") == named / "best.ckpt"
    assert find_checkpoint("last", tmp_path, "t", "r", name="11") == old / "last.ckpt"
    assert find_checkpoint("best", tmp_path, "t", "r", name="my run [a]") == named / "best.ckpt"
    assert find_checkpoint("last", tmp_path) == tmp_path / "u/r/0/last.ckpt"  # without a task: of all
    with pytest.raises(UserError, match="'lost'"):
        find_checkpoint("last", tmp_path, "t", "r", name="lost")
    with pytest.raises(UserError, match=r"no last\.ckpt in any run under"):
        find_checkpoint("last", tmp_path, "t", "none")
    with pytest.raises(UserError, match=r"no last\.ckpt in any run under"):
        find_checkpoint("last", tmp_path / "nowhere")


def test_best_is_never_taken_from_an_older_run(tmp_path: Path) -> None:
    run_at(tmp_path / "t/r/0", 10, "last.ckpt", "best.ckpt")
    run_at(tmp_path / "t/r/1", 20, "last.ckpt")
    with pytest.raises(UserError, match=r"t/r/1.* has no best\.ckpt"):
        find_checkpoint("best", tmp_path, "t", "r")


def test_of_runs_that_saved_at_once_the_higher_number_is_the_newest(tmp_path: Path) -> None:
    for number in ("9", "10"):
        run_at(tmp_path / "t/r" / number, 10, "last.ckpt")
    assert find_checkpoint("last", tmp_path, "t", "r") == tmp_path / "t/r/10/last.ckpt"


def test_a_folder_means_last_to_go_on_and_best_to_read(tmp_path: Path) -> None:
    folder = run_at(tmp_path / "t/r/2", 20, "last.ckpt", "best.ckpt")
    assert find_checkpoint(str(folder), tmp_path, purpose="resume") == folder / "last.ckpt"
    assert find_checkpoint(str(folder), tmp_path) == folder / "best.ckpt"
    (folder / "best.ckpt").unlink()
    assert find_checkpoint(str(folder), tmp_path) == folder / "last.ckpt"
    with pytest.raises(UserError, match=r"did you mean 'last.ckpt'"):
        find_checkpoint(str(folder / "lst.ckpt"), tmp_path)
    with pytest.raises(UserError, match=r"a run in it is .*t/r/2"):
        find_checkpoint(str(tmp_path / "t"), tmp_path)
    only = run_at(tmp_path / "t/r/3", 20, "best.ckpt")
    with pytest.raises(UserError, match=r"no last\.ckpt in .*best\.ckpt is there"):
        find_checkpoint(str(only), tmp_path, purpose="resume")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("fit --task t --trainer.max_steps 9", "fit --task t --trainer.max_steps 9"),
        ("fit --task t --run.name exp --seed 1", "fit --task t --seed 1"),
        ("fit --run.name=exp --task t", "fit --task t"),
        ("fit --ckpt_path last --task t --run.name=b", "fit --task t"),
        ("fit --task t --ckpt_path=runs/t/r/0", "fit --task t"),
        ("", "fit"),
    ],
)
def test_the_command_that_goes_on_names_the_run_itself(
    words: str, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "runs/t/r/lr=1e-4; my run"
    command = resume_command(words.split(), folder)
    assert command == f"maekit {expected} --ckpt_path 'runs/t/r/lr=1e-4; my run'"
    assert shlex.split(command)[-1] == "runs/t/r/lr=1e-4; my run"
    monkeypatch.chdir("/")  # a run elsewhere is named from the root
    assert shlex.split(resume_command(words.split(), folder))[-1] == str(folder).removeprefix("/")


def test_a_requeued_slurm_job_finds_its_own_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number, job in (("0", "41"), ("1", "42"), ("2", "43")):
        folder = tmp_path / "t/r" / number
        folder.mkdir(parents=True)
        (folder / "environment.json").write_text(json.dumps({"slurm_job": job}))
        (folder / "last.ckpt").touch()
    (tmp_path / "t/r/0/environment.json").write_text('{"slurm_')
    monkeypatch.setenv("SLURM_JOB_ID", "42")
    assert requeued_checkpoint(tmp_path, "t", "r") is None
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    assert requeued_checkpoint(tmp_path, "t", "r") == tmp_path / "t/r/1/last.ckpt"


def test_environment_is_recorded() -> None:
    found = run_folder.surroundings("1 x cpu")
    assert found["versions"]["torch"]
    assert found["devices"] == "1 x cpu"
    assert found["python"].startswith("3.")


def test_a_named_folder_is_never_taken_twice(tmp_path: Path) -> None:
    folder = run_folder.new_folder(tmp_path, "t", "r", "lr=1e-4,seed=0")
    assert folder == tmp_path / "t/r/lr=1e-4,seed=0"
    (folder / run_folder.LOCK).touch()
    assert run_folder.new_folder(tmp_path, "t", "r", "lr=1e-4,seed=0") == folder
    (folder / "config.yaml").touch()
    with pytest.raises(UserError, match="seed=0 holds a run already"):
        run_folder.new_folder(tmp_path, "t", "r", "lr=1e-4,seed=0")


@pytest.mark.parametrize("name", ["", "..", "a/b", "last", "best"])
def test_a_name_is_one_folder(tmp_path: Path, name: str) -> None:
    with pytest.raises(UserError, match=r"--run\.name"):
        run_folder.new_folder(tmp_path, "t", "r", name)


def test_a_runs_folder_means_its_best_weights_wherever_weights_are_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = run_at(tmp_path / "0", 20, "last.ckpt", "best.ckpt")
    assert find_weights(folder) == folder / "best.ckpt"
    assert find_weights(folder) == folder / "best.ckpt"
    assert capsys.readouterr().err == f"weights {folder / 'best.ckpt'}\n"  # once; it has no step to be said
    (folder / "best.ckpt").unlink()
    assert find_weights(str(folder)) == folder / "last.ckpt"
    (folder / "config.json").touch()
    assert find_weights(folder) == folder  # a folder of transformers


@pytest.mark.parametrize(
    ("given", "there"),
    [
        ("runs/t/r/9/best.ckpt", "there are 0, 2, 10 in"),
        ("runs/t/r/9", "there are 0, 2, 10 in"),
        ("9", "t/r/10"),
        ("r/9", "t/r/10"),
        ("lst", "'last'"),
        ("runs/t/r/2/bst.ckpt", "'best.ckpt'"),
    ],
)
def test_a_checkpoint_that_is_not_there_is_answered_with_those_that_are(
    given: str, there: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("0", "10", "2"):
        run_at(tmp_path / "runs/t/r" / name, 5, "last.ckpt", "best.ckpt")
    with pytest.raises(UserError) as error:
        find_checkpoint(given, Path("runs"))
    assert there in str(error.value)
