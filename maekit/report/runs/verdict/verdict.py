"""The section `Verdict`: each sentence rests on numbers of another section, and names it."""

from collections.abc import Callable
from typing import NamedTuple

from maekit.report.document import Block, Code, Finding, Findings, Section, Text
from maekit.report.runs.verdict.course import course, overfitting
from maekit.report.runs.verdict.mistakes import mistakes
from maekit.report.runs.verdict.sureness import balance, certainty, label_noise, waiting
from maekit.runs.next_commands import next_commands
from maekit.runs.read import Run


class Rule(NamedTuple):
    """A question to a run's numbers.

    Attributes:
        topic: what it looks for, as a part of a sentence.
        find: the sentences; none where there is nothing, None where the numbers are too few or not recorded.
    """

    topic: str
    find: Callable[[Run], list[Finding] | None]


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
    answers = [(rule.topic, rule.find(run)) for rule in RULES]
    findings = tuple(finding for _, found in answers for finding in found or ())
    absent = [topic for topic, found in answers if found == []]
    unknown = [topic for topic, found in answers if found is None]
    lines = [
        *([f"Looked for and not found: {', '.join(absent)}."] if absent else []),
        *([f"Not judged, since too little of it is recorded: {', '.join(unknown)}."] if unknown else []),
    ]
    blocks: list[Block] = [Findings(findings)] if findings else []
    blocks += [Text(tuple(lines))] if lines else []
    commands = next_commands(run)
    if commands:
        blocks.append(Code("\n".join(f"# {what}\n{command}" for command, what in commands), "What to type next"))
    return Section("Verdict", tuple(blocks)) if blocks else None
