"""Every block of commands and of Python in the pages runs, in an empty folder a page, and prints what the page says."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs.fences import NOT_RUN, TOP, fences, name_of, pages
from tests.docs.pages import PAGES
from tests.docs.runner import DATA, run_page, runs
from tests.docs.server import write_program
from tests.docs.stand_ins import Page
from tests.docs.toys import write_toys

WITH_BLOCKS = [page for page in pages() if any(runs(fence) for fence in fences(page.read_text(encoding="utf-8")))]


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder of a `maekit` for PATH, and the process that answers it."""
    folder = tmp_path_factory.mktemp("program")
    write_toys(folder, tuple(DATA.values()))
    write_program(folder, folder / "door")
    command = [sys.executable, "-m", "tests.docs.server", str(folder / "door")]
    with subprocess.Popen(command, cwd=TOP, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        assert server.stdout.readline() == "ready\n"
        yield folder
        server.terminate()


@pytest.mark.slow
@pytest.mark.parametrize("page", WITH_BLOCKS, ids=name_of)
def test_page(page: Path, program: Path, tmp_path: Path) -> None:
    assert run_page(page, PAGES.get(name_of(page), Page()), tmp_path, program) > 0


def test_most_blocks_run() -> None:
    """A block that needs what a test does not have says what; there are few."""
    blocks = [fence for page in pages() for fence in fences(page.read_text(encoding="utf-8"))]
    needing = [fence for fence in blocks if fence.language == "bash" and not runs(fence)]
    assert all(len(fence.title) > len(NOT_RUN) + 3 for fence in needing)
    running = sum(runs(fence) for fence in blocks)
    assert running > 0
    assert len(needing) <= 0.15 * running, f"{len(needing)} blocks of commands are not run, {running} are"


def test_no_block_hides_from_the_runner() -> None:
    """Commands stand in fences: an indented block, or a fence of another name, would not be run."""
    for page in pages():
        text = page.read_text(encoding="utf-8")
        outside, inside = [], False
        for line in text.splitlines():
            inside ^= line.strip().startswith("```")
            outside += [line] * (not inside)
        assert [line for line in outside if line.startswith("    maekit ")] == [], page
        known = {"bash", "python", "text", "yaml", "toml", "csv", "json"}
        assert {fence.language for fence in fences(text)} <= known, page
