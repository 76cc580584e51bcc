"""Reads one flag's value from command-line words before any parser has read them. Standard library only."""

from collections.abc import Sequence


def flag_value(words: Sequence[str], name: str) -> str | None:
    """Returns the value of `--flag value` or `--flag=value`; None if the flag was not given."""
    for place, word in enumerate(words):
        if word.startswith(f"{name}="):
            return word.partition("=")[2]
        if word == name:
            return next(iter(words[place + 1 :]), None)
    return None
