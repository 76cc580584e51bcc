"""Cells that are drawn and not listed: at random all at once, by TPE one after another."""

from collections.abc import Sequence

import optuna
from optuna.samplers import RandomSampler, TPESampler
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState, create_trial

from maekit.study.define.definition import Definition
from maekit.study.define.space import Cell
from maekit.study.queue.storage import quietly
from maekit.study.queue.trials import cell_of, distributions, leg_of

_MOST_DRAWS = 100  # for one cell that has not been drawn before; a space of lists has only so many


def known_cells(definition: Definition) -> list[Cell]:
    """The cells of a grid, or those that a random study draws: the same whoever draws them, and when. None of TPE's."""
    if definition.sampler == "random":
        return _drawn(definition)
    return definition.cells()


def _drawn(definition: Definition) -> list[Cell]:
    study = optuna.create_study(sampler=RandomSampler(seed=definition.sampler_seed))
    space, cells = distributions(definition.space), list[Cell]()
    for _ in range(_MOST_DRAWS * (definition.num_cells or 0)):
        if len(cells) == definition.num_cells:
            break
        cell = cell_of(study.ask(space).params, definition.space)
        if cell not in cells:
            cells.append(cell)
    return cells


def next_cell(definition: Definition, trials: Sequence[FrozenTrial]) -> Cell | None:
    """The cell that TPE tries next, after what is known of those before; None when none new is found.

    Each seed's result counts as one observation, and runs that are still on as poor ones, so that two workers do not
    draw alike. The generator begins anew with each cell: an interrupted study draws as if it had not been interrupted.

    Args:
        definition: the study.
        trials: all of its trials.
    """
    done = [_without_queue(trial) for trial in trials if "leg" in trial.user_attrs and trial.state != TrialState.FAIL]
    tried = [leg_of(trial).cell for trial in trials if "leg" in trial.user_attrs]
    count = len({repr(sorted(cell.items())) for cell in tried})
    direction = StudyDirection.MAXIMIZE if definition.mode == "max" else StudyDirection.MINIMIZE
    for attempt in range(_MOST_DRAWS):
        seed = definition.sampler_seed + count + 7919 * attempt
        with quietly():
            study = optuna.create_study(direction=direction, sampler=TPESampler(seed=seed, constant_liar=True))
        study.add_trials(done)
        cell = cell_of(study.ask(distributions(definition.space)).params, definition.space)
        if cell not in tried:
            return cell
    return None


def _without_queue(trial: FrozenTrial) -> FrozenTrial:
    """A copy that `ask` does not hand out: what waits is shown to the sampler as running."""
    if trial.state != TrialState.WAITING:
        return trial
    return create_trial(state=TrialState.RUNNING, params=trial.params, distributions=trial.distributions)
