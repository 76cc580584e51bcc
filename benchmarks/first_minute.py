"""Times what a user waits for at the beginning, with two installations in turn: medians, and ratios run by run.

    python benchmarks/first_minute.py --before OTHER/bin/python [--runs 5] [--task imagenet_finetune]

`--before` is the Python of another installation of maekit; without it, this one is timed alone. Each figure is given in
wall seconds and in seconds of the processor, which a busy machine changes less. One run before each does not count.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import NamedTuple

TICK = os.sysconf("SC_CLK_TCK")


class Spent(NamedTuple):
    """Seconds until something happened: by the clock, and of the processor by the process and its ended children."""

    wall: float
    processor: float


def main() -> None:
    """Prints one row a figure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--before", help="the Python of another installation")
    parser.add_argument("--runs", type=int, default=5, help="counted runs of each")
    parser.add_argument("--task", default="imagenet_finetune")
    args = parser.parse_args()
    fit = ["fit", "--task", args.task, "--recipe", "smoke"]
    figures: dict[str, Callable[[str], Spent]] = {
        "answer to a mistyped flag": lambda python: until_end(python, [*fit, "--epochs", "5"]),
        "answer to a missing folder": lambda python: until_end(python, [*fit, "--data.root", "nowhere"]),
        "first line of fit": lambda python: until_line(python, fit),
        "first training step": lambda python: until_step(python, fit),
        "whole run of one step": lambda python: until_end(python, [*fit, "--trainer.max_steps=1"]),
    }
    pythons = [sys.executable, *([args.before] if args.before else [])]
    for name, figure in figures.items():
        counted: dict[str, list[Spent]] = {python: [] for python in pythons}
        for run in range(args.runs + 1):
            for python in pythons:
                spent = figure(python)
                counted[python] += [spent] if run else []
        print(row(name, [counted[python] for python in pythons]), flush=True)


def row(name: str, counted: Sequence[Sequence[Spent]]) -> str:
    """Returns the medians now and before, and the median of the ratios of neighbouring runs."""
    words = [f"{name:<28}"]
    for kind in ("wall", "processor"):
        seconds = [[getattr(spent, kind) for spent in spents] for spents in counted]
        words.append(f"{kind} " + " against ".join(f"{median(each):6.2f} s" for each in seconds))
        if len(seconds) == 2:
            words.append(f"(x {median(now / before for now, before in zip(*seconds, strict=True)):.2f})")
    return "  ".join(words)


def until_end(python: str, words: Sequence[str]) -> Spent:
    """Runs a command to its end."""
    with tempfile.TemporaryDirectory() as folder:
        started, before = time.monotonic(), os.times()
        subprocess.run([python, "-m", "maekit", *words], cwd=folder, capture_output=True)
        after = os.times()
        spent = sum(after[2:4]) - sum(before[2:4])
        return Spent(time.monotonic() - started, spent)


def until_line(python: str, words: Sequence[str]) -> Spent:
    """Runs a command until it has printed a line."""

    def has_printed(folder: Path, log: Path) -> bool:
        return b"\n" in log.read_bytes()

    return _until(python, words, has_printed)


def until_step(python: str, words: Sequence[str]) -> Spent:
    """Runs a fit until its table has the row of the first step."""

    def has_stepped(folder: Path, log: Path) -> bool:
        return any(len(table.read_text().splitlines()) > 1 for table in folder.rglob("train.csv"))

    return _until(python, words, has_stepped)


def _until(python: str, words: Sequence[str], reached: Callable[[Path, Path], bool]) -> Spent:
    with tempfile.TemporaryDirectory() as name:
        folder, log = Path(name), Path(name) / "log"
        started = time.monotonic()
        with log.open("wb") as out:
            child = subprocess.Popen([python, "-m", "maekit", *words], cwd=folder, stdout=out, stderr=out)
        try:
            while not reached(folder, log):
                if child.poll() is not None:
                    raise SystemExit(f"it ended too early:\n{log.read_text()}")
                time.sleep(0.005)
            spent = Spent(time.monotonic() - started, _processor(child.pid))
        finally:
            child.kill()
            child.wait()
        return spent


def _processor(pid: int) -> float:
    """Seconds of the processor that a process and its ended children have used; Linux alone."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / TICK


if __name__ == "__main__":
    main()
