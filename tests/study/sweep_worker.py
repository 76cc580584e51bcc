"""One worker of a study as a process: `python -m tests.study.sweep_worker JSON`. Also the studies that tests run."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from maekit.errors import UserError
from maekit.study.define.definition import Definition
from maekit.study.define.space import Choice
from maekit.study.queue import storage
from maekit.study.results import Study
from maekit.study.work import engine, process, worker
from maekit.study.work.devices import Slot
from maekit.system import processes as lease

TOP = Path(__file__).resolve().parents[2]
FAKE = [sys.executable, str(TOP / "tests" / "study" / "fake_fit.py")]


def definition(*decays: float, **changed: Any) -> Definition:
    """A grid over layer_decay, with one seed and runs of 9 steps unless told otherwise."""
    space = (Choice("model.layer_decay", decays or (0.55, 0.65, 0.75)),)
    known: dict[str, Any] = {
        **{"name": "study", "task": "made", "recipe": "small", "config": (), "flags": (), "space": space},
        **{"seeds": (0,), "sampler": "grid", "num_cells": None, "pruning": "none", "reduction": 3},
        **{
            "metric": "val/top1",
            "mode": "max",
            "max_steps": 9,
            "num_images": 100,
            "fixed": {"model.weight_decay": 0.05},
        },
    }
    return Definition(**{**known, **changed})


def run(told: Definition, folder: Path, lines: list[str] | None = None, slots: int = 1, **options: Any) -> Study:
    """Runs a study with the fake fit, in this process."""
    places = [Slot(f"cpu {number + 1}") for number in range(slots)]
    say = (lambda line: None) if lines is None else lines.append
    return engine.run_study(told, folder, options.pop("url", None), places, say=say, **options)


Child = subprocess.Popen[str]


def begin(told: Definition, folder: Path, *, env: dict[str, str] | None = None, **options: Any) -> Child:
    """Starts a worker as its own process; its lines come on stdout."""
    given = {"definition": told.as_json(), "folder": str(folder), **options}
    return subprocess.Popen(
        [sys.executable, "-m", "tests.study.sweep_worker", json.dumps(given)],
        cwd=TOP,
        env={**os.environ, "OMP_NUM_THREADS": "1", **(env or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def wait_for_line(child: Child, *words: str) -> list[str]:
    """Reads a worker's lines up to the first with one of these words."""
    assert child.stdout is not None
    lines: list[str] = []
    for line in child.stdout:
        lines.append(line.rstrip())
        if any(word in line for word in words):
            return lines
    raise AssertionError(lines)


def begins(child: Child) -> bool:
    """Waits until a worker begins a run; false where all of them had ended before, as on a quick machine."""
    try:
        wait_for_line(child, "begin", "resume")
    except AssertionError:
        assert child.wait() == 0
        return False
    return True


def quick(put: Callable[[object, str, object], None] = setattr) -> None:
    """Shortens what a study waits for, and has it run the stand-in; `put` is a test's `monkeypatch.setattr`."""
    put(storage, "PATIENCE_SECONDS", 20.0)
    put(worker, "TICK_SECONDS", 0.02)
    put(worker, "LOOK_SECONDS", 0.3)
    put(process, "FIT", FAKE)


def main(words: Sequence[str]) -> int:
    """Works on the study."""
    given = json.loads(words[0])
    told = Definition.from_json(given.pop("definition"))
    fit = list(process.FIT)
    quick()
    storage.PATIENCE_SECONDS = given.pop("patience", 20.0)
    if given.pop("real", False):
        process.FIT = fit
    lease.BEAT_SECONDS, lease.GRACE_SECONDS = given.pop("beat", 20), given.pop("grace", 300)
    try:
        engine.run_study(
            told,
            Path(given.pop("folder")),
            given.pop("url", None),
            [Slot(f"cpu {number + 1}") for number in range(given.pop("slots", 1))],
            say=lambda line: print(line, flush=True),
            **given,
        )
    except UserError as error:
        print(f"maekit: {error}", flush=True)
        return error.status
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
