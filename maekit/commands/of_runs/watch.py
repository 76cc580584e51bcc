"""`maekit watch`: the page of a run while it is written, in a browser of this machine."""

import argparse
import time
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING

from maekit.errors import UserError

if TYPE_CHECKING:
    from maekit.report.live.server import LiveServer
    from maekit.report.live.watched import WatchedRun

FORWARDS = False
_LOOK_SECONDS = 1.0
_LAST_LOOK_SECONDS = 15.0  # for the browser to fetch the page of the run's end


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", type=Path, metavar="RUN", help="a run's number or name (3, smoke/3), or its folder")
    parser.add_argument("--port", type=int, default=0, help="on 127.0.0.1; default: any that is free")


def main(args: argparse.Namespace) -> int:
    """Serves the page until the run is over, or until Ctrl-C."""
    if not 0 <= args.port <= 65535:
        raise UserError(f"--port: got {args.port}, expected 0 to 65535")
    from maekit.report.live.server import LiveServer
    from maekit.report.live.watched import WatchedRun
    from maekit.runs.folder import shown

    run = WatchedRun(_folder(args.run))
    server, state = LiveServer(run, args.port), run.state()
    Thread(target=server.serve_forever, kwargs={"poll_interval": 0.2}, daemon=True).start()
    try:
        print(f"watch   {server.url} shows {shown(run.folder)}; Ctrl-C ends it", flush=True)
        if not state["live"]:
            print(f"        nothing writes there now: {state['line']}", flush=True)
        _until_over(run, server, live=state["live"])
    except KeyboardInterrupt:
        print("\nended; the run is not touched" if run.state()["live"] else "\nended")
    finally:
        server.shutdown()
        server.server_close()
    return 0


def _folder(given: Path) -> Path:
    """The folder of a run, also of one that has only just begun."""
    from maekit.runs.files import CONFIG
    from maekit.runs.lock import holder
    from maekit.runs.named import existing_run, holds_run

    folder = existing_run(given)
    if not holds_run(folder) and holder(folder) is None:
        raise UserError(f"{folder} is no run's folder: it has no {CONFIG} and nothing writes there; see `maekit runs`")
    return folder


def _until_over(run: "WatchedRun", server: "LiveServer", *, live: bool) -> None:
    """Waits until a live run has ended and a browser has its last page; for ever if it is not live."""
    misses = 0
    while not live or misses < 2:  # twice, since a run that is handed over is without a lock for a moment
        time.sleep(_LOOK_SECONDS)
        misses = 0 if run.state()["live"] else misses + 1
    state = run.state()
    print(f"over    {state['line']}", flush=True)
    deadline = time.monotonic() + _LAST_LOOK_SECONDS
    while run.served not in ("", run.state()["version"]) and time.monotonic() < deadline:
        time.sleep(_LOOK_SECONDS)
