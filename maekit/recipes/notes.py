"""What a run says of its settings before it trains: which change nothing, and where its schedule never gets."""

from maekit.optim.settings import Optimisation
from maekit.recipes.no_effect import no_effect
from maekit.recipes.settings import Settings


def setting_notes(settings: Settings, total_batch: int, total_steps: int, steps_per_epoch: int) -> list[str]:
    """Returns a line for each flag that changes nothing, and for each part of the schedule that is never reached.

    Args:
        settings: of the run.
        total_batch: images in an optimizer step.
        total_steps: optimizer steps of the whole run.
        steps_per_epoch: optimizer steps of an epoch.
    """
    optimisation = Optimisation(**settings.values["optim"])
    return [*no_effect(settings), *schedule_notes(optimisation, total_batch, total_steps, steps_per_epoch)]


def schedule_notes(optimisation: Optimisation, total_batch: int, total_steps: int, steps_per_epoch: int) -> list[str]:
    """Returns a line for each part of a schedule that a run does not get to, or that turns it round; see above."""
    lines, peak = [], optimisation.peak_lr(total_batch)
    warmup = optimisation.num_warmup_steps(steps_per_epoch)
    if warmup >= total_steps:
        last = optimisation.factor(total_steps, steps_per_epoch)(total_steps - 1, {"peak_lr": peak, "lr_scale": 1.0})
        lines.append(
            f"note    the warm-up takes {warmup:,} steps and the run {total_steps:,}: the learning rate ends at "
            f"{peak * last:.2g}, its peak of {peak:.2g} is never reached"
        )
    late = [step for step in optimisation.milestones or [] if step >= total_steps]
    if optimisation.schedule == "multistep" and late:
        lines.append(
            f"note    the run has {total_steps:,} steps: optim.milestones {', '.join(map(str, late))} are never reached"
        )
    if optimisation.min_lr > peak:
        lines.append(
            f"note    optim.min_lr {optimisation.min_lr:.2g} is above the peak learning rate of {peak:.2g}: it rises "
            "where it should fall; give a lower one, such as --optim.min_lr 0"
        )
    return lines
