"""The one error a user is meant to read, and the nearest-name hint in it."""

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """Something the user can mend. Its text is one line: got, expected, where, what to do.

    The command line prints it without a trace (with one under `-v`) and exits with 2.
    """


def nearest(word: str, known: Iterable[str]) -> str:
    """Returns `; did you mean 'x'?` for the closest of `known` names, or an empty string when none is close."""
    close = difflib.get_close_matches(word, list(known), n=1, cutoff=0.5)
    return f"; did you mean '{close[0]}'?" if close else ""
