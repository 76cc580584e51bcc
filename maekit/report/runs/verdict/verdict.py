"""The section `Verdict` of a run: each sentence rests on numbers of another section, and names it."""

from maekit.report.document import Finding, Section
from maekit.report.rules import Rule, verdict_section
from maekit.report.runs.verdict.course import course, overfitting
from maekit.report.runs.verdict.guess import guess
from maekit.report.runs.verdict.mistakes import mistakes
from maekit.report.runs.verdict.sureness import balance, certainty, label_noise, shared_files, waiting
from maekit.runs.listing.state import state_of
from maekit.runs.next_commands import next_commands
from maekit.runs.read import Run


def ending(run: Run) -> list[Finding]:
    """Why a run that did not come to its end was cut short; none of one that did, or that is running."""
    if run.status != "unfinished" or run.is_live:
        return []
    word, reason = state_of(run)
    return [
        Finding(
            f"It {'failed' if word == 'failed' else f'was {word}'}: {reason or 'it left no record of why'}.", "Result"
        )
    ]


RULES = (
    Rule("validation images that are training images", shared_files),
    Rule("few validation images", certainty),
    Rule("a result no better than a guess", guess),
    Rule("a plateau or a late gain", course),
    Rule("overfitting", overfitting),
    Rule("classes taken for others", mistakes),
    Rule("labels that may be wrong", label_noise),
    Rule("unbalanced classes", balance),
    Rule("waiting for images", waiting),
)


ENDING = Rule("why it ended", ending)


def verdict(run: Run) -> Section | None:
    """What the numbers say, what was looked for in vain, and the commands to type next; None before any validation,
    if it still runs."""
    if not run.val and not run.rows("val"):
        return verdict_section((ENDING,), run, next_commands(run)) if ending(run) else None
    return verdict_section((ENDING, *RULES) if ending(run) else RULES, run, next_commands(run))
