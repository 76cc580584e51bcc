"""Run folders: numbered, never shared, found again."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from maekit import run_folder
from maekit.errors import UserError


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
        "import sys; from pathlib import Path; from maekit.run_folder import new_folder; "
        "print(new_folder(Path(sys.argv[1]), 't', 'r'))"
    )
    started = [subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE) for _ in range(6)]
    folders = {process.communicate(timeout=60)[0] for process in started}
    assert len(folders) == 6


def test_a_rank_started_by_a_run_uses_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = run_folder.new_folder(tmp_path, "t", "r")
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert run_folder.new_folder(tmp_path, "t", "r") == first


def test_last_is_the_newest_run_that_has_one(tmp_path: Path) -> None:
    for number in ("2", "10", "11"):
        (tmp_path / "t/r" / number).mkdir(parents=True)
    (tmp_path / "t/r/2/last.ckpt").touch()
    (tmp_path / "t/r/10/last.ckpt").touch()
    assert run_folder.find_checkpoint("last", tmp_path, "t", "r") == tmp_path / "t/r/10/last.ckpt"
    assert run_folder.find_checkpoint(str(tmp_path / "t/r/2"), tmp_path, "t", "r") == tmp_path / "t/r/2/last.ckpt"
    with pytest.raises(UserError, match=r"no best\.ckpt in any run"):
        run_folder.find_checkpoint("best", tmp_path, "t", "r")
    with pytest.raises(UserError, match=r"did you mean 'last.ckpt'"):
        run_folder.find_checkpoint(str(tmp_path / "t/r/2/lst.ckpt"), tmp_path, "t", "r")


def test_a_requeued_slurm_job_finds_its_own_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number, job in (("0", "41"), ("1", "42"), ("2", "43")):
        folder = tmp_path / "t/r" / number
        folder.mkdir(parents=True)
        (folder / "environment.json").write_text(json.dumps({"slurm_job": job}))
        (folder / "last.ckpt").touch()
    (tmp_path / "t/r/0/environment.json").write_text('{"slurm_')
    monkeypatch.setenv("SLURM_JOB_ID", "42")
    assert run_folder.requeued_checkpoint(tmp_path, "t", "r") is None
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    assert run_folder.requeued_checkpoint(tmp_path, "t", "r") == tmp_path / "t/r/1/last.ckpt"


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
    with pytest.raises(UserError, match=r"seed=0 holds a run already; give another --run\.name, or go on with it"):
        run_folder.new_folder(tmp_path, "t", "r", "lr=1e-4,seed=0")


@pytest.mark.parametrize("name", ["", "..", "a/b"])
def test_a_name_is_one_folder(tmp_path: Path, name: str) -> None:
    with pytest.raises(UserError, match="expected the name of one folder"):
        run_folder.new_folder(tmp_path, "t", "r", name)
