"""A real PostgreSQL server for tests: Debian's binaries, a new data folder, 127.0.0.1 and a free port."""

import os
import pwd
import shutil
import signal
import socket
import subprocess
import time
import uuid
from pathlib import Path

PASSWORD = "se:cret/{7}@"
QUOTED = "se%3Acret%2F%7B7%7D%40"  # as it stands in a URL


def binaries() -> Path | None:
    """The newest installed server's programs."""
    debian = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    found = [*debian[-1:], *(Path(path) for path in [shutil.which("initdb")] if path)]
    return found[0].resolve().parent if found else None


class Server:
    """A server that can be stopped and started again. `initdb` refuses root, so root runs it as `nobody`."""

    def __init__(self, programs: Path, folder: Path) -> None:
        self.programs = programs
        self.folder = folder
        self.user = "nobody" if os.getuid() == 0 else None
        self.process: subprocess.Popen[bytes] | None = None
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = int(free.getsockname()[1])

    def create(self) -> None:
        """Makes the data folder; whoever connects must give the password."""
        secret = self.folder / "password"
        secret.write_text(PASSWORD)
        if self.user is not None:
            entry = pwd.getpwnam(self.user)
            for path in (self.folder, secret):
                os.chown(path, entry.pw_uid, entry.pw_gid)
        words: list[str] = [
            "-D",
            "data",
            "-U",
            "maekit",
            "--auth=scram-sha-256",
            f"--pwfile={secret}",
            "--no-sync",
            "--locale=C",
        ]
        done = subprocess.run(
            [str(self.programs / "initdb"), *words, "-E", "UTF8"],
            user=self.user,
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr

    def start(self) -> None:
        """Starts it, and waits until it answers."""
        options = ["-D", "data", "-h", "127.0.0.1", "-p", str(self.port), "-k", str(self.folder), "-c", "fsync=off"]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [self.programs / "postgres", *options], user=self.user, cwd=self.folder, stdout=log, stderr=log
            )
        for _ in range(200):
            ask = [str(self.programs / "pg_isready"), "-h", "127.0.0.1", "-p", str(self.port), "-q"]
            if subprocess.run(ask, check=False).returncode == 0:
                return
            time.sleep(0.05)
        raise RuntimeError((self.folder / "log").read_text()[-2000:])

    def stop(self) -> None:
        """Stops it at once; every client loses its connection."""
        if self.process is not None:
            self.process.send_signal(signal.SIGQUIT)  # at once: no client is told more than that it ends
            self.process.wait(timeout=20)
            self.process = None

    def url(self) -> str:
        """The URL of a new, empty database."""
        import psycopg.sql

        name = f"maekit_{uuid.uuid4().hex[:8]}"
        server = f"postgresql://maekit:{QUOTED}@127.0.0.1:{self.port}"
        with psycopg.connect(f"{server}/postgres", autocommit=True) as connection:
            connection.execute(psycopg.sql.SQL("CREATE DATABASE {}").format(psycopg.sql.Identifier(name)))
        return f"{server}/{name}"
