"""A study's database: SQLite in its folder, or PostgreSQL for many machines. One that is away is waited for."""

import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import optuna
from optuna.exceptions import StorageInternalError
from optuna.storages import BaseStorage, InMemoryStorage, RDBStorage
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from maekit.errors import UserError
from maekit.system import processes as lease

T = TypeVar("T")
Say = Callable[[str], None]

PATIENCE_SECONDS = 120.0  # how long a database may be away
_HOPELESS = ("authentication failed", "does not exist", "no password supplied", "no pg_hba.conf entry")
_FORMS = "expected postgresql://USER:PASSWORD@HOST/DATABASE, or sqlite:///FILE for one machine"


class DatabaseAway(UserError):  # noqa: N818 - it is the user's to mend
    """A database that did not come back in time."""


class Stopped(Exception):  # noqa: N818 - it is no fault
    """The study was told to stop while it waited for its database."""


class Database:
    """The storage of one study, and the patience with it.

    Args:
        storage: Optuna's storage.
        shown: its URL as it may be shown: without a password.
        say: prints a line.
        stopped: asked while waiting; true ends the wait.
    """

    def __init__(self, storage: BaseStorage, shown: str, say: Say, stopped: Callable[[], bool]) -> None:
        self.storage = storage
        self.shown = shown
        self.say = say
        self.stopped = stopped

    def call(self, action: Callable[[], T]) -> T:
        """Does something with the database; one that is away is tried again after 1, 2, 4, ... seconds.

        What is done must bear being done twice: the answer may have been lost and not the deed.

        Raises:
            DatabaseAway: after two minutes.
            Stopped: the study was told to stop meanwhile.
        """
        return patiently(action, self.shown, self.say, self.stopped, self._forget)

    def close(self) -> None:
        """Closes its connections."""
        self._forget()
        if isinstance(self.storage, RDBStorage):
            self.storage.engine.dispose()

    def _forget(self) -> None:
        if isinstance(self.storage, RDBStorage):
            self.storage.remove_session()


def open_database(url: str, say: Say, stopped: Callable[[], bool]) -> Database:
    """Opens a database, and makes Optuna's tables in it where they are missing.

    Args:
        url: `sqlite:///FILE` or `postgresql://...`; the empty text is a database in memory.

    Raises:
        UserError: no such kind of database, a driver that is not installed, a refused password, no answer.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    if not url:
        return Database(InMemoryStorage(), "", say, stopped)
    parsed = parse_url(url)
    shown = shown_url(url)
    if parsed.get_backend_name() == "sqlite" and parsed.database:
        Path(parsed.database).parent.mkdir(parents=True, exist_ok=True)
    try:
        storage = patiently(lambda: _connect(parsed), shown, say, stopped, lambda: None)
    except ImportError as error:
        raise UserError(
            f"{shown} needs a driver that is not installed ({error}); pip install 'maekit[postgresql]'"
        ) from error
    return Database(storage, shown, say, stopped)


def parse_url(url: str) -> URL:
    """Reads a database's URL; PostgreSQL is spoken to by psycopg 3.

    Raises:
        UserError: no URL, or of a database that is not supported. The password is not in the line.
    """
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError) as error:
        raise UserError(f"--storage: got no URL of a database, {_FORMS}") from error
    kind = parsed.drivername.split("+")[0]
    if kind in ("postgresql", "postgres"):
        return parsed.set(drivername="postgresql+psycopg")
    if kind == "sqlite" and parsed.database not in (None, "", ":memory:"):
        return parsed
    raise UserError(f"--storage: got {kind}, {_FORMS}")


def shown_url(url: str) -> str:
    """A database's URL without its password, for files and messages; empty for the one in memory."""
    if not url:
        return ""
    parsed = make_url(url)
    query = {key: value for key, value in parsed.query.items() if key not in ("password", "sslpassword")}
    bare = URL.create(parsed.drivername, parsed.username, None, parsed.host, parsed.port, parsed.database, query)
    return bare.render_as_string(hide_password=False)


def _connect(url: URL) -> RDBStorage:
    if url.get_backend_name() == "sqlite":
        options: dict[str, Any] = {"connect_args": {"timeout": 60}}
    else:
        # A server that vanished without a word is noticed by these and not after hours.
        given = {"connect_timeout": 10, "keepalives_idle": 10, "keepalives_interval": 5, "keepalives_count": 3}
        options = {"pool_pre_ping": True, "connect_args": given}
    text = url.render_as_string(hide_password=False).replace("{", "{{").replace("}", "}}")
    with quietly():
        return RDBStorage(
            text, engine_kwargs=options, heartbeat_interval=lease.BEAT_SECONDS, grace_period=lease.GRACE_SECONDS
        )


@contextmanager
def quietly() -> Iterator[None]:
    """Leaves out Optuna's warnings that heartbeats are experimental."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        yield


def patiently(
    action: Callable[[], T], shown: str, say: Say, stopped: Callable[[], bool], forget: Callable[[], None]
) -> T:
    """`Database.call` without a database."""
    began, wait = 0.0, 1.0
    while True:
        try:
            result = action()
        except (StorageInternalError, SQLAlchemyError) as error:
            forget()
            why, now = _reason(error), time.monotonic()
            if not began:
                if any(word in why for word in _HOPELESS):
                    raise UserError(f"the study's database {shown} refuses: {why}; see --storage") from error
                began = now
                say(f"the study's database {shown} does not answer ({why}); trying again for {PATIENCE_SECONDS:.0f} s")
            if now - began >= PATIENCE_SECONDS:
                raise DatabaseAway(
                    f"the study's database {shown} has not answered for {now - began:.0f} s ({why}); nothing is lost: "
                    "when it is back, give the same command again"
                ) from error
        else:
            if began:
                say(f"the study's database answers again after {time.monotonic() - began:.0f} s")
            return result
        _sleep(min(wait, max(PATIENCE_SECONDS - (time.monotonic() - began), 0.1)), stopped)
        wait = min(2 * wait, 30.0)


def _sleep(seconds: float, stopped: Callable[[], bool]) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if stopped():
            raise Stopped
        time.sleep(0.1)


def _reason(error: BaseException) -> str:
    """The driver's own words in one line: Optuna and SQLAlchemy wrap theirs around them, with statements and values."""
    inner: BaseException = error
    while (cause := getattr(inner, "orig", None) or inner.__cause__) is not None:
        inner = cause
    return (" ".join(str(inner).split()) or type(inner).__name__)[:300]
