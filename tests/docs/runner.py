"""Runs a page: its blocks of commands and of Python in order, in one folder, held to what it says they print."""

import os
import subprocess
import sys
from pathlib import Path

from tests.docs.fences import NOT_RUN, TOP, Fence, fences, prints
from tests.docs.stand_ins import Page, variables
from tests.docs.toys import write_toys


class WrongPageError(AssertionError):
    """A block that did not do what its page says."""


DATA = {"IN1K": "my_images", "ADE": "my_masks", "COCO": "my_objects"}  # variables of the pages -> toys


def runs(fence: Fence) -> bool:
    """Whether a block is executed."""
    return fence.language == "python" or (fence.language == "bash" and not fence.title.startswith(NOT_RUN))


def run_page(page: Path, how: Page, folder: Path, program: Path) -> int:
    """Runs all blocks of a page in a folder.

    Args:
        page: the page's file.
        how: its stand-ins.
        folder: an empty folder, which its toys are written to.
        program: the folder with the `maekit` to run, and with the toys of `DATA`.

    Returns:
        Number of blocks that ran.

    Raises:
        WrongPageError: a block failed, or did not print what the page says.
    """
    write_toys(folder, how.toys)
    found = fences(page.read_text(encoding="utf-8"))
    printed: dict[int, str] = {}
    for number, fence in enumerate(found):
        place = f"{page.relative_to(TOP)}:{fence.line}"
        if runs(fence):
            printed[number] = _output(fence, folder, program, variables(how), place)
        elif fence.language == "text" and fence.follows in printed:
            missing = prints(fence.text, printed[fence.follows])
            if missing is not None:
                raise WrongPageError(f"{place}: '{missing}' was not printed, but:\n{printed[fence.follows]}")
    return len(printed)


def _output(fence: Fence, folder: Path, program: Path, more: dict[str, str], place: str) -> str:
    command = ["bash", "-euo", "pipefail", "-c", fence.text]
    if fence.language == "python":
        command = [sys.executable, "-c", fence.text]
    data = {name: str(program / toy) for name, toy in DATA.items()}
    offline = dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), "http://127.0.0.1:9")
    given = {**os.environ, **offline, **data, **more, "PATH": f"{program}:{os.environ['PATH']}", "COLUMNS": "120"}
    done = subprocess.run(
        command, cwd=folder, env=given, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True, timeout=600, check=False,
    )  # fmt: skip
    if done.returncode:
        raise WrongPageError(f"{place}: exit status {done.returncode}\n{fence.text}\n{done.stdout[-3000:]}")
    return done.stdout
