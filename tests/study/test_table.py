"""What a study found: ranking, cost, and halving against the whole grid, on hand-made files."""

import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from maekit.errors import UserError
from maekit.study.results import cell_results, full_grid_steps, halving_agreement, spent_steps
from maekit.study.saved import SavedTrial, Study, read_study
from maekit.study.text_table import text_table
from tests.study.helpers import DECAY, decay_of, definition, trial

SCORES = {0.55: [90.0, 91.0, 92.0], 0.75: [95.0, 97.0, 96.0], 0.85: [95.5, 96.0, 96.6], 1.0: [80.0, 70.0, 75.0]}


def written(folder: Path, trials: list[SavedTrial], halving: Any = None, **changes: Any) -> Study:
    folder.mkdir(exist_ok=True)
    fixed = {"data.total_batch_size": 32, "trainer.max_epochs": 90}
    plain = {"seeds": (0, 1, 2), "max_steps": 900, "num_images": 320, "fixed": fixed}
    values = {
        "format": 1,
        "definition": definition(*SCORES, **{**plain, **changes}).as_json(),
        "storage": "sqlite:///study.db",
        "updated": "2026-01-01T00:00:00+00:00",
        "trials": trials,
        "halving": halving,
    }
    (folder / "study.json").write_text(json.dumps(values))
    return read_study(folder)


def whole_grid() -> list[SavedTrial]:
    return [trial(decay, seed, value) for decay, values in SCORES.items() for seed, value in enumerate(values)]


def halved(best: float, second: float, at_first: float) -> list[SavedTrial]:
    """Four cells to step 100, two to 300, one to 900."""
    found = []
    for seed in range(3):
        for decay in SCORES:
            state = "complete" if decay in (best, second) else "pruned"
            reason = None if state == "complete" else "halving: rank 3 of 4 at step 100"
            paused = {"rung": 0, "steps": 100, "end_step": 100, "reason": reason}
            found.append(trial(decay, seed, at_first + decay + seed, state, **paused))
        found.append(trial(best, seed, 94.0 + seed, rung=1, steps=200, end_step=300))
        stopped = {"rung": 1, "steps": 200, "end_step": 300, "reason": "halving: rank 2 of 2 at step 300"}
        found.append(trial(second, seed, 93.0 + seed, "pruned", **stopped))
        found.append(trial(best, seed, SCORES[best][seed], rung=2, steps=600, end_step=900))
    return found


RUNGS = {"rungs": [100, 300, 900], "kept": [[{DECAY: 0.75}, {DECAY: 0.85}], [{DECAY: 0.75}]]}


def test_cells_are_ranked_by_their_mean_with_its_spread(tmp_path: Path) -> None:
    results = cell_results(written(tmp_path, whole_grid()))
    assert [result.values[DECAY] for result in results] == [0.85, 0.75, 0.55, 1.0]
    for result in results:
        values = SCORES[decay_of(result.values)]
        assert result.by_seed == dict(enumerate(values))
        assert result.mean == pytest.approx(np.mean(values), rel=1e-12)
        assert result.std == pytest.approx(np.std(values, ddof=1), rel=1e-12)
        assert result.standard_error == pytest.approx(np.std(values, ddof=1) / math.sqrt(3), rel=1e-12)
        assert (result.num_finished, result.num_failed, result.num_pruned, result.last_mean) == (3, 0, 0, None)


def test_less_is_better_where_the_metric_says_so(tmp_path: Path) -> None:
    results = cell_results(written(tmp_path, whole_grid(), mode="min", metric="val/loss"))
    assert [result.values[DECAY] for result in results] == [1.0, 0.55, 0.75, 0.85]


def test_only_runs_that_went_to_their_end_count(tmp_path: Path) -> None:
    trials = [
        one for one in whole_grid() if (one["values"][DECAY], one["seed"]) not in {(0.85, 2), (0.55, 0), (0.55, 1)}
    ]
    trials += [
        trial(0.85, 2, None, "failed", reason="out of memory", steps=10, end_step=10),
        trial(0.55, 0, 99.9, "running", steps=None, end_step=None),
        trial(0.55, 1, float("nan")),
    ]
    study = written(tmp_path, trials)
    results = cell_results(study)
    assert [result.values[DECAY] for result in results] == [0.75, 1.0, 0.85, 0.55]
    third, last = results[2:]
    assert (third.num_finished, third.num_failed, third.reasons) == (2, 1, ("out of memory",))
    assert third.mean == pytest.approx(95.75)
    assert (last.by_seed, last.std, last.standard_error) == ({2: 92.0}, None, None)
    lines = text_table(study)
    assert [line.split()[:2] for line in lines[1:5]] == [["1", "0.75"], ["2", "1.0"], ["3", "0.85"], ["4", "0.55"]]
    assert lines[3].endswith("out of memory")
    assert lines[4].endswith("2 to go")


def test_a_failed_run_that_was_made_good_does_not_count_as_failed(tmp_path: Path) -> None:
    trials = [trial(0.55, 0, None, "failed", reason="killed"), *whole_grid()]
    result = next(r for r in cell_results(written(tmp_path, trials)) if r.values[DECAY] == 0.55)
    assert (result.num_finished, result.num_failed) == (3, 0)


def test_pruned_cells_come_last_the_furthest_first(tmp_path: Path) -> None:
    study = written(tmp_path, halved(0.75, 0.85, 50.0), RUNGS, pruning="halving")
    results = cell_results(study)
    assert [result.values[DECAY] for result in results] == [0.75, 0.85, 1.0, 0.55]
    best, second, third, _ = results
    assert best.by_seed == dict(enumerate(SCORES[0.75]))
    assert (best.num_finished, best.num_pruned, best.last_step) == (3, 0, 900)
    assert second.mean is None
    assert (second.num_pruned, second.last_step, second.last_mean) == (3, 300, 94.0)
    assert (third.last_step, third.last_mean) == (100, 52.0)
    lines = text_table(study)
    assert lines[2].split()[0] == "0.85"
    assert lines[2].endswith("halving: rank 2 of 2 at step 300; 94.000 there")


def test_cells_that_have_not_begun_are_listed(tmp_path: Path) -> None:
    study = written(tmp_path, [])
    assert len(cell_results(study)) == 4
    lines = text_table(study)
    assert len(lines) == 1 + 4 + 2
    assert all(line.endswith("3 to go") for line in lines[1:5])
    assert lines[5] == "no trial yet"


def test_costs_are_in_steps(tmp_path: Path) -> None:
    full = written(tmp_path / "full", whole_grid())
    assert (spent_steps(full), full_grid_steps(full)) == (12 * 900, 12 * 900)
    half = written(tmp_path / "half", halved(0.75, 0.85, 50.0), RUNGS, pruning="halving")
    assert spent_steps(half) == 3 * (4 * 100 + 2 * 200 + 600)
    assert full_grid_steps(half) == 12 * 900
    assert text_table(half)[-1] == "4,200 steps, 39 % of the 10,800 of every cell and seed, in 12.6 min of runs"


def test_halving_agrees_where_the_grid_cannot_tell_the_two_apart(tmp_path: Path) -> None:
    full = written(tmp_path / "full", whole_grid())
    found = halving_agreement(written(tmp_path / "half", halved(0.75, 0.85, 50.0), RUNGS, pruning="halving"), full)
    error = np.std(SCORES[0.85], ddof=1) / math.sqrt(3)
    assert found == {
        "halving_best": {DECAY: 0.75},
        "full_best": {DECAY: 0.85},
        "same_cell": False,
        "difference": pytest.approx(np.mean(SCORES[0.85]) - 96.0),
        "standard_error": pytest.approx(error),
        "within_one_standard_error": True,
        "agrees": True,
        "halving_steps": 4200,
        "full_steps": 10800,
        "share": pytest.approx(4200 / 10800),
    }


def test_halving_that_ended_elsewhere_does_not_agree(tmp_path: Path) -> None:
    full = written(tmp_path / "full", whole_grid())
    found = halving_agreement(written(tmp_path / "a", halved(0.55, 0.85, 50.0), RUNGS, pruning="halving"), full)
    assert (found["same_cell"], found["within_one_standard_error"], found["agrees"]) == (False, False, False)
    found = halving_agreement(written(tmp_path / "b", halved(0.85, 0.75, 50.0), RUNGS, pruning="halving"), full)
    assert (found["same_cell"], found["difference"], found["agrees"]) == (True, 0.0, True)


def test_only_the_same_question_is_compared(tmp_path: Path) -> None:
    full = written(tmp_path / "full", whole_grid())
    other = written(tmp_path / "half", halved(0.75, 0.85, 50.0), RUNGS, pruning="halving", recipe="base")
    with pytest.raises(UserError, match=r"recipe: small in the study, base now$"):
        halving_agreement(other, full)
    with pytest.raises(UserError, match="--pruner halving against one without"):
        halving_agreement(full, full)
    empty = written(tmp_path / "empty", [])
    half = written(tmp_path / "good", halved(0.75, 0.85, 50.0), RUNGS, pruning="halving")
    with pytest.raises(UserError, match=r"empty has no finished cell"):
        halving_agreement(half, empty)


@pytest.mark.parametrize("keep", [0, 1, 40, 300, 900])
def test_a_truncated_file(tmp_path: Path, keep: int) -> None:
    written(tmp_path, whole_grid())
    file = tmp_path / "study.json"
    file.write_text(file.read_text()[:keep])
    with pytest.raises(UserError, match=r"^[^\n]*study.json [^\n]*damaged[^\n]*$"):
        read_study(tmp_path)


@pytest.mark.parametrize("text", ["[]", "{}", '{"format": 2, "trials": []}', '{"format": 1}'])
def test_a_file_of_another_version(tmp_path: Path, text: str) -> None:
    (tmp_path / "study.json").write_text(text)
    with pytest.raises(UserError, match=r"^[^\n]*study.json [^\n]*expected format 1[^\n]*$"):
        read_study(tmp_path)


def test_a_folder_without_a_study(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^no study in [^\n]* study.json; [^\n]*$"):
        read_study(tmp_path)


def test_reading_a_study_needs_no_torch(tmp_path: Path) -> None:
    written(tmp_path, whole_grid())
    code = (
        "import sys; from pathlib import Path; from maekit.study.saved import read_study\n"
        "from maekit.study.text_table import text_table\n"
        "print(len(text_table(read_study(Path(sys.argv[1])))))\n"
        "print(sorted({'torch', 'numpy', 'optuna', 'lightning', 'yaml', 'sqlalchemy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code, tmp_path], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[:2] == ["7", "[]"]
