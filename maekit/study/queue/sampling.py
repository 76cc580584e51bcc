"""Samples cells from a space: a random study's all at once, TPE's one after another."""

from collections.abc import Sequence

import optuna
from optuna.samplers import RandomSampler, TPESampler
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState, create_trial

from maekit.study.define.definition import Definition
from maekit.study.define.space import Cell
from maekit.study.queue.optuna_storage import no_experimental_warnings
from maekit.study.queue.trials import distributions, has_spec, spec_of, to_cell

_MAX_DRAWS = 100  # for one new cell; a space of short lists may have no more


def known_cells(definition: Definition) -> list[Cell]:
    """The cells of a grid, or those of a random study, which depend on its sampler's seed alone; none for TPE."""
    if definition.sampler != "random":
        return definition.cells()
    study = optuna.create_study(sampler=RandomSampler(seed=definition.sampler_seed))
    space, cells = distributions(definition.space), list[Cell]()
    for _ in range(_MAX_DRAWS * (definition.num_cells or 0)):
        if len(cells) == definition.num_cells:
            break
        cell = to_cell(study.ask(space).params, definition.space)
        if cell not in cells:
            cells.append(cell)
    return cells


def next_cell(definition: Definition, trials: Sequence[FrozenTrial]) -> Cell | None:
    """The cell that TPE tries next, given the trials so far; None if it finds no new one.

    Each seed's result is one observation. Running trials count as bad ones (`constant_liar`), so that two workers
    explore different cells. A new sampler is made for each cell, seeded by the number of cells before it: an
    interrupted study draws the same cells as an undisturbed one.

    Args:
        definition: the study.
        trials: all of its trials.
    """
    ours = [trial for trial in trials if has_spec(trial)]
    tried = [spec_of(trial).cell for trial in ours]
    observed = [_not_waiting(trial) for trial in ours if trial.state != TrialState.FAIL]
    num_cells = len({repr(sorted(cell.items())) for cell in tried})
    direction = StudyDirection.MAXIMIZE if definition.mode == "max" else StudyDirection.MINIMIZE
    for attempt in range(_MAX_DRAWS):
        seed = definition.sampler_seed + num_cells + 7919 * attempt
        with no_experimental_warnings():
            study = optuna.create_study(direction=direction, sampler=TPESampler(seed=seed, constant_liar=True))
        study.add_trials(observed)
        cell = to_cell(study.ask(distributions(definition.space)).params, definition.space)
        if cell not in tried:
            return cell
    return None


def _not_waiting(trial: FrozenTrial) -> FrozenTrial:
    """The trial, or a running copy of a waiting one: `ask` would return a waiting trial instead of sampling."""
    if trial.state != TrialState.WAITING:
        return trial
    return create_trial(state=TrialState.RUNNING, params=trial.params, distributions=trial.distributions)
