"""A section `Verdict`: rules ask numbers, and each of their sentences names the section that has these numbers."""

from collections.abc import Callable, Sequence
from typing import Generic, NamedTuple, TypeVar

from maekit.report.document import Block, Code, Finding, Findings, Section, Text

Subject = TypeVar("Subject")


class Rule(NamedTuple, Generic[Subject]):
    """A question to the numbers of a run or a study.

    Attributes:
        topic: what it looks for, as a part of a sentence.
        find: the sentences; none where there is nothing, None where the numbers are too few or not recorded.
    """

    topic: str
    find: Callable[[Subject], list[Finding] | None]


def verdict_section(
    rules: Sequence[Rule[Subject]], subject: Subject, commands: Sequence[tuple[str, str]]
) -> Section | None:
    """What the rules found, what they looked for in vain, and the commands to type next; None without any of these.

    Args:
        rules: in the order of their sentences.
        subject: what they are asked of.
        commands: each with what it does.
    """
    answers = [(rule.topic, rule.find(subject)) for rule in rules]
    findings = tuple(finding for _, found in answers for finding in found or ())
    absent = [topic for topic, found in answers if found == []]
    unknown = [topic for topic, found in answers if found is None]
    lines = [
        *([f"Looked for and not found: {', '.join(absent)}."] if absent else []),
        *([f"Not judged, since too little of it is recorded: {', '.join(unknown)}."] if unknown else []),
    ]
    blocks: list[Block] = [Findings(findings)] if findings else []
    blocks += [Text(tuple(lines))] if lines else []
    if commands:
        blocks.append(Code("\n".join(f"# {what}\n{command}" for command, what in commands), "What to type next"))
    return Section("Verdict", tuple(blocks)) if blocks else None
