"""Stops small runs at random moments, by `kill -9` and by Ctrl-C, after a second `fit` tried to enter their folders.

Each run must refuse the second, and go on from where it was stopped to the very losses, metrics and weights of a run
that nobody disturbed: a killed one by `--ckpt_path FOLDER`, an interrupted one by the command that it printed. Several
runs share one folder of runs, so that a command that means "the newest" would take another's. A run is held (SIGSTOP)
while the second one starts, which takes longer than its steps; then it goes on, and is stopped a moment later.

    python benchmarks/kill_and_resume.py [--stops 20] [--parallel 2] [--seed 0] [--folder DIR]
"""

import argparse
import hashlib
import os
import random
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import torch

from maekit.data.digits import digits_root
from maekit.runs.lock import holder
from maekit.runs.rows import text_rows

FIT = [sys.executable, "-m", "maekit", "fit"]
STEPS = 160
WAIT = 240.0  # seconds for anything: a loaded machine is slow
ATTEMPTS = 8  # of a run that ended before it was stopped
KINDS = {"kill -9": signal.SIGKILL, "Ctrl-C": signal.SIGINT}


@dataclass
class Outcome:
    """What one stop came to.

    Attributes:
        kind: of the stop.
        step: of the checkpoint from which the run went on.
        again: how often the run ended before it was stopped, and was begun anew.
        faults: what was not as it must be.
    """

    kind: str
    step: int = 0
    again: int = 0
    faults: list[str] = field(default_factory=list)


def make_data(root: Path) -> None:
    """Copies 160 training and 40 validation images of 10 classes."""
    for split, count in (("train", 16), ("val", 4)):
        for folder in sorted((digits_root() / split).iterdir()):
            (root / split / folder.name).mkdir(parents=True)
            for file in sorted(folder.iterdir())[:count]:
                shutil.copyfile(file, root / split / folder.name / file.name)


def flags(place: Path, *more: str) -> list[str]:
    """The flags of a run: everything that draws is on, two device batches make a step, it saves four times a second."""
    return [
        *("--task", "imagenet_finetune", "--recipe", "smoke", "--model.backbone", "vit_test_patch8"),
        *(
            "--model.weights",
            "none",
            "--model.drop_path",
            "0.2",
            "--model.mixup",
            "0.8",
            "--data.random_erasing",
            "0.5",
        ),
        *("--data.root", str(place / "data"), "--data.total_batch_size", "16", "--data.device_batch_size", "8"),
        *("--data.num_workers", "1", "--run.num_threads", "1", "--run.save_every_minutes", "0.004"),
        *("--trainer.max_steps", str(STEPS), "--trainer.val_check_interval", "40", "--trainer.log_every_n_steps", "1"),
        *("--trainer.precision", "32-true", "--trainer.accelerator", "cpu", *more),
    ]


def main() -> int:
    """Prints one table; the exit status is 1 where anything was not as it must be."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stops", type=int, default=20, help="of each kind")
    parser.add_argument("--parallel", type=int, default=2, help="runs at a time")
    parser.add_argument("--seed", type=int, default=0, help="of the random moments")
    parser.add_argument("--folder", type=Path, help="default: a temporary one")
    args = parser.parse_args()
    begun = time.monotonic()
    with tempfile.TemporaryDirectory() as temporary:
        place = (args.folder or Path(temporary)).resolve()
        make_data(place / "data")
        whole = undisturbed(place)
        jobs = [(kind, number) for number in range(args.stops) for kind in KINDS]
        with ThreadPoolExecutor(args.parallel) as pool:
            outcomes = list(pool.map(lambda job: disturbed(place, whole, args.seed, *job), jobs))
    for kind in KINDS:
        print(row(kind, [one for one in outcomes if one.kind == kind]))
    faults = [f"{one.kind} at step {one.step}: {fault}" for one in outcomes for fault in one.faults]
    print("\n".join(faults) or "every resume bit for bit the undisturbed run; every second fit refused")
    print(f"{time.monotonic() - begun:.0f} s")
    return 1 if faults else 0


def row(kind: str, of: Sequence[Outcome]) -> str:
    """A line of the table."""
    good = sum(not one.faults for one in of)
    steps = sorted(one.step for one in of)
    late = f"; {again} had ended before" if (again := sum(one.again for one in of)) else ""
    return f"{kind:<8} {good} of {len(of)} in order; went on from steps {steps} of {STEPS}{late}"


def undisturbed(place: Path) -> Path:
    """The folder of a run that nobody stops."""
    child = begin(place, "--run.folder", "whole")
    _, error = child.communicate(timeout=WAIT)
    if child.returncode:
        raise SystemExit(f"the undisturbed run failed: {error}")
    return place / "whole/imagenet_finetune/smoke/0"


def disturbed(place: Path, whole: Path, seed: int, kind: str, number: int) -> Outcome:
    """One run, stopped once at a random moment, and gone on with."""
    draw, result = random.Random(f"{seed} {kind} {number}"), Outcome(kind)
    for attempt in range(ATTEMPTS):
        name = f"{kind} {number}, {attempt}"  # a space and a comma: the printed command must quote it
        folder = place / "runs/imagenet_finetune/smoke" / name
        command = stopped(place, folder, kind, draw.randint(1, STEPS - 40), draw.uniform(0, 1), result)
        if command is None:
            result.again += 1
            continue
        result.step = torch.load(folder / "last.ckpt", weights_only=True)["global_step"]
        done = subprocess.run(command, cwd=place, capture_output=True, text=True, timeout=WAIT, check=False)
        if done.returncode:
            result.faults.append(f"{shlex.join(command)} failed: {done.stderr.strip()}")
        result.faults += unlike(folder, whole)
        return result
    result.faults.append("ended before it was stopped, every time")
    return result


def stopped(place: Path, folder: Path, kind: str, step: int, delay: float, result: Outcome) -> list[str] | None:
    """Begins a run, lets a second one try to go on with it at a step, and stops it some seconds later.

    Returns:
        The command that goes on with it; None where the run ended first.
    """
    child = begin(place, "--run.folder", "runs", "--run.name", folder.name)
    saved = folder / "last.ckpt"  # before it is there, nothing can be gone on with
    wait_until(lambda: (len(losses(folder)) >= step and saved.is_file()) or child.poll() is not None)
    if child.poll() is None:
        child.send_signal(signal.SIGSTOP)
        refused(place, folder, child.pid, result)
        child.send_signal(signal.SIGCONT)
        time.sleep(delay)
    if child.poll() is None:
        (child.send_signal if kind == "kill -9" else lambda number: os.killpg(child.pid, number))(KINDS[kind])
    _, error = child.communicate(timeout=WAIT)
    if child.returncode == 0:
        return None
    if kind == "kill -9":
        return [*FIT, *flags(place, "--ckpt_path", str(folder))]
    if child.returncode != 128 + signal.SIGINT or "saved; go on with: maekit " not in error:
        result.faults.append(f"ended with status {child.returncode}: {error.strip()}")
        return [*FIT, *flags(place, "--ckpt_path", str(folder))]
    printed = shlex.split(error.rpartition("go on with: maekit ")[2])
    return [*FIT[:-1], *printed]


def refused(place: Path, folder: Path, process: int, result: Outcome) -> None:
    """Tries to go on with a run whose process lives: it must be refused, and told by which process."""
    words = [*FIT, *flags(place, "--ckpt_path", str(folder))]
    second = subprocess.run(words, cwd=place, capture_output=True, text=True, timeout=WAIT, check=False)
    if second.returncode != 2 or f"process {process} on {os.uname().nodename}" not in second.stderr:
        result.faults.append(f"a second fit was not refused: status {second.returncode}, {second.stderr.strip()}")


def begin(place: Path, *more: str) -> "subprocess.Popen[str]":
    """Starts a fit in a session of its own, as a terminal does."""
    return subprocess.Popen(
        [*FIT, *flags(place, *more)],
        cwd=place,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def wait_until(there: Callable[[], object]) -> None:
    """Waits for a condition."""
    end = time.monotonic() + WAIT
    while not there():
        if time.monotonic() > end:
            raise SystemExit("waited in vain")
        time.sleep(0.02)


def losses(folder: Path) -> list[dict[str, str]]:
    """What each step's loss was, digit for digit; without the columns that tell the time."""
    return [{key: row[key] for key in ("step", "loss", "lr")} for row in text_rows(folder / "train.csv")]


def unlike(folder: Path, whole: Path) -> list[str]:
    """In what a finished run is not the undisturbed one: rows that are twice there or differ, weights, its lock."""
    found = []
    if losses(folder) != losses(whole):
        found.append(f"{folder / 'train.csv'} differs")
    if text_rows(folder / "val.csv") != text_rows(whole / "val.csv"):
        found.append(f"{folder / 'val.csv'} differs")
    for name in ("last.ckpt", "best.ckpt"):
        if digest(folder / name) != digest(whole / name):
            found.append(f"{folder / name} has other weights")
    if (who := holder(folder)) is not None:
        found.append(f"{folder} is still held by {who}")
    return found


def digest(file: Path) -> str:
    """Of a checkpoint's weights and its step."""
    saved = torch.load(file, weights_only=True)
    total = hashlib.sha256(str(saved["global_step"]).encode())
    for name, tensor in sorted(saved["state_dict"].items()):
        total.update(name.encode() + tensor.contiguous().numpy().tobytes())
    return total.hexdigest()


if __name__ == "__main__":
    raise SystemExit(main())
