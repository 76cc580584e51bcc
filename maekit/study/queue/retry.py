"""Retries while a study's database is unreachable, and the times that a worker of a study keeps."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from optuna.exceptions import StorageInternalError
from sqlalchemy.exc import SQLAlchemyError

from maekit.errors import UserError

T = TypeVar("T")
Say = Callable[[str], None]

_DAMAGED = ("file is not a database", "database disk image is malformed")  # of SQLite
_NOT_RETRIED = ("authentication failed", "does not exist", "no password supplied", "no pg_hba.conf entry")


@dataclass(frozen=True)
class Timing:
    """How often a worker looks at what, and how long it waits, in seconds.

    Attributes:
        poll: between two looks at its processes.
        refresh: between two looks at the database.
        retry: how long an unreachable database is retried.
        heartbeat: between two heartbeats of a trial.
        grace: without a heartbeat for so long a trial is taken from its worker; longer than `retry`.
    """

    poll: float = 0.2
    refresh: float = 3.0
    retry: float = 120.0
    heartbeat: int = 20
    grace: int = 300


class DatabaseUnreachable(UserError):  # noqa: N818 - the user can mend it
    """The database did not answer within the retry time."""


class Stopped(Exception):  # noqa: N818 - not an error
    """A signal stopped the study while it waited for its database."""


def with_retries(
    action: Callable[[], T],
    shown_url: str,
    say: Say,
    stopped: Callable[[], bool],
    retry_seconds: float,
    *,
    reset: Callable[[], None] = lambda: None,
    sleep: Callable[[float], None] = time.sleep,
) -> T:
    """Returns the action's result; retries it while the database is unreachable.

    Args:
        action: uses the database.
        shown_url: the database's, without its password.
        say: prints a line, at the first failure and when the database answers again.
        stopped: whether a signal came; asked ten times a second.
        retry_seconds: how long to retry.
        reset: called after each failure, before the next try.
        sleep: waits for so many seconds.

    Raises:
        UserError: the database refuses, so that retrying cannot help.
        DatabaseUnreachable: no answer within `retry_seconds`.
        Stopped: a signal came.
    """
    first_failure: float | None = None
    wait = 1.0
    while True:
        try:
            result = action()
        except (StorageInternalError, SQLAlchemyError) as error:
            reset()
            reason, now = _reason(error), time.monotonic()
            if any(words in reason for words in _DAMAGED):
                raise UserError(
                    f"the study's database {shown_url} is damaged ({reason}); move that file away and give the same "
                    "command again: finished runs are read from their folders"
                ) from error
            if first_failure is None:
                if any(words in reason for words in _NOT_RETRIED):
                    raise UserError(f"the study's database {shown_url} refuses: {reason}; see --storage") from error
                first_failure = now
                say(f"the study's database {shown_url} does not answer ({reason}); retrying for {retry_seconds:.0f} s")
            if now - first_failure >= retry_seconds:
                raise DatabaseUnreachable(
                    f"the study's database {shown_url} has not answered for {now - first_failure:.0f} s ({reason}); "
                    "nothing is lost: when it is back, give the same command again"
                ) from error
        else:
            if first_failure is not None:
                say(f"the study's database answers again after {time.monotonic() - first_failure:.0f} s")
            return result
        left = min(wait, max(retry_seconds - (time.monotonic() - first_failure), 0.1))
        while left > 0:
            if stopped():
                raise Stopped
            sleep(min(left, 0.1))
            left -= 0.1
        wait = min(2 * wait, 30.0)


def _reason(error: BaseException) -> str:
    """The driver's own message in one line: Optuna and SQLAlchemy wrap it in theirs, with SQL statements and values."""
    inner: BaseException = error
    while (cause := getattr(inner, "orig", None) or inner.__cause__) is not None:
        inner = cause
    return (" ".join(str(inner).split()) or type(inner).__name__)[:300]
