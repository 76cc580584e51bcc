"""A run's page that is made anew only when a file of the run has changed."""

import os
import time
from collections.abc import Iterator
from hashlib import sha256
from html import escape
from importlib.resources import files
from pathlib import Path
from threading import Lock
from typing import TypedDict

from maekit.report.formats.write import created_line
from maekit.report.page.render import render_html
from maekit.report.runs.report import run_document
from maekit.runs.listing.rows import RunRow
from maekit.runs.listing.table import age
from maekit.runs.read import Run
from maekit.system.numbers import number

_POLICY = "default-src 'none'"
_NOT_SHOWN = {"report", "tensorboard", "wandb", ".lock"}


class LiveState(TypedDict):
    """What the page asks for every few seconds; the version changes with the run's files."""

    version: str
    live: bool
    line: str


class WatchedRun:
    """A run's folder, and the page of its newest state.

    Args:
        folder: the run's.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.served = ""  # the version of which a browser has the page
        self._lock = Lock()
        self._page = ("", "")  # version, text

    def state(self) -> LiveState:
        """The state now; reads no more than the names, sizes and times of the files, and the ends of two tables."""
        row = RunRow(Run(self.folder))
        live = row.state.word == "running"
        return {"version": self._version(row.state.word), "live": live, "line": _line(row)}

    def page(self) -> str:
        """The page of the newest state, made only if the run has changed since it was last made."""
        with self._lock:
            state = self.state()
            if self._page[0] != state["version"]:
                document = run_document(Run(self.folder), created_line())
                self._page = (state["version"], _live(render_html(document), state))
            self.served = state["version"]
            return self._page[1]

    def _version(self, word: str) -> str:
        return sha256(repr((word, sorted(_files(self.folder)))).encode()).hexdigest()[:16]


def _files(folder: Path) -> Iterator[tuple[str, int, int]]:
    """Name, size and time of each file that the page may show; checkpoints are too many and say nothing."""
    try:
        entries = list(os.scandir(folder))
    except FileNotFoundError:
        return
    for entry in entries:
        if entry.name in _NOT_SHOWN or entry.name.endswith((".ckpt", ".partial")):
            continue
        try:
            if entry.is_dir():
                yield from ((f"{entry.name}/{name}", size, at) for name, size, at in _files(Path(entry.path)))
            else:
                found = entry.stat()
                yield entry.name, found.st_size, found.st_mtime_ns
        except FileNotFoundError:  # replaced while it was listed
            continue


def _line(row: RunRow) -> str:
    """Where the run is, in one line."""
    total = row.run.total_steps
    parts: list[str] = [row.state.word]
    if row.step is not None:
        parts.append(f"step {row.step:,}" + (f" of {total:,}" if total else ""))
    if row.best.value is not None:
        at = "" if row.best.step is None else f" at step {row.best.step:,}"
        parts.append(f"best {row.best.metric} {number(row.best.value)}{at}")
    if row.state.word == "running":
        parts.append(f"last written {age(time.time() - row.written)} ago")
    elif row.state.reason:
        parts.append(row.state.reason)
    return ", ".join(parts)


def _live(page: str, state: LiveState) -> str:
    """The page with the script that refreshes it, which may ask this server and nobody else."""
    script = files("maekit.report.live").joinpath("live.js").read_text(encoding="utf-8")
    status = f'<p id="live" role="status" data-version="{state["version"]}">{escape(state["line"])}</p>'
    for old, new in (
        (_POLICY, f"{_POLICY}; connect-src 'self'"),
        ('<div class="frame">', f'<div class="frame">{status}'),
        ("<script>", f"<script>{script}</script>\n<script>"),
    ):
        if old not in page:
            raise ValueError(f"the page's template has no {old}, which live pages need")
        page = page.replace(old, new, 1)
    return page
