"""What layer-wise lr decay is worth on a smoke recipe: five decays, three seeds, while processes are killed at random.

    python benchmarks/layer_decay_study.py imagenet_finetune --output studies_bench --kills 7

runs the study, killing (-9) it or one of its runs every one to three minutes and giving the same command again, then
runs the same cells by successive halving, undisturbed, and prints both tables and how they agree. `--undisturbed DIR`
says of how many runs every metric is that of the plain `maekit fit` run of the same decay and seed below that folder.
"""

import argparse
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

from maekit.runs.find import find_runs
from maekit.study.results import halving_agreement
from maekit.study.saved import read_study
from maekit.study.text_table import text_table

DECAYS = "0.55,0.65,0.75,0.85,1.0"
BETWEEN_KILLS = (60.0, 180.0)  # seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--kills", type=int, default=7)
    parser.add_argument("--seed", type=int, default=0, help="of the moments and the victims")
    parser.add_argument("--parallel", default="cpu:2")
    parser.add_argument("--undisturbed", type=Path)
    args = parser.parse_args()
    grid = [
        "--task",
        args.task,
        "--recipe",
        "smoke",
        "--grid",
        f"optim.layer_decay={DECAYS}",
        "--parallel",
        args.parallel,
    ]
    full, halving = args.output / f"{args.task}_full", args.output / f"{args.task}_halving"
    killed, seconds = disturbed([*grid, "--output", str(full)], full, args.kills, random.Random(args.seed))
    print(f"full grid: {seconds / 60:.1f} min, killed: {', '.join(killed) or 'nothing'}")
    print("\n".join(text_table(read_study(full))))
    began = time.monotonic()
    subprocess.run(sweep([*grid, "--output", str(halving), "--pruner", "halving"]), check=True)
    print(f"halving: {(time.monotonic() - began) / 60:.1f} min")
    print("\n".join(text_table(read_study(halving))))
    print(halving_agreement(read_study(halving), read_study(full)))
    if args.undisturbed:
        print(same_as_plain_runs(full, args.undisturbed))


def sweep(words: list[str]) -> list[str]:
    return [sys.executable, "-m", "maekit", "sweep", *words]


def disturbed(words: list[str], folder: Path, kills: int, chance: random.Random) -> tuple[list[str], float]:
    """Runs a study to its end through so many kills; returns what was killed when, and the seconds of it all."""
    began, killed = time.monotonic(), []
    due = began + chance.uniform(*BETWEEN_KILLS)
    study = subprocess.Popen(sweep(words))
    while (status := study.poll()) != 0:
        if status is not None:
            if status > 0:
                raise SystemExit(f"the study ended with status {status}")
            study = subprocess.Popen(sweep(words))
        time.sleep(0.5)
        if len(killed) < kills and time.monotonic() > due and study.poll() is None:
            due = time.monotonic() + chance.uniform(*BETWEEN_KILLS)
            runs = processes(f"maekit fit .*{folder}/runs")
            victim = study.pid if not runs or chance.random() < 0.4 else chance.choice(runs)
            subprocess.run(["kill", f"-{signal.SIGKILL.value}", str(victim)], check=False)
            killed.append(f"{'study' if victim == study.pid else 'run'} at {time.monotonic() - began:.0f} s")
    return killed, time.monotonic() - began


def processes(pattern: str) -> list[int]:
    found = subprocess.run(["pgrep", "-f", pattern], capture_output=True, text=True, check=False)
    return [int(word) for word in found.stdout.split()]


def same_as_plain_runs(study: Path, undisturbed: Path) -> str:
    """Compares each run's final metrics with those of the undisturbed run of the same decay and seed."""
    key = "optim.layer_decay"
    plain = {
        (run.flat_config.get(key), run.seed): run.val for run in find_runs([undisturbed]) if run.status == "finished"
    }
    runs = [run for run in find_runs([study / "runs"]) if (run.flat_config.get(key), run.seed) in plain]
    same = sum(run.val == plain[run.flat_config[key], run.seed] for run in runs)
    return f"{same} of {len(runs)} runs have every metric of the undisturbed one, digit for digit"


if __name__ == "__main__":
    main()
