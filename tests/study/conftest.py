"""The PostgreSQL server of the tests that need one."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.study.postgres import Server, binaries


@pytest.fixture(scope="module")
def one_server() -> Iterator[Server]:
    """The server of all tests of a file; they are skipped where none is installed."""
    programs = binaries()
    if programs is None:
        pytest.skip("no PostgreSQL server is installed")
    folder = Path(tempfile.mkdtemp(prefix="maekit-pg-"))  # pytest's own folders are closed to other users
    server = Server(programs, folder)
    try:
        server.create()
        yield server
    finally:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def postgres(one_server: Server) -> Server:
    """The server, running."""
    if one_server.process is None:
        one_server.start()
    return one_server
