"""The one error a user is meant to read, and the nearest-name hint in it."""

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """Something the user can mend. Its text is one line: got, expected, where, what to do.

    The command line prints it without a trace (with one under `-v`) and exits with `status`.

    Attributes:
        status: the exit status.
        shared: whether every process of a run raises it at the same place; then only the first one prints it.
    """

    status = 2
    shared = False


class Interrupted(UserError):  # noqa: N818 - not an error: named by the signal
    """A run that was stopped by a signal.

    Args:
        message: where the run stands and how it goes on.
        signal_number: the signal; the exit status is 128 more.
    """

    shared = True

    def __init__(self, message: str, signal_number: int) -> None:
        super().__init__(message)
        self.signal_number = signal_number
        self.status = 128 + signal_number


class LostProcessError(UserError):
    """Another process of the run has ended, or cannot be reached any more; this one cannot go on without it.

    Args:
        message: what this process noticed.
        speaks: whether this process prints it, of all on its machine.
    """

    status = 1

    def __init__(self, message: str, *, speaks: bool) -> None:
        super().__init__(message)
        self.speaks = speaks
        self.shared = not speaks


def nearest(word: str, known: Iterable[str]) -> str:
    """Returns `; did you mean 'x'?` for the first of `known` names that begins so, else the closest; "" if none is."""
    names = list(known)
    begun = [name for name in names if len(word) > 3 and name.startswith(word)]
    close = begun or difflib.get_close_matches(word, names, n=1, cutoff=0.5)
    return f"; did you mean '{close[0]}'?" if close else ""
