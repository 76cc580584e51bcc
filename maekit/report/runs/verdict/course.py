"""How a run went over its steps: still better at its end, flat, or past its best; and whether it overfitted."""

import statistics

from maekit.report import limits
from maekit.report.document import Finding
from maekit.runs.read import Run
from maekit.runs.rows import Row
from maekit.system.numbers import number, plural

CURVES = "Curves"


def course(run: Run) -> list[Finding] | None:
    """Whether training longer can help, or less would have done; None with too few validations to tell."""
    points = _course_points(run)
    if run.monitor is None or len(points) < limits.VALIDATIONS:
        return None
    name, mode = run.monitor
    sign = 1 if mode == "max" else -1
    values = [sign * value for _, value in points]
    best = max(values)
    at, last, gain = points[values.index(best)][0], points[-1][0], best - values[0]
    if gain <= 0:
        return [Finding(f"{name} was never better than {number(points[0][1])} of the first validation.", CURVES)]
    earlier = max(values[: -max(1, len(values) // 3)])
    recent = best - earlier
    lost = best - values[-1]
    if lost > max(limits.LOST_SHARE * gain, run.interval.half_width if run.interval else 0.0):
        after = len(values) - 1 - values.index(best)
        ended = f"; --run.patience {limits.PATIENCE} would have ended the run earlier" * (after > limits.PATIENCE)
        return [
            Finding(
                f"The best {name} is of step {at:,} of {last:,}; the last is {number(lost)} worse. best.ckpt is that "
                f"of the best{ended}.",
                CURVES,
            )
        ]
    if recent >= limits.RISING_SHARE * gain and at >= limits.LATE * last:
        longer = "" if run.early_stop else "; longer training may help (--trainer.max_epochs, with its own schedule)"
        return [
            Finding(
                f"{name} was still improving at the end: {number(sign * earlier)} to {number(sign * best)} in the last "
                f"third of the validations{longer}.",
                CURVES,
            )
        ]
    if recent > limits.FLAT_SHARE * gain:
        return []
    near = best - limits.FLAT_SHARE * gain
    since, there = next((step, value) for (step, _), value in zip(points, values, strict=True) if value >= near)
    words = (
        f"{name} has hardly improved since step {since:,} of {last:,}: {number(sign * there)} there, "
        f"{number(sign * best)} at best"
    )
    return [Finding(f"{words}{_outlook(run, since, best)}", CURVES)]


def _outlook(run: Run, since: int, best: float) -> str:
    """What a plateau says of longer training: little where the rates were low by then, or the images are few."""
    found = run.interval
    if found is not None and found.half_width > limits.UNSURE * abs(best):
        return f", as far as {plural(found.images, 'validation image')} can tell."
    rates = [(row["step"], row["lr"]) for row in run.rows("train") if "lr" in row]
    later = next((rate for step, rate in rates if step >= since), None)
    peak = max((rate for _, rate in rates), default=0.0)
    if later is None or peak <= 0:
        return "."
    if later >= limits.LOW_LR * peak:
        return ". Longer training with these settings is unlikely to help."
    share = round(100 * later / peak)
    return f". The learning rate was down to {share} % of its peak by then, so a longer schedule may still help."


def overfitting(run: Run) -> list[Finding] | None:
    """Whether the validation loss rose while the training loss went on falling; None without both curves."""
    val = [(row["step"], row["loss"]) for row in run.rows("val") if "loss" in row and row["step"] > 0]
    train = [row for row in run.rows("train") if "loss" in row]
    if len(val) < limits.VALIDATIONS or len(train) < limits.VALIDATIONS:
        return None
    step, lowest = min(val, key=lambda point: point[1])
    last_step, last = val[-1]
    before, after = _train_loss(train, step), _train_loss(train, last_step)
    if before is None or after is None or lowest <= 0 or before <= 0:
        return []
    rise, fall = last / lowest - 1, 1 - after / before
    if rise < limits.LOSS_RISE or fall < limits.TRAIN_FALL:
        return []
    return [
        Finding(
            f"It overfits: the validation loss is {number(last)}, {round(100 * rise)} % above its lowest of step "
            f"{int(step):,}, while the training loss fell by another {round(100 * fall)} %. Fewer epochs, more "
            "augmentation or fewer tuned blocks may help.",
            CURVES,
        )
    ]


def _course_points(run: Run) -> list[tuple[int, float]]:
    """The monitored metric by step, once each, of the trained model."""
    if run.monitor is None or run.status == "validated":
        return []
    name = run.monitor[0]
    points = {int(row["step"]): row[name] for row in run.rows("val") if name in row and row["step"] > 0}
    return sorted(points.items())


def _train_loss(rows: list[Row], step: float) -> float | None:
    """The median training loss of up to five rows that end at a step; None where none does."""
    before = [row["loss"] for row in rows if row["step"] <= step][-5:]
    return statistics.median(before) if before else None
