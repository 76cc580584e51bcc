"""The loop counters of a Lightning checkpoint, settled on an optimizer step.

Lightning tells a resumed run where it stood from its counters of epochs and batches. Saved in the middle of an
accumulation, of a batch that failed, of a validation, or where `max_steps` ended a run, they describe places from
which it cannot go on exactly. So they are always rewritten to what they are right after a batch that stepped.
"""

from typing import Any


def settle(fit_loop: dict[str, Any], step: int, accumulation: int, steps_per_epoch: int) -> None:
    """Moves the counters to the last whole optimizer step, in place.

    Args:
        fit_loop: `checkpoint["loops"]["fit_loop"]`.
        step: optimizer steps done; nothing changes before the first.
        accumulation: device batches an optimizer step.
        steps_per_epoch: optimizer steps an epoch.
    """
    if step == 0:
        return
    epoch = (step - 1) // steps_per_epoch
    done = (step - epoch * steps_per_epoch) * accumulation
    before = epoch * steps_per_epoch * accumulation
    epochs, batches = fit_loop["epoch_progress"], fit_loop["epoch_loop.batch_progress"]
    for counters in (epochs["current"], epochs["total"]):
        counters.update(ready=epoch + 1, started=epoch + 1, processed=epoch, completed=epoch)
    for counters, base in ((batches["current"], 0), (batches["total"], before)):
        counters.update(ready=base + done, started=base + done, processed=base + done, completed=base + done - 1)
    batches["is_last_batch"] = done == steps_per_epoch * accumulation
