"""Lines on the terminal, printed by the first process alone."""

from collections.abc import Iterable

from maekit.system.rank import rank


def say(line: str) -> None:
    """Prints a line, on the first process of a run alone."""
    if rank() == 0:
        print(line, flush=True)


def say_all(lines: Iterable[str]) -> None:
    """Prints several lines, on the first process of a run alone."""
    for line in lines:
        say(line)
