"""`maekit watch`: on loopback only, cheap where nothing changes, and refreshed in place in a real browser."""

import http.client
import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread

import pytest

from maekit.errors import UserError
from maekit.report.live.server import LiveServer
from maekit.report.live.watched import WatchedRun
from tests.helpers_run import environment, error_line
from tests.report.browser import Browser, browser
from tests.report.helpers import add_parts, make_run
from tests.runs.listing.helpers import writer

assert browser  # the fixture
pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="locks are those of Unix")


@contextmanager
def served(folder: Path) -> Iterator[LiveServer]:
    """The server of a run's page, ended with the block."""
    server = LiveServer(WatchedRun(folder), 0)
    Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()


def asked(server: LiveServer, path: str, host: str | None = None) -> tuple[int, str]:
    """Status and text of an answer."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    connection.request("GET", path, headers={"Host": host} if host else {})
    answer = connection.getresponse()
    found = answer.status, answer.read().decode()
    connection.close()
    return found


def until(seen: Callable[[], object], seconds: float = 60.0) -> None:
    """Waits until something is true."""
    deadline = time.monotonic() + seconds
    while not seen():
        assert time.monotonic() < deadline
        time.sleep(0.1)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A run without a result: it is still written."""
    folder = make_run(tmp_path / "runs/flowers/base/0")
    (folder / "metrics.json").unlink()
    add_parts(folder)
    return folder


def add_row(folder: Path, step: int, top1: float) -> None:
    with (folder / "val.csv").open("a") as table:
        table.write(f"{step},{top1},0.25,{step / 10}\n")


def test_the_page_is_made_again_only_when_a_file_has_changed(folder: Path) -> None:
    (folder / "last.ckpt").touch()
    run = WatchedRun(folder)
    first, version = run.page(), run.state()["version"]
    (folder / "last.ckpt").write_bytes(b"a checkpoint changes nothing on the page")
    assert run.state()["version"] == version and run.page() is first
    add_row(folder, 50, 97.5)
    assert run.state()["version"] != version
    assert "97.5" not in first and "97.5" in run.page()


def test_the_state_says_how_far_the_run_is_and_when_it_is_over(folder: Path) -> None:
    run = WatchedRun(folder)
    with writer(folder):
        state = run.state()
        assert state["live"] and "step 40 of 40" in state["line"] and "best top1 90" in state["line"]
    assert not run.state()["live"] and run.state()["version"] != state["version"]


def test_a_live_run_s_page_says_that_it_is_running_and_misses_no_result(folder: Path) -> None:
    with writer(folder):
        page = WatchedRun(folder).page()
        assert "Still running, last seen at step 40" in page and "metrics.json is missing" not in page
    page = WatchedRun(folder).page()
    assert "Unfinished, last seen at step 40" in page and "metrics.json is missing" in page


def test_only_this_machine_is_answered_and_only_two_paths(folder: Path) -> None:
    with served(folder) as server:
        assert server.server_address[0] == "127.0.0.1"
        status, page = asked(server, "/")
        assert status == 200 and page.startswith("<!DOCTYPE html>")
        assert json.loads(asked(server, "/state")[1])["version"] in page
        for path in ("/config.yaml", "/../config.yaml", "/state/x", "/best.ckpt"):
            assert asked(server, path)[0] == 404
        assert asked(server, "/", host=f"localhost:{server.port}")[0] == 200
        for host in ("evil.example", f"evil.example:{server.port}", "127.0.0.1"):
            assert asked(server, "/", host=host)[0] == 403


def test_a_port_that_is_taken(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(UserError, match=str(port)):
            LiveServer(WatchedRun(folder), port)
        assert str(port) in error_line(capsys, "watch", str(folder), "--port", str(port))


def test_a_folder_without_a_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "no run" in error_line(capsys, "watch", str(tmp_path))
    assert "nothere" in error_line(capsys, "watch", str(tmp_path / "nothere"))


@pytest.mark.parametrize("live", [True, False])
def test_the_command_ends_with_the_run_or_by_ctrl_c(live: bool, folder: Path) -> None:
    words = [sys.executable, "-m", "maekit", "watch", str(folder)]
    with writer(folder) if live else subprocess.Popen(["true"]) as held:
        watching = subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env=environment())
        assert watching.stdout is not None
        assert watching.stdout.readline().startswith("watch   http://127.0.0.1:")
        if live:
            held.kill()
        else:
            assert "failed" in watching.stdout.readline()
            watching.send_signal(signal.SIGINT)
        rest = watching.communicate(timeout=60)[0]
    assert watching.returncode == 0
    assert ("over    killed" if live else "ended") in rest


def test_a_browser_s_page_is_refreshed_where_the_run_has_changed(folder: Path, browser: Browser) -> None:
    """What the reader opened, sorted and scrolled to stays so."""
    with writer(folder), served(folder) as server:
        browser.command("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": "dark"}])
        browser.command("Emulation.setDeviceMetricsOverride", width=1280, height=500, deviceScaleFactor=1, mobile=False)
        browser.errors(), browser.requests()
        browser.driver.get(server.url)
        browser.run(
            "window.kept = document.querySelector('main > section:last-of-type');"
            "document.querySelector('details').open = true;"
            "window.scrollTo(0, window.kept.offsetTop - 40);"
        )
        place = browser.run("return window.kept.getBoundingClientRect().top")
        assert "97.5" not in browser.run("return document.querySelector('main').textContent")
        add_row(folder, 50, 97.5)
        until(lambda: "97.5" in browser.run("return document.querySelector('main').textContent"))
        assert browser.run("return document.body.contains(window.kept)"), "an unchanged part was replaced"
        assert browser.run("return document.querySelector('details').open")
        assert abs(browser.run("return window.kept.getBoundingClientRect().top") - place) < 1
        assert browser.run("return document.querySelectorAll('th button').length > 0")
        assert browser.run("return document.querySelectorAll('th button button').length") == 0
        until(lambda: "best top1 97.5" in browser.run("return document.getElementById('live').textContent"))
        assert browser.errors() == []
        assert all(url.startswith(server.url) for url in browser.requests())
    until(lambda: "has ended" in browser.run("return document.getElementById('live').textContent"))
    assert "97.5" in browser.run("return document.querySelector('main').textContent")
