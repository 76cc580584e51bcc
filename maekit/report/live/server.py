"""Serves a watched run on 127.0.0.1, and on no other address."""

import errno
import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from maekit.errors import UserError
from maekit.report.live.watched import WatchedRun

HOST = "127.0.0.1"


class LiveServer(ThreadingHTTPServer):
    """The server of one run's page.

    Args:
        run: the run.
        port: 0 takes any free one.

    Raises:
        UserError: the port is taken, or not allowed.
    """

    daemon_threads = True
    allow_reuse_address = False  # else two servers could share a port on some systems

    def __init__(self, run: WatchedRun, port: int) -> None:
        self.run = run
        try:
            super().__init__((HOST, port), _Handler)
        except OSError as error:
            why = "is taken" if error.errno == errno.EADDRINUSE else f"cannot be used: {error.strerror}"
            raise UserError(f"--port {port} {why}; give another one, or leave it out for any that is free") from None

    @property
    def port(self) -> int:
        """The port that was taken."""
        return int(self.server_address[1])

    @property
    def url(self) -> str:
        """What to open in a browser."""
        return f"http://{HOST}:{self.port}/"


class _Handler(BaseHTTPRequestHandler):
    """Answers `/` with the page and `/state` with its version, and nothing else."""

    server: LiveServer

    def do_GET(self) -> None:
        """Answers; a request by another host's name is refused, so that no web page elsewhere can read the run."""
        if self.headers.get("Host", "") not in (f"{name}:{self.server.port}" for name in (HOST, "localhost")):
            self._answer(403, "text/plain", "this server answers to 127.0.0.1 only")
        elif self.path == "/":
            self._answer(200, "text/html", self.server.run.page())
        elif self.path == "/state":
            self._answer(200, "application/json", json.dumps(self.server.run.state()))
        else:
            self._answer(404, "text/plain", "there is / and /state")

    def log_message(self, format: str, *args: object) -> None:
        """Prints nothing: a request every two seconds is no news."""

    def _answer(self, status: int, kind: str, text: str) -> None:
        content = text.encode(errors="replace")
        self.send_response(status)
        self.send_header("Content-Type", f"{kind}; charset=utf-8")
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        try:
            self.wfile.write(content)
        except (BrokenPipeError, ConnectionResetError):  # the browser's tab was closed
            self.close_connection = True
