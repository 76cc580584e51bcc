"""What a look at a data set on disk found. No torch here."""

from dataclasses import dataclass, field

from maekit.system.numbers import plural

MAX_LINES = 20


@dataclass
class Findings:
    """The answer of `maekit data check`.

    Attributes:
        facts: what is there, one line each.
        problems: what is wrong and how to mend it, one line each.
    """

    facts: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """True when nothing is wrong."""
        return not self.problems

    def lines(self) -> list[str]:
        """Returns the facts, then the problems (the first 20), then the verdict."""
        more = len(self.problems) - MAX_LINES
        hidden = [f"... and {more} more like these"] if more > 0 else []
        verdict = "ok" if self.ok else plural(len(self.problems), "problem")
        return [*self.facts, *self.problems[:MAX_LINES], *hidden, verdict]
