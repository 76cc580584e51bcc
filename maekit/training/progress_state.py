"""Computes the loop counters with which Lightning resumes a run from the optimizer step alone.

Lightning finds a resumed run's place by counters of epochs, batches and evaluations. The counters in a checkpoint are
not used: they count device batches of the run that saved it, which may have had other devices or another accumulation.
They may also stand in the middle of an accumulation, of a failed batch, or of a validation, and Lightning would then
validate the remaining images only, instead of starting the validation again.
"""

import copy
from typing import Any

from maekit.errors import UserError

Counters = dict[str, Any]


def counters_at(fresh: Counters, step: int, accumulation: int, steps_per_epoch: int) -> Counters:
    """Returns the counters of a run right after the last device batch of an optimizer step.

    Args:
        fresh: `trainer.fit_loop.state_dict()` of a trainer that has not run yet, with every counter at 0.
        step: optimizer steps done; nothing changes at 0.
        accumulation: device batches of an optimizer step, of the run that resumes.
        steps_per_epoch: optimizer steps of an epoch, of the run that resumes.
    """
    counters = copy.deepcopy(fresh)
    if step == 0:
        return counters
    epoch = (step - 1) // steps_per_epoch
    steps = step - epoch * steps_per_epoch
    done, before = steps * accumulation, epoch * steps_per_epoch * accumulation
    epochs, batches = counters["epoch_progress"], counters["epoch_loop.batch_progress"]
    for progress in (epochs["current"], epochs["total"]):
        progress.update(ready=epoch + 1, started=epoch + 1, processed=epoch, completed=epoch)
    for progress, base in ((batches["current"], 0), (batches["total"], before)):
        progress.update(ready=base + done, started=base + done, processed=base + done, completed=base + done - 1)
    batches["is_last_batch"] = steps == steps_per_epoch
    optimizer = counters["epoch_loop.automatic_optimization.optim_progress"]["optimizer"]
    for progress in (*optimizer.values(), counters["epoch_loop.scheduler_progress"]):
        for part, number in (("total", step), ("current", steps)):
            progress[part].update(dict.fromkeys(progress[part], number))
    counters["epoch_loop.state_dict"]["_batches_that_stepped"] = step - 1
    return counters


def steps_of(max_steps: int | None, max_epochs: int | None, steps_per_epoch: int) -> int:
    """Optimizer steps of a run that ends at the smaller of two limits; None or a value below 1 means no limit.

    Raises:
        UserError: there is neither limit.
    """
    limits = [limit for limit in (max_steps or -1, (max_epochs or -1) * steps_per_epoch) if limit > 0]
    if not limits:
        raise UserError("the run has no end; give --trainer.max_epochs or --trainer.max_steps")
    return min(limits)
