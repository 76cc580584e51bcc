"""A server on 127.0.0.1 that serves files as a mirror does, with ranges, and fails as told; also a small model hub."""

import hashlib
import json
import re
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class Request:
    """One request as it came, and how many bytes of a body were sent for it."""

    method: str
    path: str
    range: str
    status: int = 0
    sent: int = 0
    agent: str = ""


@dataclass
class Loopback:
    """What the server has and how it behaves.

    Attributes:
        files: bytes by path.
        cut: bytes after which the next answers break off, one number an answer.
        stall: seconds the next answers wait in the middle of the body.
        status: an answer other than 200 by path.
        pages: paths answered with a web page and 200.
        ranges: whether it goes on in the middle of a file.
        validators: whether it says an ETag.
        minds_if_range: whether it sends the whole file where the asker's ETag is an old one, as it should.
        slow: seconds between two pieces of a body.
        log: what was asked.
    """

    files: dict[str, bytes] = field(default_factory=dict)
    cut: list[int] = field(default_factory=list)
    stall: list[float] = field(default_factory=list)
    status: dict[str, int] = field(default_factory=dict)
    headers: dict[str, dict[str, str]] = field(default_factory=dict)
    pages: dict[str, str] = field(default_factory=dict)
    ranges: bool = True
    validators: bool = True
    minds_if_range: bool = True
    slow: float = 0.0
    log: list[Request] = field(default_factory=list)
    url: str = ""

    def gets(self) -> list[Request]:
        return [request for request in self.log if request.method == "GET"]

    def add_model(self, name: str, files: dict[str, bytes]) -> None:
        """Makes it a hub that has one more model, at COMMIT, which is its branch main."""
        listing = {"id": name, "sha": COMMIT, "siblings": [{"rfilename": file} for file in files]}
        for revision in ("main", COMMIT):
            self.files[f"/api/models/{name}/revision/{revision}"] = json.dumps(listing).encode()
            for file, data in files.items():
                self.files[f"/{name}/resolve/{revision}/{file}"] = data


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    loopback: Loopback

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _answer(self, body: bool) -> None:
        back = self.loopback
        request = Request(self.command, self.path, self.headers.get("Range", ""), agent=self.headers["User-Agent"])
        back.log.append(request)
        data, kind = back.files.get(self.path), "application/octet-stream"
        request.status = back.status.get(self.path, 200 if data is not None or self.path in back.pages else 404)
        if self.path in back.pages:
            data, kind = b"<!DOCTYPE html><html>please log in</html>", back.pages[self.path]
        if request.status not in (200, 206):
            data, kind = b"<html>an error</html>", "text/html"
        assert data is not None
        head = {"Content-Type": kind, **back.headers.get(self.path, {})}
        if request.status == 200 and back.validators:
            head |= {"ETag": f'"{hashlib.md5(data).hexdigest()}"', "X-Repo-Commit": COMMIT}
        start = self._start(request, head, data)
        head |= {"Connection": "close"}  # no thread waits for more
        head["Content-Length"] = str(len(data) - start)
        self.send_response(request.status)
        for name, value in head.items():
            self.send_header(name, value)
        self.end_headers()
        if body:
            self._send(request, data[start:])

    def _start(self, request: Request, head: dict[str, str], data: bytes) -> int:
        match = re.fullmatch(r"bytes=(\d+)-", request.range)
        if not match or request.status != 200 or not self.loopback.ranges:
            return 0
        same = self.headers.get("If-Range", head.get("ETag")) == head.get("ETag")
        if self.loopback.minds_if_range and not same:
            return 0
        start = int(match[1])
        request.status = 206 if start < len(data) else 416
        head["Content-Range"] = (
            f"bytes {start}-{len(data) - 1}/{len(data)}" if start < len(data) else f"bytes */{len(data)}"
        )
        return min(start, len(data))

    def _send(self, request: Request, data: bytes) -> None:
        back = self.loopback
        ok = request.status in (200, 206)
        end = back.cut.pop(0) if ok and back.cut else len(data)
        wait = back.stall.pop(0) if ok and back.stall else 0.0
        try:
            for at in range(0, min(end, len(data)), 4096):
                if at >= 4096:
                    time.sleep(wait)
                    wait = 0.0
                piece = data[at : min(at + 4096, end)]
                self.wfile.write(piece)
                request.sent += len(piece)
                time.sleep(back.slow)
        except OSError:
            pass

    def log_message(self, format: str, *args: Any) -> None:
        pass


@contextmanager
def loopback() -> Iterator[Loopback]:
    """Runs the server while the block runs."""
    back = Loopback()
    handler = type("Handler", (_Handler,), {"loopback": back})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = False  # so that closing waits for them
    back.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield back
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def unused_port() -> int:
    """A port where nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])
