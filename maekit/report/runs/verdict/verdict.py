"""The section `Verdict` of a run: each sentence rests on numbers of another section, and names it."""

from maekit.report.document import Section
from maekit.report.rules import Rule, verdict_section
from maekit.report.runs.verdict.course import course, overfitting
from maekit.report.runs.verdict.mistakes import mistakes
from maekit.report.runs.verdict.sureness import balance, certainty, label_noise, waiting
from maekit.runs.next_commands import next_commands
from maekit.runs.read import Run

RULES = (
    Rule("few validation images", certainty),
    Rule("a plateau or a late gain", course),
    Rule("overfitting", overfitting),
    Rule("classes taken for others", mistakes),
    Rule("labels that may be wrong", label_noise),
    Rule("unbalanced classes", balance),
    Rule("waiting for images", waiting),
)


def verdict(run: Run) -> Section | None:
    """What the numbers say, what was looked for in vain, and the commands to type next; None before any validation."""
    if not run.val and not run.rows("val"):
        return None
    return verdict_section(RULES, run, next_commands(run))
