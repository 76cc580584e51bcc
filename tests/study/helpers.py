"""Studies with the stand-in for `maekit fit`, run in this process or by `python -m tests.study.helpers JSON`."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from maekit.errors import UserError
from maekit.study.define.definition import Definition
from maekit.study.define.space import Cell, Choice
from maekit.study.queue.retry import Timing
from maekit.study.saved import SavedTrial, Study
from maekit.study.work import engine
from maekit.study.work.devices import Slot
from maekit.study.work.process import FIT
from maekit.system.plain import finite_number

TOP = Path(__file__).resolve().parents[2]
FAKE = [sys.executable, str(TOP / "tests" / "study" / "fake_fit.py")]
FAST = Timing(poll=0.02, refresh=0.3, retry=20.0)
DECAY = "optim.layer_decay"

Child = subprocess.Popen[str]


def definition(*decays: float, **changes: Any) -> Definition:
    """A grid over layer_decay, with one seed and runs of 9 steps unless changed."""
    values: dict[str, Any] = {
        "name": "study",
        "task": "made",
        "recipe": "small",
        "config": (),
        "flags": (),
        "space": (Choice(DECAY, decays or (0.55, 0.65, 0.75)),),
        "seeds": (0,),
        "sampler": "grid",
        "num_cells": None,
        "pruning": "none",
        "reduction": 3,
        "metric": "val/top1",
        "mode": "max",
        "max_steps": 9,
        "num_images": 100,
        "fixed": {"optim.weight_decay": 0.05},
    }
    return Definition(**{**values, **changes})


def run(study: Definition, folder: Path, lines: list[str] | None = None, slots: int = 1, **options: Any) -> Study:
    """Runs a study with the stand-in, in this process."""
    places = [Slot(f"cpu {number + 1}") for number in range(slots)]
    say = (lambda line: None) if lines is None else lines.append
    url = options.pop("url", None)
    return engine.run_study(study, folder, url, places, say=say, **{"timing": FAST, "fit": FAKE, **options})


def begin(study: Definition, folder: Path, *, env: dict[str, str] | None = None, **options: Any) -> Child:
    """Starts a worker as its own process, whose lines come on stdout.

    Args:
        study: what it runs.
        folder: the study's.
        env: added to its environment.
        options: `slots`, `url`, `join` and `worker` as in `run`; `real` for the real `maekit fit`; Timing's fields.
    """
    arguments = {"definition": study.as_json(), "folder": str(folder), **options}
    return subprocess.Popen(
        [sys.executable, "-m", "tests.study.helpers", json.dumps(arguments)],
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
    """Waits until a worker begins a run; false if all had ended before, as on a quick machine."""
    try:
        wait_for_line(child, "begin", "resume")
    except AssertionError:
        assert child.wait() == 0
        return False
    return True


def wait_for(condition: Callable[[], object], seconds: float = 20) -> None:
    """Waits up to so many seconds until something is true."""
    for _ in range(round(20 * seconds)):
        if condition():
            return
        time.sleep(0.05)
    raise AssertionError("in vain")


def starts(folder: Path) -> dict[str, int]:
    """How often each run was started."""
    return {file.parent.name: len(file.read_text().splitlines()) for file in folder.rglob("starts.txt")}


def rows(folder: Path) -> list[dict[str, Any]]:
    """The trials in `study.json`."""
    found: list[dict[str, Any]] = json.loads((folder / "study.json").read_text())["trials"]
    return found


def decay_of(cell: Cell) -> float:
    """The layer decay of a cell."""
    value = finite_number(cell[DECAY])
    assert value is not None
    return value


def trial(decay: float, seed: int, value: float | None, state: Any = "complete", **changes: Any) -> SavedTrial:
    """One trial of 900 steps as `study.json` has it."""
    plain: Any = {
        "number": 0,
        "values": {DECAY: decay},
        "seed": seed,
        "rung": None,
        "state": state,
        "value": value,
        "best": value,
        "steps": 900,
        "end_step": 900,
        "seconds": 36.0,
        "images_per_second": 800.0,
        "peak_memory_gib": 0.5,
        "folder": f"runs/{decay}-{seed}",
        "host": "here",
        "reason": None,
        "intermediate": {},
    }
    plain.update(changes)
    found: SavedTrial = plain
    return found


def main(arguments: Sequence[str]) -> int:
    """Works on the study that `begin` describes."""
    given = json.loads(arguments[0])
    timing = Timing(**{key: given.pop(key, value) for key, value in asdict(FAST).items()})
    try:
        engine.run_study(
            Definition.from_json(given.pop("definition")),
            Path(given.pop("folder")),
            given.pop("url", None),
            [Slot(f"cpu {number + 1}") for number in range(given.pop("slots", 1))],
            say=lambda line: print(line, flush=True),
            timing=timing,
            fit=FIT if given.pop("real", False) else FAKE,
            **given,
        )
    except UserError as error:
        print(f"maekit: {error}", flush=True)
        return error.status
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
