"""Whether a result is any better than a guess that does not look at the images."""

from maekit.report import limits
from maekit.report.document import Finding
from maekit.report.runs.verdict.mistakes import CLASSES, Counts, counts_of
from maekit.report.significance import sign_test
from maekit.runs.read import Run
from maekit.system.numbers import number

RESULT = "Result"
OF_A_GUESS = {"r2": "the mean of the values for every image", "kappa": "one grade for every image"}  # have 0
COUNTS = ("top1", "accuracy")  # other metrics may rise while fewer images are right, as of rare classes


def guess(run: Run) -> list[Finding] | None:
    """Says of R2 and kappa whether 0 is within their interval, of images that are right whether one class does as well.

    None where that is not recorded, or a run is judged by another metric.
    """
    name = run.monitor[0] if run.monitor is not None else ""
    if name in OF_A_GUESS:
        return _by_interval(run, name)
    counts = counts_of(run) if name in COUNTS else None
    return None if counts is None else _by_most_frequent(counts)


def _by_interval(run: Run, name: str) -> list[Finding] | None:
    found = run.interval
    value = run.best.value if run.best.value is not None else run.val.get(name)
    if found is None or value is None:
        return None
    if found.low > 0:
        return []
    ends = f"{round(100 * found.level)} % interval {number(found.low)} to {number(found.high)}"
    return [
        Finding(f"{_lead(value <= 0)}: {name} {number(value)} ({ends}), and {OF_A_GUESS[name]} would have 0.", RESULT)
    ]


def _by_most_frequent(counts: Counts) -> list[Finding]:
    """McNemar's exact test against the most frequent class."""
    totals = [int(sum(row)) for row in counts.rows]
    at, most = max(enumerate(totals), key=lambda one: one[1])
    right = int(sum(row[place] for place, row in enumerate(counts.rows)))
    hits = int(counts.rows[at][at])
    chance = sign_test(right - hits, most - hits)
    if most == sum(totals) or (right > most and chance < limits.UNLIKELY):
        return []
    lead = "" if right <= most else f", a lead that chance gives with a probability of {number(float(f'{chance:.2g}'))}"
    return [
        Finding(
            f"{_lead(right <= most)}: {right:,} of {sum(totals):,} images are right, and {counts.names[at]} for "
            f"every one of them would be right for {most:,}{lead}.",
            CLASSES,
        )
    ]


def _lead(is_worse: bool) -> str:
    return "No better than a guess" if is_worse else "Hardly better than a guess"
