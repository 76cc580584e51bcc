"""The one error a user is meant to read, and the nearest-name hint in it."""

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """Something the user can mend. Its text is one line: got, expected, where, what to do.

    The command line prints it without a trace (with one under `-v`) and exits with `status`.
    """

    status = 2


class Interrupted(UserError):  # noqa: N818 - it is no fault
    """A run that was told to stop by a signal, after its state was saved.

    Args:
        message: where the run stands and how it goes on.
        signal_number: the signal; the exit status is 128 more.
    """

    def __init__(self, message: str, signal_number: int) -> None:
        super().__init__(message)
        self.status = 128 + signal_number


def nearest(word: str, known: Iterable[str]) -> str:
    """Returns `; did you mean 'x'?` for the closest of `known` names, or an empty string when none is close."""
    close = difflib.get_close_matches(word, list(known), n=1, cutoff=0.5)
    return f"; did you mean '{close[0]}'?" if close else ""
