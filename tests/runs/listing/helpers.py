"""Runs' folders made by hand, as far as a list of runs reads them."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

HOLD = (
    "import sys, time; from pathlib import Path; from maekit.runs.lock import only_writer\n"
    "with only_writer(Path(sys.argv[1])): print('held', flush=True); time.sleep(60)"
)


def make(
    place: Path,
    value: float | None = 90.0,
    *,
    mode: str = "max",
    status: str | None = "finished",
    data: str = "/data/flowers",
    fingerprint: str = "1a",
    second: int = 1_000_000_000,
    **metrics: Any,
) -> Path:
    """A run `<task>/<recipe>/<name>` with checkpoints of 1000 and 500 bytes; `status` None: without a result."""
    task, recipe = place.parts[-3:-1]
    place.mkdir(parents=True)
    split = {"images": 80, "fingerprint": fingerprint}
    environment = {
        "task": task,
        "recipe": recipe,
        "monitor": ["val/top1", mode],
        "total_steps": 40,
        "versions": {"torch": "2.14"},
        "command": ["maekit", "fit", "--task", task],
        "folder": str(place.parents[3]),
        "data": {"folder": data, "classes": ["a", "b"], "splits": {"train": split, "val": split}},
    }
    (place / "environment.json").write_text(json.dumps(environment))
    (place / "config.yaml").write_text(f"# task {task}, recipe {recipe}\nrun:\n  seed: 3\n")
    (place / "train.csv").write_text("step,loss\n10,1.5\n20,1.0\n")
    (place / "val.csv").write_text("step,top1\n10,71.5\n20,70.5\n")
    (place / "last.ckpt").write_bytes(b"x" * 1000)
    (place / "best.ckpt").write_bytes(b"x" * 500)
    if status is not None:
        best = {"metric": "val/top1", "value": value, "step": 30}
        result = {"status": status, "step": 40, "val": {"top1": value}, "best": best, **metrics}
        (place / "metrics.json").write_text(json.dumps(result))
    for file in place.iterdir():
        os.utime(file, (second, second))
    return place


@contextmanager
def writer(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that writes into a run's folder, and is killed at the end."""
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(folder)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == "held\n"
        yield process
    finally:
        process.kill()
        process.communicate(timeout=30)


def files_below(folder: Path) -> set[str]:
    """All files at any depth, by their paths from the folder."""
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
