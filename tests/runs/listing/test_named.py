"""A number, a name or the end of a path is one run, or none: never the wrong one."""

from pathlib import Path

import pytest

from maekit.errors import UserError
from maekit.runs.checkpoint_path import find_checkpoint
from maekit.runs.named import existing_run, named_run


def run_at(folder: Path) -> Path:
    folder.mkdir(parents=True)
    for name in ("last.ckpt", "best.ckpt", "config.yaml"):
        (folder / name).touch()
    return folder


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    for place in ("a/base/3", "a/smoke/3", "b/smoke/3", "b/smoke/4", "b/smoke/my run [x]"):
        run_at(tmp_path / "runs" / place)
    (tmp_path / "runs/b/smoke/5").mkdir()  # it holds no run
    return tmp_path / "runs"


@pytest.mark.parametrize(
    ("given", "task", "recipe", "place"),
    [
        ("4", None, None, "b/smoke/4"),
        ("my run [x]", None, None, "b/smoke/my run [x]"),
        ("base/3", None, None, "a/base/3"),
        ("a/smoke/3", None, None, "a/smoke/3"),
        ("3", "b", None, "b/smoke/3"),
        ("3", "a", "smoke", "a/smoke/3"),
        ("b/smoke/3", "a", "base", "b/smoke/3"),
        ("5", None, None, None),
        ("*", None, None, None),
        ("../runs/a/base/3", None, None, None),
        ("", None, None, None),
    ],
)
def test_what_is_named(given: str, task: str | None, recipe: str | None, place: str | None, runs: Path) -> None:
    assert named_run(given, runs, task, recipe) == (runs / place if place else None)


def test_a_number_of_several_runs_lists_all_of_them(runs: Path) -> None:
    with pytest.raises(UserError) as error:
        named_run("3", runs)
    assert all(place in str(error.value) for place in ("a/base/3", "a/smoke/3", "b/smoke/3"))
    with pytest.raises(UserError, match="2 runs"):
        find_checkpoint("smoke/3", runs, purpose="resume")


def test_a_checkpoint_of_a_number(runs: Path) -> None:
    assert find_checkpoint("4", runs, purpose="resume") == runs / "b/smoke/4/last.ckpt"
    assert find_checkpoint("4", runs) == runs / "b/smoke/4/best.ckpt"
    assert find_checkpoint("3", runs, "a", "base") == runs / "a/base/3/best.ckpt"


def test_a_path_that_is_there_takes_precedence(runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert existing_run(Path("4")) == Path("runs/b/smoke/4")
    run_at(tmp_path / "4")
    assert existing_run(Path("4")) == Path("4")
    assert find_checkpoint("4", Path("runs")) == tmp_path / "4/best.ckpt"


def test_a_number_that_no_run_has_is_answered_with_those_that_are_there(
    runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="b/smoke/4"):
        existing_run(Path("77"))
