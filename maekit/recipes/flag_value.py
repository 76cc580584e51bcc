"""What a flag was given among words of a command line that no parser has read yet. Standard library only."""

from collections.abc import Sequence


def flag_value(words: Sequence[str], name: str) -> str | None:
    """What a flag was given, as `--flag value` or `--flag=value`; None where it was not."""
    for place, word in enumerate(words):
        if word.startswith(f"{name}="):
            return word.partition("=")[2]
        if word == name:
            return next(iter(words[place + 1 :]), None)
    return None
