"""A study's database: SQLite in its folder, or PostgreSQL for several machines."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import optuna
from optuna.samplers import RandomSampler
from optuna.study import StudyDirection
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from maekit.errors import UserError
from maekit.study.define.definition import Definition
from maekit.study.queue import optuna_storage
from maekit.study.queue.optuna_storage import Storage
from maekit.study.queue.retry import Say, Timing, with_retries

T = TypeVar("T")

_FORMS = "expected postgresql://USER:PASSWORD@HOST/DATABASE, or sqlite:///FILE for one machine"


class Database:
    """The storage of one study, used with retries.

    Args:
        storage: Optuna's storage.
        shown_url: its URL without the password, for messages.
        say: prints a line.
        stopped: whether a signal came; asked while waiting.
        timing: how long to retry.
    """

    def __init__(self, storage: Storage, shown_url: str, say: Say, stopped: Callable[[], bool], timing: Timing) -> None:
        self.storage = storage
        self.shown_url = shown_url
        self.say = say
        self.stopped = stopped
        self.timing = timing

    def call(self, action: Callable[[], T]) -> T:
        """Returns the action's result; retries after 1, 2, 4, ... seconds while the database is unreachable.

        `call` retries, so the action must be idempotent: it may have succeeded even though the reply was lost.

        Raises:
            DatabaseUnreachable: after `timing.retry` seconds.
            Stopped: a signal came meanwhile.
        """
        return with_retries(
            action,
            self.shown_url,
            self.say,
            self.stopped,
            self.timing.retry,
            reset=lambda: optuna_storage.end_session(self.storage),
        )

    def open_study(self, definition: Definition, *, join: bool) -> optuna.Study:
        """Opens the study that a definition names, and creates it if it is missing.

        Raises:
            UserError: with `join`, no such study.
        """
        name = study_name(definition)
        direction = StudyDirection.MAXIMIZE if definition.mode == "max" else StudyDirection.MINIMIZE

        def make() -> optuna.Study:
            if join and name not in optuna.get_all_study_names(self.storage):
                raise UserError(f"no study '{name}' in {self.shown_url} to --join; begin it without --join")
            return optuna.create_study(
                study_name=name,
                storage=self.storage,
                sampler=RandomSampler(),  # never asked; TPE, the default, is slow to make
                direction=direction,
                load_if_exists=True,
            )

        return self.call(make)


def study_name(definition: Definition) -> str:
    """The study's name in a database that may hold others."""
    return f"{Path(definition.task).stem}/{definition.recipe}/{definition.name}"


@contextmanager
def opened(url: str, say: Say, stopped: Callable[[], bool], timing: Timing) -> Iterator[Database]:
    """Opens a database, and closes its connections when the block ends.

    Args:
        url: `sqlite:///FILE` or `postgresql://...`; the empty text is a database in memory.
        say: prints a line.
        stopped: whether a signal came.
        timing: how long to retry, and how long a trial may be without a heartbeat.

    Raises:
        UserError: an unknown kind of database, a missing driver, a refused password, or no answer.
    """
    optuna_storage.check_version()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    shown = ""
    if url:
        parsed = parse_url(url)
        shown = shown_url(url)
        if parsed.get_backend_name() == "sqlite" and parsed.database:
            Path(parsed.database).parent.mkdir(parents=True, exist_ok=True)
        try:
            storage = with_retries(lambda: _connect(parsed, timing), shown, say, stopped, timing.retry)
        except ImportError as error:
            raise UserError(
                f"{shown} needs a driver that is not installed ({error}); pip install 'maekit[postgresql]'"
            ) from error
    else:
        storage = optuna_storage.in_memory()
    try:
        yield Database(storage, shown, say, stopped, timing)
    finally:
        optuna_storage.close(storage)


def parse_url(url: str) -> URL:
    """Parses a database's URL; PostgreSQL uses psycopg 3.

    Raises:
        UserError: not a URL, or of a database that is not supported. The message does not contain the password.
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
    """A database's URL without its password, for files and messages; empty for a database in memory."""
    if not url:
        return ""
    parsed = make_url(url)
    query = {key: value for key, value in parsed.query.items() if key not in ("password", "sslpassword")}
    bare = URL.create(parsed.drivername, parsed.username, None, parsed.host, parsed.port, parsed.database, query)
    return bare.render_as_string(hide_password=False)


def _connect(url: URL, timing: Timing) -> Storage:
    engine: dict[str, object] = {"connect_args": {"timeout": 60}}
    if url.get_backend_name() != "sqlite":
        # Without these a server that vanishes (no FIN, no RST) is noticed only after hours.
        keepalive = {"connect_timeout": 10, "keepalives_idle": 10, "keepalives_interval": 5, "keepalives_count": 3}
        engine = {"pool_pre_ping": True, "connect_args": keepalive}
    text = url.render_as_string(hide_password=False).replace("{", "{{").replace("}", "}}")
    return optuna_storage.open_storage(text, engine, timing.heartbeat, timing.grace)
