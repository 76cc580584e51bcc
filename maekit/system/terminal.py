"""Prints lines on rank 0 only."""

import sys
from collections.abc import Iterable
from unicodedata import category

from maekit.system.rank import rank


def on_one_line(text: str) -> str:
    """Returns a text with its control characters escaped, such as the line breaks and tabs that names may have."""
    return "".join(repr(one)[1:-1] if category(one) in ("Cc", "Zl", "Zp") else one for one in text)


def say(line: str) -> None:
    """Prints a line on rank 0; nothing on other ranks."""
    if rank() == 0:
        print(line, flush=True)


def say_all(lines: Iterable[str]) -> None:
    """Prints several lines on rank 0; nothing on other ranks."""
    for line in lines:
        say(line)


def print_aside(lines: Iterable[str]) -> None:
    """Prints lines to stderr on rank 0, beside what a command prints for other programs; nothing on other ranks."""
    for line in lines if rank() == 0 else ():
        print(f"maekit: {line}", file=sys.stderr, flush=True)
