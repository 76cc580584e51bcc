"""Studies over folds: every cell on every fold, ranked by the mean over them, and what is refused."""

import statistics
from pathlib import Path

import pytest

from maekit import cli
from maekit.report.studies.report import study_document
from maekit.study.define.definition import Definition
from maekit.study.results import cell_results
from maekit.study.saved import Study
from maekit.study.text_table import text_table
from maekit.study.work import engine
from tests.conftest import few_digits
from tests.report.helpers import table
from tests.study.helpers import DECAY, definition, run, trial

FOLDS = ("1/3", "2/3", "3/3")
SWEEP = ("sweep", "--task", "imagenet_finetune", "--recipe", "smoke")


def whole(folder: Path) -> Path:
    """Eight digits of each class, without a validation split."""
    (folder / "digits").symlink_to(few_digits() / "train")
    return folder / "digits"


def test_each_cell_is_trained_on_each_fold(tmp_path: Path) -> None:
    study = run(definition(0.75, folds=3), tmp_path, slots=2)
    assert sorted(trial.get("fold") or "" for trial in study.trials) == [*FOLDS]
    [cell] = cell_results(study)
    assert [*cell.by_fold] == [*FOLDS]
    assert len({*cell.by_fold.values()}) == 3
    assert cell.mean == pytest.approx(statistics.fmean(cell.by_fold.values()))
    assert cell.std == pytest.approx(statistics.stdev(cell.by_fold.values()))
    assert cell.by_seed == {0: pytest.approx(cell.mean)}
    assert (tmp_path / "runs" / "made" / "small" / "layer_decay=0.75,seed=0,fold=2of3").is_dir()


def test_the_deviation_is_of_the_folds_and_a_cell_without_one_stands_below(tmp_path: Path) -> None:
    """A fold counts with the mean of its seeds; a cell that failed on the hard fold is not the best."""
    scores = {"1/3": (90.0, 92.0), "2/3": (80.0, 82.0), "3/3": (70.0, 72.0)}
    trials = [
        trial(0.55, seed, value, fold=fold) for fold, values in scores.items() for seed, value in enumerate(values)
    ]
    trials += [trial(0.75, seed, 99.0, fold=fold) for fold in FOLDS[:2] for seed in (0, 1)]
    trials += [trial(0.75, seed, None, "failed", fold="3/3", reason="made up") for seed in (0, 1)]
    study = Study(tmp_path, definition(0.55, 0.75, folds=3, seeds=(0, 1)), tuple(trials))
    first, second = cell_results(study)
    assert (first.values[DECAY], first.mean, first.std) == (0.55, 81.0, 10.0)
    assert first.by_seed == {0: 80.0, 1: 82.0}
    assert (second.mean, second.num_finished, second.num_failed) == (99.0, 4, 2)
    lines = text_table(study)
    assert lines[0].split() == ["rank", "layer_decay", "top1", "std", "std", "error", "folds", "n"]
    assert "3 of 3" in lines[1] and "2 of 3" in lines[2] and "without fold 3/3" in lines[2]
    document = study_document(study, None, "now")
    assert table(document, "ranking").columns[-4:] == ("std error", "folds", "n", "failed")
    assert "± 10 (mean and standard deviation of 3 folds)" in document.summary[0]
    assert {row[3] for row in table(document, "trials").rows} == {*FOLDS}


def test_halving_compares_the_means_over_the_folds(tmp_path: Path) -> None:
    study = run(definition(0.55, 0.65, 0.75, folds=2, pruning="halving"), tmp_path, slots=2)
    assert study.halving is not None and study.halving["kept"] == [[{DECAY: 0.75}]]
    assert sorted(trial.get("fold") or "" for trial in study.trials if trial["rung"] == 1) == ["1/2", "2/2"]


def test_a_command_divides_the_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    defined: list[Definition] = []

    def noted(what: Definition, folder: Path, *rest: object, **options: object) -> Study:
        defined.append(what)
        return Study(folder, what, ())

    monkeypatch.setattr(engine, "run_study", noted)
    monkeypatch.chdir(tmp_path)
    data = ("--data.root", str(whole(tmp_path)), "--data.total_batch_size", "16")
    assert cli.main([*SWEEP, "--folds", "4", *data]) == 1  # no run has finished
    what = defined[0]
    assert (what.name, what.folds, what.seeds, what.cells()) == ("4folds", 4, (0,), [{}])
    assert what.num_images == 60 and "data.fold" not in what.fixed  # 80 images of which a fold leaves three quarters
    capsys.readouterr()
    assert cli.main([*SWEEP, "--folds", "4", *data, "--dry_run"]) == 0
    assert "cells 1 x seeds 1 x folds 4" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--folds", "4", "--data.root", "SPLIT"], "have their own validation split"),
        (["--folds", "99", "--data.root", "WHOLE"], "got 80 images for 99 folds"),
        (["--folds", "1"], "--folds: got 1"),
        (["--folds", "4", "--pruner", "median"], "--pruner median compares single runs"),
        (["--folds", "4", "--data.fold", "1/4"], "got --data.fold"),
        (["--grid", "data.fold=1/4,2/4"], "expected --folds 5"),
        ([], "nothing to vary"),
    ],
)
def test_what_cannot_be_divided_is_refused_before_the_first_run(
    words: list[str], expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    places = {"SPLIT": str(few_digits()), "WHOLE": str(whole(tmp_path))}
    assert cli.main([*SWEEP, *(places.get(word, word) for word in words)]) == 2
    error = capsys.readouterr().err
    assert expected in error and error.count("\n") == 1


def test_data_without_folds_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["sweep", "--task", "mae_pretrain", "--recipe", "smoke", "--folds", "3"]) == 2
    assert "cannot be divided into folds" in capsys.readouterr().err
