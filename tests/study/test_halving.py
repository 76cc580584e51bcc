"""Halving and the median: which runs go on, at what cost, and that nothing is paid for twice."""

import random
import time
from pathlib import Path
from statistics import fmean

import pytest

from maekit.errors import UserError
from maekit.study.queue.plans import make_plan, rung_steps
from maekit.study.results import cell_results, full_grid_steps, halving_agreement, spent_steps
from tests.study.fake_fit import value
from tests.study.helpers import begin, begins, definition, rows, run, starts

DECAYS = (0.55, 0.65, 0.75, 0.85, 1.0)


@pytest.mark.parametrize(
    ("max_steps", "cells", "reduction", "steps"),
    [
        (1032, 5, 4, [258, 1032]),
        (90, 3, 4, [22, 90]),  # fewer cells than the reduction: one goes on all the same
        (90, 8, 3, [30, 90]),
        (90, 9, 3, [10, 30, 90]),
        (200, 5, 2, [50, 100, 200]),
        (2, 9, 3, [1, 2]),  # too short for a rung between
        (90, 1, 3, [90]),
    ],
)
def test_rungs(max_steps: int, cells: int, reduction: int, steps: list[int]) -> None:
    assert rung_steps(max_steps, cells, reduction) == steps


def by_hand(seeds: tuple[int, ...], steps: list[int], reduction: int) -> tuple[list[list[float]], int]:
    """Successive halving of the stand-in's values: which cells are on each rung, and the steps of it all."""
    cells, rungs, spent = list(DECAYS), [list(DECAYS)], 0
    for rung, step in enumerate(steps):
        spent += len(cells) * len(seeds) * (step - (steps[rung - 1] if rung else 0))
        means = {c: fmean(value({"optim.layer_decay": str(c), "run.seed": str(s)}, step) for s in seeds) for c in cells}
        cells = sorted(cells, key=lambda cell: -means[cell])[: max(len(cells) // reduction, 1)]
        rungs.append(cells)
    return rungs[: len(steps)], spent


@pytest.mark.parametrize(("reduction", "steps"), [(2, [2, 4, 9]), (4, [2, 9])])
def test_halving_finds_the_grids_best_for_less(tmp_path: Path, reduction: int, steps: list[int]) -> None:
    made = definition(*DECAYS, seeds=(0, 1), pruning="halving", reduction=reduction)
    lines: list[str] = []
    study = run(made, tmp_path / "halving", lines, slots=2)
    rungs, spent = by_hand((0, 1), steps, reduction)
    for rung, cells in enumerate(rungs):
        found = [trial for trial in study.trials if trial["rung"] == rung]
        assert {trial["values"]["optim.layer_decay"] for trial in found} == set(cells)
        assert len(found) == 2 * len(cells)
    assert study.halving == {
        "rungs": steps,
        "kept": [[{"optim.layer_decay": cell} for cell in cells] for cells in rungs[1:]],
    }
    assert spent_steps(study) == spent and spent / full_grid_steps(study) <= {2: 0.5, 4: 0.4}[reduction]
    worst = [trial for trial in study.trials if trial["values"]["optim.layer_decay"] == 1.0]
    assert {(trial["state"], trial["reason"]) for trial in worst} == {("pruned", "halving: rank 5 of 5 at step 2")}
    last = len(steps) - 1
    assert starts(tmp_path / "halving")["layer_decay=0.75,seed=0"] == len(steps)  # gone on with in one folder
    seconds = [trial["seconds"] for trial in study.trials if trial["rung"] == last]
    assert seconds == [(9 - steps[-2]) / 2] * 2  # of this rung alone
    full = run(definition(*DECAYS, seeds=(0, 1)), tmp_path / "full", slots=2)
    agreement = halving_agreement(study, full)
    assert agreement["agrees"] and agreement["share"] == spent / 90
    ended = {trial["seed"]: trial["value"] for trial in study.trials if trial["rung"] == last}
    assert cell_results(full)[0].by_seed == ended  # the same run, paused or not


def test_halving_leaves_out_cells_that_failed(tmp_path: Path) -> None:
    study = run(definition(3, 0.75, 0.65, pruning="halving", reduction=2), tmp_path)
    assert study.halving is not None and study.halving["kept"][0] == [{"optim.layer_decay": 0.75}]
    assert [trial["state"] for trial in study.trials if trial["values"]["optim.layer_decay"] == 3] == ["failed"]
    nothing = run(definition(3, 2, pruning="halving", reduction=2), tmp_path / "nothing")
    assert [trial["state"] for trial in nothing.trials] == ["failed", "failed"]


def test_halving_killed_at_a_random_moment(tmp_path: Path) -> None:
    made, chance = definition(0.55, 0.65, 0.75, seeds=(0, 1), pruning="halving"), random.Random(1)
    for _ in range(3):
        with begin(made, tmp_path / "killed", env={"FAKE_SLEEP": "0.1"}, slots=2) as study:
            if not begins(study):
                break
            time.sleep(chance.uniform(0, 1))
            study.kill()
            study.communicate()
    run(made, tmp_path / "killed", slots=2)
    run(made, tmp_path / "undisturbed", slots=2)
    keys = ("values", "seed", "rung", "state", "value", "steps", "end_step", "reason", "intermediate")
    found = [[{key: row[key] for key in keys} for row in rows(tmp_path / name)] for name in ("killed", "undisturbed")]
    assert found[0] == found[1]


def test_halving_needs_all_cells_beforehand() -> None:
    with pytest.raises(UserError, match="got --pruner halving with --sampler tpe, expected grid or random"):
        make_plan(definition(0.5, pruning="halving", sampler="tpe", num_cells=1))


def test_the_median_stops_a_run_that_is_worse_than_half(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_STEPS", "30")
    monkeypatch.setenv("FAKE_SLEEP", "0.005")
    lines = Pace(monkeypatch)
    study = run(definition(0.75, 0.76, 0.74, 0.77, 0.73, 0.1, pruning="median", max_steps=30), tmp_path, lines)
    assert [trial["state"] for trial in study.trials] == ["complete"] * 5 + ["pruned"], lines
    last = study.trials[-1]
    step = max(int(step) for step in last["intermediate"])
    reason, end_step = last["reason"], last["end_step"]
    assert reason is not None and reason.startswith("median: ") and end_step is not None
    assert 0 < end_step < 30 and last["value"] == last["intermediate"][str(step)]
    assert int(reason.split()[-1]) <= step <= end_step and last["steps"] == end_step


class Pace(list[str]):
    """The lines of a study, the sixth of whose runs is slow enough to be stopped."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__()
        self.monkeypatch = monkeypatch

    def append(self, line: str) -> None:
        super().append(line)
        if sum(one.startswith("done") for one in self) == 5:
            self.monkeypatch.setenv("FAKE_SLEEP", "0.1")
