"""Stands in for `maekit fit` where a study is tested: the same flags, files, signals and exit codes, without a model.

A run of FAKE_STEPS steps, FAKE_SLEEP seconds each, that validates at every step and saves at every second. What it
measures depends on its flags, seed and step alone. `optim.layer_decay` above 1 stands for what goes wrong: 2 a NaN,
3 an error, 4 SIGKILL at step 2.
"""

import csv
import hashlib
import json
import os
import signal
import sys
import time
from pathlib import Path

from maekit.system.parent import watch


def value(flags: dict[str, str], step: int) -> float:
    """The metric: a hill over layer_decay with its top at 0.75, a little noise of the seed, rising with the step."""
    decay, seed = float(flags["optim.layer_decay"]), flags["run.seed"] + flags.get("data.fold", "")
    lr = float(flags.get("optim.lr", 0))
    noise = int(hashlib.md5(f"{decay} {lr} {seed}".encode()).hexdigest()[:6], 16) / 2**24
    return round((90 - 40 * abs(decay - 0.75) - 5 * abs(lr - 0.001) * 1000 + noise) * step / (step + 3), 6)


def main() -> int:
    """Runs."""
    words = iter(sys.argv[1:])
    flags: dict[str, str] = {}
    for word in words:
        key, equals, text = word.removeprefix("--").partition("=")
        flags[key] = text if equals else next(words)
    base = Path(flags["run.folder"]) / Path(flags["task"]).stem / flags["recipe"]
    folder = base / flags["run.name"]
    resumed = "ckpt_path" in flags
    if not resumed and any(path.name != ".lock" for path in folder.iterdir()):
        print(f"maekit: {folder} holds a run already", file=sys.stderr)
        return 2
    with (folder / "starts.txt").open("a") as file:
        file.write(f"{time.time()} {os.getpid()}\n")
    stopped: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, frame: stopped.append(number))
    watch()
    step = json.loads((Path(flags["ckpt_path"]) / "last.ckpt").read_text())["step"] if resumed else 0
    total, pause = int(os.environ.get("FAKE_STEPS", "9")), float(os.environ.get("FAKE_SLEEP", "0.002"))
    end = min(int(flags.get("run.stop_at_step", total)), total)
    rows = [row for row in _rows(folder) if int(row["step"]) <= step]
    while step < end:
        time.sleep(pause)
        step += 1
        decay = float(flags["optim.layer_decay"])
        if decay == 4 and step == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        if decay == 3 and step == 2:
            print("maekit: out of memory on the device: made up; halve --data.device_batch_size", file=sys.stderr)
            return 2
        rows.append({"step": str(step), "top1": str(value(flags, step))})
        _write_rows(folder, rows)
        if step % 2 == 0 or step == end or stopped:
            _save(folder / "last.ckpt", {"step": step})
        if stopped:
            print(f"maekit: stopped by SIGTERM at step {step}, saved; go on with: maekit fit", file=sys.stderr)
            return 143
    last = value(flags, step) if float(flags["optim.layer_decay"]) != 2 else None
    _save(
        folder / "metrics.json",
        {
            "status": "finished" if step == total else "paused",
            "step": step,
            "val": {"top1": last},
            "best": {"metric": "val/top1", "value": last, "step": step},
            "seconds": round(step * 0.5, 1),
            "images_per_second": 100.0,
            "peak_memory_gib": 0.5,
        },
    )
    return 0


def _rows(folder: Path) -> list[dict[str, str]]:
    if not (folder / "val.csv").is_file():
        return []
    with (folder / "val.csv").open() as file:
        return list(csv.DictReader(file))


def _write_rows(folder: Path, rows: list[dict[str, str]]) -> None:
    text = "step,top1\n" + "".join(f"{row['step']},{row['top1']}\n" for row in rows)
    part = folder / "val.part"
    part.write_text(text)
    part.replace(folder / "val.csv")


def _save(file: Path, values: object) -> None:
    part = file.with_suffix(".part")
    part.write_text(json.dumps(values))
    part.replace(file)


if __name__ == "__main__":
    sys.exit(main())
