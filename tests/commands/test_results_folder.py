"""Results of one call of `maekit predict`: neither those of another model, nor of an earlier call beside them."""

from pathlib import Path

import pytest

from maekit.commands.shared.results_folder import Record, results_folder
from maekit.errors import UserError
from tests.runs.listing.helpers import files_below

RECORD: Record = {"checkpoint": "runs/t/r/0/best.ckpt", "step": 3}
HELD = "predicted_by.json"


def call(folder: Path, *names: str, error: BaseException | None = None) -> None:
    with results_folder(folder, RECORD) as output:
        for name in names:
            (output / name).parent.mkdir(exist_ok=True)
            (output / name).write_text(name)
        if error is not None:
            raise error


def test_what_an_earlier_call_wrote_goes_and_what_others_put_there_stays(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    call(out, "a/x_labels.png", "b/y_labels.png", "predictions.csv")
    (out / "a/thesis.txt").touch()
    call(out, "c/z_labels.tif", "predictions.csv")
    assert files_below(out) == {HELD, "a/thesis.txt", "c/z_labels.tif", "predictions.csv"}
    assert "removed 2 files of an earlier call" in capsys.readouterr().out
    assert not (out / "b").exists()


def test_a_call_that_is_stopped_removes_nothing_and_the_next_one_its_files_too(tmp_path: Path) -> None:
    out = tmp_path / "out"
    call(out, "x.png", "predictions.csv")
    with pytest.raises(KeyboardInterrupt):
        call(out, "y.png", "predictions.partial.csv", error=KeyboardInterrupt())
    assert files_below(out) == {HELD, "x.png", "y.png", "predictions.csv", "predictions.partial.csv"}
    call(out, "z.png", "predictions.csv")
    assert files_below(out) == {HELD, "z.png", "predictions.csv"}


def test_two_calls_at_once_are_refused_and_a_refused_one_leaves_nothing(tmp_path: Path) -> None:
    out = tmp_path / "new" / "out"
    with pytest.raises(UserError, match="given up"):
        call(out, error=UserError("given up"))
    assert not (tmp_path / "new").exists()
    with results_folder(out, RECORD), pytest.raises(UserError, match="another maekit predict"):
        call(out, "x.png")
    assert files_below(out) == {HELD}


def test_results_of_an_earlier_version_are_not_guessed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "x_labels.png").touch()
    (tmp_path / HELD).write_text('{"checkpoint": "runs/t/r/0/best.ckpt", "step": 3}')
    call(tmp_path, "y_labels.png")
    assert (tmp_path / "x_labels.png").exists() and "1 older file" in capsys.readouterr().out
